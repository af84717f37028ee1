"""Image encoders: uint8 RGB pixels to one feature vector a picture (or a grid of them).

Each encoder knows its own preprocessing: how a picture becomes the uint8 RGB square that goes in
is `Encoder.preprocessing`, and the normalisation is part of the network.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import keras
import numpy as np
from keras import layers, ops

from captioning import efficientnet
from captioning.alexnet import alexnet
from captioning.checkpoints import read_checkpoint
from captioning.cli import UserError
from captioning.files import atomic_path, existing_file, sha256
from captioning.half_precision import half_copy
from captioning.hdf5 import check_hdf5
from captioning.layouts import fit
from captioning.preprocessing import IMAGE_SIZE, SCALES, Channels, Preprocessing, parse
from captioning.resnet import resnet
from captioning.vit import SelfAttention, vit_small


class _Architecture(NamedTuple):
    trunk: Callable  # normalised pixels to a grid, which is averaged, or to (pooled, grid)
    scale: str  # one of `preprocessing.SCALES`


_ARCHITECTURES = {
    "alexnet": _Architecture(alexnet, "imagenet"),
    "efficientnet_lite0": _Architecture(efficientnet.efficientnet_lite0, "centred"),
    "resnet18": _Architecture(lambda x: resnet(x, "resnet18"), "imagenet"),
    "resnet50": _Architecture(lambda x: resnet(x, "resnet50"), "imagenet"),
    "vit_small": _Architecture(vit_small, "imagenet"),
}


def preprocessing_of(name: str, size: int = IMAGE_SIZE) -> Preprocessing:
    """What encoder `name` does with pictures where nothing else is said."""
    return Preprocessing(size, None, *SCALES[_ARCHITECTURES[name].scale])


def build_network(
    name: str,
    *,
    dtype: str = "float32",
    seed: int = 0,
    scale: tuple[Channels, Channels] | None = None,
) -> keras.Model:
    """Build an encoder's network with random weights.

    In: pixels (B, H, W, 3), 0 to 255. Out: a dictionary of `pooled` (B, D) and `grid`
    (B, H/32, W/32, D), float32; `vit_small` has H/16 and W/16. `dtype` "bfloat16" computes in
    bfloat16 on float32 weights. `scale` is the pixels' mean and deviation, if not the encoder's
    own.
    """
    keras.utils.set_random_seed(seed)
    policy = "mixed_bfloat16" if dtype == "bfloat16" else "float32"
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        mean, deviation = scale or preprocessing_of(name)[2:]
        pixels = keras.Input((None, None, 3), name="pixels")
        scaled = layers.Rescaling(
            scale=[1 / d for d in deviation],
            offset=[-m / d for m, d in zip(mean, deviation, strict=True)],
            dtype="float32",
        )(pixels)
        pooled, grid = None, _ARCHITECTURES[name].trunk(scaled)
        if isinstance(grid, tuple):
            pooled, grid = grid
        # Averaged in float32: a mean of 49 numbers loses bits in bfloat16 for nothing.
        grid = layers.Activation("linear", dtype="float32", name="grid")(grid)
        if pooled is None:
            pooled = layers.GlobalAveragePooling2D(dtype="float32", name="pooled")(grid)
        else:
            pooled = layers.Activation("linear", dtype="float32", name="pooled")(pooled)
        return keras.Model(pixels, {"pooled": pooled, "grid": grid}, name=name)
    finally:
        keras.config.set_dtype_policy(before)


class Encoder:
    """A network with its weights, ready to encode, and the record of where those came from."""

    def __init__(
        self,
        network: keras.Model,
        info: dict[str, Any],
        preprocessing: Preprocessing | None = None,
    ) -> None:
        self.network = network
        self.info = info
        self.preprocessing = preprocessing or Preprocessing(info.get("image_size", IMAGE_SIZE))
        # Graph compilation by tf.function; XLA is slower than oneDNN at convolutions on a CPU.
        network.compile(jit_compile=keras.backend.backend() != "tensorflow")

    @property
    def width(self) -> int:
        """Length D of a feature vector."""
        return self.network.output["pooled"].shape[-1]

    def encode_few(self, pixels: np.ndarray, *, grid: bool = False) -> np.ndarray:
        """`encode` for a few pictures, op by op: no seconds spent on compiling a graph."""
        outputs = self.network(pixels, training=False)
        return self._features({name: ops.convert_to_numpy(outputs[name]) for name in outputs}, grid)

    def encode(self, pixels: np.ndarray, batch_size: int, *, grid: bool = False) -> np.ndarray:
        """Features of at most `batch_size` pictures, in the compiled graph.

        A smaller batch is filled up, because another batch size would compile another graph.

        Returns:
            Vectors (n, D), float32; with `grid`, L = h * w vectors a picture, row by row of the
            grid, (n, L, D), float16. Stage 5 gets them so, too: rounded as in the file that the
            decoder was trained on, so that a picture has the same caption by either way.

        Raises:
            UserError: the encoder has no grid, or one of numbers that half precision cannot hold.
        """
        count = len(pixels)
        if count < batch_size:
            filler = np.zeros((batch_size - count, *pixels.shape[1:]), pixels.dtype)
            pixels = np.concatenate([pixels, filler])
        outputs = self.network.predict_on_batch(pixels)
        return self._features({name: outputs[name][:count] for name in outputs}, grid)

    def _features(self, outputs: dict[str, np.ndarray], grid: bool) -> np.ndarray:
        if not grid:
            return outputs["pooled"]
        if "grid" not in outputs:
            raise UserError(f"{self.info['encoder']}: gives one vector a picture, and no grid")
        cells = outputs["grid"]
        with np.errstate(over="ignore"):
            cells = cells.reshape(len(cells), -1, cells.shape[-1]).astype(np.float16)
        if not np.isfinite(cells).all():
            raise UserError(
                f"{self.info['encoder']}: its grid has numbers beyond half precision; are these "
                "the weights it was trained to?"
            )
        return cells


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
    or npz) in a layout that `captioning.layouts` knows. Our own say in their recipe what they want
    done with pictures; `preprocessing` says it for others, which otherwise get the encoder's usual
    one. What is done stands in `info["preprocessing"]`. With `partial`, a checkpoint that
    fits in part is taken as far as it fits, with a warning on stderr. The encoder `jigsaw` is a
    whole puzzle solver, the `.keras` file of `jigsaw/main.py`.

    Without `weights`, `efficientnet_lite0` takes its supervised ImageNet weights and every other
    encoder stays random, with a warning on stderr.

    Raises:
        UserError: no such encoder or file, or weights of another architecture.
    """
    if name == "jigsaw":
        if preprocessing is not None:
            raise UserError("the encoder jigsaw cuts its tiles itself; leave out --preprocessing")
        return _load_solver(weights, dtype)
    if name not in ENCODERS:
        raise UserError(f"no encoder is called '{name}'; there are {', '.join(ENCODERS)}")
    wanted, recipe, path = preprocessing_of(name), {}, None
    if weights is not None:
        path = existing_file(weights, "weights file")
        if path.name.endswith(".weights.h5"):
            recipe = read_recipe(path)
            wanted = _recorded_preprocessing(path, recipe, wanted)
    if preprocessing is not None:
        wanted = parse(preprocessing, wanted)
    network = build_network(name, dtype=dtype, seed=seed, scale=(wanted.mean, wanted.deviation))
    info: dict[str, Any] = {"encoder": name, "dtype": dtype, "image_size": wanted.size,
                            "preprocessing": str(wanted)}  # fmt: skip
    if path is not None:
        info |= {"weights": path.name, "weights_sha256": sha256(path)}
        if path.name.endswith(".weights.h5"):
            _load_project_weights(network, path, recipe)
        else:
            _load_checkpoint(network, path, partial)
    elif name == "efficientnet_lite0":
        path = efficientnet.supervised_weights()
        _assign(network, efficientnet.pytorch_weights(path), path)
        info |= {"weights": "supervised", "weights_sha256": efficientnet.WEIGHTS_SHA256}
    else:
        print(
            f"WARNING: {name} has RANDOM weights. Random features are a floor, not a result: "
            "give --weights FILE with weights that were trained.",
            file=sys.stderr,
        )
        info |= {"weights": f"random, seed {seed}", "weights_sha256": _digest(network)}
    return Encoder(network, info, wanted)


ENCODERS = (*_ARCHITECTURES, "jigsaw")


def save_encoder(
    network: keras.Model, path: str | Path, recipe: dict[str, Any], *, half: bool = True
) -> None:
    """Write an encoder's weights as `.weights.h5`, with the recipe that made them inside.

    `recipe` is anything that JSON holds. `load_encoder` goes by its entries `encoder` (a name)
    and `preprocessing` (or `image_size`, pixels). With `half`, kernels are stored as float16, half
    the size; the vectors of normalisation stay float32, because a variance may exceed what float16
    holds.
    """
    heads = [layer.heads for layer in network.layers if isinstance(layer, SelfAttention)]
    if heads:
        recipe = {**recipe, "heads": heads[0]}  # some public checkpoints have others than our own
    with atomic_path(path) as temporary:
        full = temporary.with_name(".full.weights.h5")  # Keras goes by the suffix
        try:
            network.save_weights(full)
            with h5py.File(full, "r+") as source:
                source.attrs[_RECIPE] = json.dumps(recipe)
                if half:
                    with h5py.File(temporary, "w") as target:
                        half_copy(source, target)
            if not half:
                full.replace(temporary)
        finally:
            full.unlink(missing_ok=True)


def read_recipe(path: str | Path) -> dict[str, Any]:
    """The recipe inside a `.weights.h5` file; empty if it has none or is no such file."""
    try:
        with h5py.File(path, "r") as file:
            recipe = json.loads(file.attrs.get(_RECIPE, "{}"))
    except Exception:  # h5py raises by where in the file it stumbles
        return {}
    return recipe if isinstance(recipe, dict) else {}


_RECIPE = "recipe"  # the HDF5 attribute


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
    from jigsaw.solver import load_solver, picture_network  # which imports this module

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


def _assign(network: keras.Model, by_layer: dict[str, list[np.ndarray]], path: Path) -> None:
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
    if network.name == "efficientnet_lite0":
        _assign(network, efficientnet.pytorch_weights(path), path)
        return
    if network.name == "alexnet":
        raise UserError(f"{path}: alexnet takes only a .weights.h5 of jigsaw/main.py")
    tensors = read_checkpoint(path)
    try:
        found = fit(network, tensors)
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
