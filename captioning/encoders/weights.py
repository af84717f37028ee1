"""An encoder's weights in a file of ours, with the recipe that made them inside."""

import json
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from captioning.encoders.networks.vit import SelfAttention
from captioning.files import atomic_path
from captioning.untrusted.hdf5 import open_hdf5

SUFFIX = ".weights.h5"


def save_encoder(network: keras.Model, path: str | Path, recipe: dict[str, Any]) -> None:
    """Write an encoder's weights as `.weights.h5`, in half precision, with their recipe inside.

    `recipe` is anything that JSON holds. `load_encoder` goes by its entries `encoder` and
    `preprocessing`. See `half_copy` for what stays in float32.
    """
    heads = [layer.heads for layer in network.layers if isinstance(layer, SelfAttention)]
    if heads:
        recipe = {**recipe, "heads": heads[0]}  # some public checkpoints have others than our own
    with atomic_path(path) as temporary:
        full = temporary.with_name(f"{temporary.stem}{SUFFIX}")  # Keras goes by the suffix
        try:
            network.save_weights(full)
            with h5py.File(full, "r") as source, h5py.File(temporary, "w") as target:
                half_copy(source, target)
                target.attrs["recipe"] = json.dumps(recipe)
        finally:
            full.unlink(missing_ok=True)


def read_recipe(path: str | Path) -> dict[str, Any]:
    """The recipe inside a `.weights.h5` file; empty if it has none or is another kind of file.

    Raises:
        UserError: the file is damaged, or refused by `open_hdf5`.
    """
    if not str(path).endswith(SUFFIX):
        return {}
    with open_hdf5(path) as file:
        try:
            recipe = json.loads(file.attrs["recipe"])
        except (KeyError, TypeError, ValueError, RecursionError):
            recipe = None
    return recipe if isinstance(recipe, dict) else {}


def half_copy(source: h5py.File, target: h5py.File) -> None:
    """Copy weights in HDF5, float32 matrices and kernels as float16.

    Vectors stay as they are: they are small. So does what is beyond float16's range.
    """

    def copy(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            array = item[()]
            if array.ndim > 1 and array.dtype == "float32":
                half = np.abs(array).max(initial=0) <= np.finfo(np.float16).max
                array = array.astype(np.float16) if half else array
            copied = target.create_dataset(name, data=array)
        else:
            copied = target.require_group(name)
        copied.attrs.update(item.attrs)

    target.attrs.update(source.attrs)
    source.visititems(copy)
