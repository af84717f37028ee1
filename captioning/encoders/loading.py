"""An encoder of the table with weights: our own, a public checkpoint's, or random ones."""

import hashlib
import pkgutil
import sys
from pathlib import Path
from typing import Any

import keras
from keras import ops

from captioning.cli import UserError, in_file
from captioning.deferred import build_and_fill
from captioning.encoders.encoder import Encoder
from captioning.encoders.jigsaw_solver import image_network, load_solver
from captioning.encoders.layouts import fit
from captioning.encoders.networks.vit import SelfAttention
from captioning.encoders.public import PREPROCESSING, Checkpoint, fetch, find
from captioning.encoders.table import ENCODERS, TABLE, build_network, preprocessing_of
from captioning.encoders.weights import SUFFIX, read_recipe
from captioning.files import existing_file, sha256
from captioning.images.preprocessing import parse
from captioning.untrusted.checkpoints import read_checkpoint
from captioning.untrusted.keras_files import check_finite


def load_encoder(
    name: str,
    weights: str | Path | Checkpoint | None = None,
    *,
    dtype: str = "float32",
    seed: int = 0,
    partial: bool = False,
    preprocessing: str | None = None,
) -> Encoder:
    """Build the encoder `name` and load its weights.

    Args:
        weights: a `.weights.h5` file of this project, a public checkpoint (PyTorch, safetensors or
            npz) in a layout that `captioning.encoders.layouts` knows, or one of the table of
            `captioning.encoders.public` or its name, which is fetched if need be; for the encoder
            `jigsaw` the `.keras` file of `jigsaw/main.py`. Without, `efficientnet_lite0` takes its
            supervised ImageNet weights and others stay random, with a warning on stderr.
        partial: take a checkpoint that fits in part as far as it fits, with a warning on stderr.
        preprocessing: in place of what a file of ours or the table says, else the encoder's usual.

    Raises:
        UserError: no such encoder, file or name, a file that cannot be fetched, weights of another
            architecture, or such as are not finite.
    """
    if name == "jigsaw":
        if preprocessing is not None:
            raise UserError("the encoder jigsaw cuts its tiles itself; leave out --preprocessing")
        return _load_solver(weights, dtype)
    if name not in TABLE:
        raise UserError(f"no encoder is called '{name}'; there are {', '.join(ENCODERS)}")
    path, recipe, origin = None, {}, {}
    checkpoint = find(weights, name) if isinstance(weights, str | Path) else weights
    if checkpoint:
        path, recipe = fetch(checkpoint), {"preprocessing": PREPROCESSING}
        origin = {"weights_name": checkpoint.name, "weights_address": checkpoint.address}
    elif weights is not None:
        path = existing_file(weights, "weights file")
        recipe = read_recipe(path)
    elif supervised := TABLE[name].supervised:
        path = pkgutil.resolve_name(supervised)()
    wanted = preprocessing_of(name)
    with in_file(path):
        wanted = parse(str(recipe.get("preprocessing", wanted)), wanted)
    if preprocessing is not None:
        wanted = parse(preprocessing, wanted)
    info: dict[str, Any] = {"encoder": name, "dtype": dtype}
    info |= {"image_size": wanted.size, "preprocessing": str(wanted)}
    info |= {"partial_seed": seed} if partial else {}  # of the weights that the checkpoint lacks

    def build() -> keras.Model:
        return build_network(name, dtype=dtype, seed=seed, scale=(wanted.mean, wanted.std))

    def fill(network: keras.Model) -> None:
        if path.name.endswith(SUFFIX):
            _load_own(network, path, recipe)
        else:
            _load_checkpoint(network, path, partial)

    if path is None:
        print(
            f"WARNING: {name} has RANDOM weights. Random features are a floor, not a result: "
            "give --weights FILE with weights that were trained.",
            file=sys.stderr,
        )
        network = build()
        values = b"".join(ops.convert_to_numpy(w.value).tobytes() for w in network.weights)
        digest = hashlib.sha256(values).hexdigest()
        info |= {"weights": f"random, seed {seed}", "weights_sha256": digest}
    else:
        network = build_and_fill(build, fill)
        check_finite(network, path)
        label = path.name if weights is not None else "supervised"
        info |= {"weights": label, "weights_sha256": sha256(path), **origin}
    return Encoder(network, info, wanted)


def _load_solver(path: str | Path | None, dtype: str) -> Encoder:
    if path is None:
        raise UserError("the encoder jigsaw is trained: give --weights, jigsaw/main.py's .keras")
    solver = load_solver(path, dtype)
    info = {"encoder": "jigsaw", "dtype": dtype, "image_size": solver.sizes["image_size"]}
    info |= {"weights": Path(path).name, "weights_sha256": sha256(path)}
    return Encoder(image_network(solver), info)


def _load_own(network: keras.Model, path: Path, recipe: dict[str, Any]) -> None:
    with in_file(path, f"does not fit the encoder {network.name}; is it of another one?"):
        if recipe.get("encoder", network.name) != network.name:
            raise UserError(f"is of {recipe['encoder']}, not of {network.name}; give --encoder")
        network.load_weights(path)
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
    if layout is None:
        raise UserError(f"{path}: {network.name} takes only a {SUFFIX} of a pretext stage")
    tensors = read_checkpoint(path)
    misfit = f"{path}: does not fit {network.name}"
    with in_file(misfit):
        arrays, problems, heads = fit(network, tensors, layout)
    if problems:
        listed = "; ".join(problems[:5])
        message = f"{misfit} in {len(problems)} places: {listed:.500}"
        if not partial or not arrays:
            raise UserError(message)
        print(f"WARNING: {message}; the rest of it is used", file=sys.stderr)
    for name, weights in arrays.items():
        network.get_layer(name).set_weights(weights)
    if heads:
        _set_heads(network, heads, path)
