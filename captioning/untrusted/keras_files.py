"""A look at a `.keras` file from a stranger before Keras builds anything from it.

The file is a zip of a description in JSON and the weights in HDF5. The description names classes
and functions, which Keras looks up and calls: most advisories about Keras are about what a file can
reach that way, `safe_mode` or not. So a file may name nothing but one of our own models, and it may
not claim a network larger than the weights that it brings. How it was compiled is not looked at.
"""

import io
import json
import math
import zipfile
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from captioning.cli import UserError, in_file
from captioning.deferred import build_and_fill
from captioning.files import plain_entries
from captioning.untrusted.hdf5 import check_hdf5

_WEIGHTS = "model.weights.h5"
_MEMBERS = {"metadata.json", "config.json", _WEIGHTS}
_LARGEST_CONFIG = 1 << 24  # bytes; a vocabulary of a million words fits
_LARGEST_EXPANSION = 100  # of a compressed member; weights shrink by a tenth


class _Weights(io.BytesIO):
    """HDF5 in memory under the name of a file, by which Keras tells what is in it."""

    def __str__(self) -> str:
        return _WEIGHTS


def load_keras_file(path: Path, *, known: Collection[str], kind: str) -> keras.Model:
    """Load a `.keras` file of a registered class that is `known`, after a look at what it says.

    Nothing from the file is executed. Messages say what it should be: a `kind` of this project.

    Raises:
        UserError: damaged, or another thing.
    """
    with in_file(path, f"not the file of a {kind}, or damaged"):
        model_class, arguments, weights, held = _read(path, known, kind)

        def fill(model: keras.Model) -> None:
            claimed = model.count_params()  # which costs no memory yet
            if claimed > held:
                raise UserError(
                    f"refused, because its network has {claimed} numbers and it holds {held}"
                )
            model.load_weights(weights)

        model = build_and_fill(partial(model_class.from_config, arguments), fill)
    check_finite(model, path)
    return model


def _read(
    path: Path, known: Collection[str], kind: str
) -> tuple[type[keras.Model], dict[str, Any], _Weights, int]:
    """The class that a file is of, its arguments, the weights in HDF5, and how many these are."""
    with open(path, "rb") as opened, zipfile.ZipFile(opened) as archive:
        for entry in archive.infolist():
            if entry.filename not in _MEMBERS:
                raise UserError(f"refused, because it brings a file '{entry.filename}'")
            expansion = _LARGEST_EXPANSION if entry.filename == _WEIGHTS else 0
            if entry.file_size > max(expansion * entry.compress_size, _LARGEST_CONFIG):
                raise UserError(f"refused, because {entry.filename} in it is too large")
        config = json.loads(archive.read("config.json"))
        registered, name = config.get("registered_name"), config["class_name"]
        # Keras goes by the first, but takes names such as "__numpy__" in a way of their own.
        if registered not in known or registered.rpartition(">")[2] != name:
            raise UserError(
                f"refused, because it holds a '{name}', not a {kind} of this project; foreign "
                "layers and code are not loaded"
            )
        weights, sizes = _Weights(archive.read(_WEIGHTS)), []
    arguments = config["config"]
    _check_names(arguments)
    if "words" in arguments:  # a decoder
        arguments["encoder"] = plain_entries(arguments.get("encoder"))
    with h5py.File(weights, "r") as file:
        check_hdf5(file)
        file.visititems(lambda _, item: sizes.append(math.prod(getattr(item, "shape", ()))))
    depths = [part.get("depth", 1) for part in (arguments, *arguments.get("members", []))]
    if not all(type(depth) is int and depth > 0 for depth in depths) or sum(depths) > len(sizes):
        raise UserError(f"refused, because it claims {depths!r:.40} blocks and does not hold them")
    return keras.saving.get_registered_object(registered), arguments, weights, sum(sizes)


def _check_names(part: Any) -> None:
    """A description may name nothing beyond the data types of layers."""
    if isinstance(part, dict):
        names = tuple(part.get(key) for key in ("module", "class_name", "registered_name"))
        if "class_name" in part and names != ("keras", "DTypePolicy", None):
            raise UserError(f"refused, because it names '{names[0]}.{names[1]}'")
        part = list(part.values())
    for inner in part if isinstance(part, list) else ():
        _check_names(inner)


def check_finite(model: keras.Model, path: str | Path) -> None:
    """Raise a `UserError` for weights, from the file `path`, that are not finite."""
    for weight in model.weights:
        if not np.isfinite(keras.ops.convert_to_numpy(weight.value)).all():
            raise UserError(
                f"{path}: its weights are not finite ('{weight.path}'), as a training that "
                "diverges leaves them; take others, or train again with a lower --learning-rate"
            )
