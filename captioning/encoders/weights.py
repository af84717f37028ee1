"""An encoder's weights in a file of ours, with the recipe that made them inside."""

import json
from pathlib import Path
from typing import Any

import h5py
import keras

from captioning.encoders.networks.vit import SelfAttention
from captioning.files import atomic_path


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


def half_copy(source: h5py.File, target: h5py.File) -> None:
    """Copy an HDF5 file, its float32 matrices and kernels as float16.

    Vectors stay as they are: they are small, and a variance may exceed what float16 holds.
    """

    def copy(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            halve = item.ndim > 1 and item.dtype == "float32"
            copied = target.create_dataset(name, data=item[()].astype("f2") if halve else item[()])
        else:
            copied = target.require_group(name)
        copied.attrs.update(item.attrs)

    target.attrs.update(source.attrs)
    source.visititems(copy)
