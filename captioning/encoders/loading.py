"""An encoder of the table with weights: our own, a public checkpoint's, or random ones."""

import functools
import hashlib
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from keras import ops

from captioning.cli import UserError
from captioning.encoders.encoder import Encoder
from captioning.encoders.fetching import fetch
from captioning.encoders.jigsaw_solver import load_solver, picture_network
from captioning.encoders.layouts import fit
from captioning.encoders.networks import efficientnet
from captioning.encoders.networks.vit import SelfAttention
from captioning.encoders.public import find
from captioning.encoders.table import ENCODERS, TABLE, build_network, preprocessing_of
from captioning.encoders.weights import read_recipe
from captioning.files import existing_file, sha256
from captioning.first_values import assembled
from captioning.images.preprocessing import IMAGE_SIZE, Preprocessing, parse
from captioning.untrusted.checkpoints import read_checkpoint
from captioning.untrusted.hdf5 import check_hdf5


def load_encoder(
    name: str,
    weights: str | Path | None = None,
    *,
    dtype: str = "float32",
    seed: int = 0,
    partial: bool = False,
    preprocessing: str | None = None,
) -> Encoder:
    """Build the encoder `name` and load its weights.

    `weights` is a `.weights.h5` file of this project, or a public checkpoint (PyTorch, safetensors
    or npz) in a layout that `captioning.encoders.layouts` knows, or the name of one in the table
    of `captioning.encoders.public`, which is fetched if need be. Our own say in their recipe what
    they want done with pictures, and the table says it; `preprocessing` says it for others, which
    otherwise get the encoder's usual one. What is done stands in `info["preprocessing"]`. With
    `partial`, a checkpoint that fits in part is taken as far as it fits, with a warning on stderr.
    The encoder `jigsaw` is a whole puzzle solver, the `.keras` file of `jigsaw/main.py`.

    Without `weights`, `efficientnet_lite0` takes its supervised ImageNet weights and every other
    encoder stays random, with a warning on stderr.

    Raises:
        UserError: no such encoder, file or name, a file that cannot be fetched, or weights of
            another architecture.
    """
    if name == "jigsaw":
        if preprocessing is not None:
            raise UserError("the encoder jigsaw cuts its tiles itself; leave out --preprocessing")
        return _load_solver(weights, dtype)
    if name not in TABLE:
        raise UserError(f"no encoder is called '{name}'; there are {', '.join(ENCODERS)}")
    wanted, recipe, path = preprocessing_of(name), {}, None
    public = None if weights is None else find(weights, name)
    if public:
        path, wanted = fetch(public), parse(public.preprocessing, wanted)
    elif weights is not None:
        path = existing_file(weights, "weights file")
        if path.name.endswith(".weights.h5"):
            recipe = read_recipe(path)
            wanted = _recorded_preprocessing(path, recipe, wanted)
    if preprocessing is not None:
        wanted = parse(preprocessing, wanted)
    build = functools.partial(
        build_network, name, dtype=dtype, seed=seed, scale=(wanted.mean, wanted.deviation)
    )
    info: dict[str, Any] = {"encoder": name, "dtype": dtype, "image_size": wanted.size,
                            "preprocessing": str(wanted)}  # fmt: skip
    if path is not None:
        info |= {"weights": path.name, "weights_sha256": sha256(path)}
        if public:
            info |= {"weights_name": public.name, "weights_address": public.address}
        if path.name.endswith(".weights.h5"):
            fill = functools.partial(_load_project_weights, path=path, recipe=recipe)
        else:
            fill = functools.partial(_load_checkpoint, path=path, partial=partial)
        network = assembled(build, fill)
    elif TABLE[name].supervised:
        by_layer, digest = pkgutil.resolve_name(TABLE[name].supervised)()
        source = f"the supervised weights of {name}"
        network = assembled(build, functools.partial(_assign, by_layer=by_layer, path=source))
        info |= {"weights": "supervised", "weights_sha256": digest}
    else:
        print(
            f"WARNING: {name} has RANDOM weights. Random features are a floor, not a result: "
            "give --weights FILE with weights that were trained.",
            file=sys.stderr,
        )
        network = build()
        info |= {"weights": f"random, seed {seed}", "weights_sha256": _digest(network)}
    return Encoder(network, info, wanted)


def _recorded_preprocessing(
    path: Path, recipe: dict[str, Any], usual: Preprocessing
) -> Preprocessing:
    if "preprocessing" in recipe:
        try:
            return parse(str(recipe["preprocessing"]), usual)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
    size = recipe.get("image_size", IMAGE_SIZE)  # all that older ones say
    if not isinstance(size, int) or not 8 <= size <= 4096:
        raise UserError(f"{path}: is for pictures of {size!r:.20} pixels, which cannot be")
    return usual._replace(size=size)


def _load_solver(path: str | Path | None, dtype: str) -> Encoder:
    if path is None:
        raise UserError("the encoder jigsaw is trained: give --weights, jigsaw/main.py's .keras")
    path = existing_file(path, "puzzle solver", "train one with jigsaw/main.py")
    solver = load_solver(path, dtype)
    size = solver.settings["picture_size"]
    info = {"encoder": "jigsaw", "dtype": dtype, "image_size": size,
            "weights": path.name, "weights_sha256": sha256(path)}  # fmt: skip
    return Encoder(picture_network(solver), info)


def _digest(network: keras.Model) -> str:
    """Of weights that are in no file."""
    digest = hashlib.sha256()
    for weight in network.weights:
        digest.update(ops.convert_to_numpy(weight.value).tobytes())
    return digest.hexdigest()


def _assign(network: keras.Model, by_layer: dict[str, list[np.ndarray]], path: Path | str) -> None:
    """Put arrays into the layers of the same name; every layer with weights must get its own."""
    for layer in _weighted_layers(network):
        arrays = by_layer.get(layer.name, [])
        if [a.shape for a in arrays] != [tuple(w.shape) for w in layer.weights]:
            raise UserError(f"{path}: does not fit {network.name} at layer '{layer.name}'")
        layer.set_weights(arrays)


def _weighted_layers(network: keras.Model) -> Iterator[keras.Layer]:
    return (layer for layer in network.layers if layer.weights)


def _load_project_weights(network: keras.Model, path: Path, recipe: dict[str, Any]) -> None:
    if recipe.get("encoder", network.name) != network.name:
        raise UserError(
            f"{path}: holds a {recipe['encoder']}, not a {network.name}; "
            "give --encoder with its name"
        )
    try:
        with h5py.File(path, "r") as file:
            check_hdf5(file)
        network.load_weights(path)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:  # Keras raises by where in the file it stumbles
        raise UserError(
            f"{path}: these weights do not fit the encoder {network.name}; "
            "were they trained for another one?"
        ) from error
    if "heads" in recipe:
        _set_heads(network, recipe["heads"], path)


def _set_heads(network: keras.Model, heads: Any, path: Path) -> None:
    """How many heads the weights' attention has, which cannot be told from their shapes."""
    if type(heads) is not int or heads < 1 or network.output["pooled"].shape[-1] % heads:
        raise UserError(f"{path}: has {heads!r:.20} heads of attention, which cannot be")
    for layer in network.layers:
        if isinstance(layer, SelfAttention):
            layer.heads = heads


def _load_checkpoint(network: keras.Model, path: Path, partial: bool) -> None:
    layout = TABLE[network.name].layout
    if layout == "efficientnet":
        _assign(network, efficientnet.pytorch_weights(path), path)
        return
    if layout is None:
        raise UserError(f"{path}: {network.name} takes only a .weights.h5 of a pretext stage")
    tensors = read_checkpoint(path)
    try:
        found = fit(network, tensors, layout)
    except UserError as error:
        raise UserError(f"{path}: does not fit {network.name}: {error}") from error
    if found.problems:
        listed = "; ".join(found.problems[:5])
        more = f" and {len(found.problems) - 5} more" if len(found.problems) > 5 else ""
        message = f"{path}: does not fit {network.name}: {listed}{more}"
        if not partial or not found.arrays:
            raise UserError(message)
        print(f"WARNING: {message}; the rest of it is used", file=sys.stderr)
    for layer in network.layers:
        if layer.name in found.arrays:
            layer.set_weights(found.arrays[layer.name])
    if found.heads:
        _set_heads(network, found.heads, path)
