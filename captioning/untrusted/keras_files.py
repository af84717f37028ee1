"""A look at a `.keras` file from a stranger before Keras builds anything from it.

The file is a zip of a description in JSON and the weights in HDF5. The description names classes
and functions, which Keras looks up and calls: most advisories about Keras are about what a file can
reach that way, `safe_mode` or not (SECURITY.md lists them). So a file may name nothing but one of
our own models and, for a run to be resumed, its optimizer; and it may not claim a network larger
than the weights that it brings.
"""

import io
import json
import math
import zipfile
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import keras

from captioning.cli import UserError
from captioning.first_values import assembled
from captioning.text import LONGEST_CAPTION
from captioning.untrusted.hdf5 import check_hdf5

_WEIGHTS = "model.weights.h5"
_MEMBERS = {"metadata.json", "config.json", _WEIGHTS}
_LARGEST_CONFIG = 1 << 24  # bytes; a vocabulary of a million words fits
_LARGEST_EXPANSION = 100  # of a compressed member; weights shrink by a tenth


class _Weights(io.BytesIO):
    """HDF5 in memory under the name of a file, by which Keras tells what is in it."""

    def __str__(self) -> str:
        return _WEIGHTS


def check_keras_file(
    path: Path, known: Collection[str], what: str
) -> tuple[type[keras.Model], dict[str, Any], _Weights, int]:
    """Refuse what is none of our `known` registered classes, or claims what it does not hold.

    Messages say what it should be: a `what` of this project.

    Returns the class, its arguments, the weights in HDF5, and how many numbers these are.

    Raises:
        UserError: says what is wrong.
    """
    try:
        with open(path, "rb") as opened, zipfile.ZipFile(opened) as archive:
            _check_members(path, archive)
            config = json.loads(archive.read("config.json"))
            registered, name = config.get("registered_name"), config["class_name"]
            # Keras goes by the first, but takes names such as "__numpy__" in a way of their own.
            if registered not in known or registered.rpartition(">")[2] != name:
                raise UserError(
                    f"{path}: refused, because it holds a '{name}', not a {what} "
                    "of this project; foreign layers and code are not loaded"
                )
            arguments = config["config"]
            for name in _classes(arguments, config.get("compile_config")):
                raise UserError(f"{path}: refused, because it names '{name}'")
            _check_record(path, arguments)
            weights = _Weights(archive.read(_WEIGHTS))
        with h5py.File(weights, "r") as file:
            check_hdf5(file)
            sizes: list[int] = []
            file.visititems(lambda _, item: sizes.append(math.prod(getattr(item, "shape", ()))))
        depths = [part.get("depth", 1) for part in (arguments, *arguments.get("members", []))]
        if not all(type(depth) is int and depth > 0 for depth in depths):
            raise UserError(f"{path}: refused, because a number of blocks in it is none")
        if sum(depths) > len(sizes):
            raise UserError(f"{path}: refused, because it claims more blocks than it holds")
    except UserError as error:
        raise UserError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
    except Exception as error:  # whatever a damaged archive makes zipfile, json or h5py say
        raise UserError(f"{path}: not a Keras model file, or damaged") from error
    return keras.saving.get_registered_object(registered), arguments, weights, sum(sizes)


def _check_members(path: Path, archive: zipfile.ZipFile) -> None:
    for entry in archive.infolist():
        if entry.filename not in _MEMBERS:
            raise UserError(f"{path}: refused, because it brings a file '{entry.filename}'")
        limit = max(_LARGEST_EXPANSION * entry.compress_size, _LARGEST_CONFIG)
        if entry.file_size > (limit if entry.filename == _WEIGHTS else _LARGEST_CONFIG):
            raise UserError(f"{path}: refused, because {entry.filename} in it is too large")


def _classes(arguments: Any, compiled: Any) -> Iterator[str]:
    """What a description names beyond the data types of layers and the optimizers."""
    waiting = [arguments, compiled]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            waiting += part.values()
            if "class_name" in part and not _is_harmless(part):
                yield f"{part.get('module')}.{part['class_name']}"


def _is_harmless(part: dict[str, Any]) -> bool:
    name, place = part["class_name"], part.get("module")
    if (part.get("registered_name"), name) == ("captioning>AdamW", "AdamW"):
        return True
    if part.get("registered_name") not in (None, name):  # Keras would go by this one
        return False
    if place == "keras":
        return name == "DTypePolicy"
    # A class, because Keras takes names such as "function" and "__lambda__" in a way of their own.
    optimizers = {
        "keras.optimizers": keras.optimizers,
        "keras.optimizers.schedules": keras.optimizers.schedules,
    }
    return isinstance(getattr(optimizers.get(place), name, None), type)


def _check_record(path: Path, arguments: dict[str, Any]) -> None:
    """The arguments of a decoder that later code goes by."""
    if "max_length" not in arguments:  # a puzzle solver, or what cannot be built
        return
    if not arguments.get("words"):
        raise UserError(
            f"{path}: carries no vocabulary, so that nobody can tell its words; "
            "train it again with 2_train_IC_model.py"
        )
    longest, encoder = arguments["max_length"], arguments.get("encoder") or {}
    if not isinstance(longest, int) or not 2 <= longest <= LONGEST_CAPTION:
        raise UserError(f"{path}: refused, because its captions are {longest!r:.20} words long")
    plain = str | int | float | None
    if not all(isinstance(value, plain) for value in encoder.values()):
        raise UserError(f"{path}: its record of the encoder is damaged")


def load_keras_file(path: Path, *, known: Collection[str], what: str) -> keras.Model:
    """Load a `.keras` file after a look at what it says it is: of a class that is `known`, or not.

    Nothing from the file is executed. Messages say what it should be: a `what` of this project.

    Raises:
        UserError: damaged, or another thing.
    """
    model_class, arguments, weights, held = check_keras_file(path, known, what)

    def fill(model: keras.Model) -> None:
        claimed = model.count_params()  # which costs no memory yet
        if claimed > held:
            raise UserError(
                f"{path}: refused, because its network has {claimed} numbers and it holds {held}"
            )
        model.load_weights(weights)

    try:
        return assembled(partial(model_class.from_config, arguments), fill)
    except UserError as error:
        raise UserError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
    except Exception as error:  # Keras raises by where in the file it stumbles
        first = str(error).strip().split("\n")[0]
        raise UserError(f"{path}: cannot be loaded as a {what} ({first:.200})") from error
