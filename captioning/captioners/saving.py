"""Captioners in half precision, for files that ship: half the size, and the same captions."""

import io
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np

from captioning.cli import UserError
from captioning.encoders.weights import half_copy
from captioning.files import atomic_path

LARGEST = np.finfo(np.float16).max
_WEIGHTS = "model.weights.h5"  # inside a .keras file


def save_half(model: keras.Model, path: str | Path) -> None:
    """Write a model as `.keras`, its kernels in half precision; Keras loads them as float32.

    Raises:
        UserError: a weight is not finite, or a kernel is beyond half precision.
    """
    for weight in model.weights:
        largest = np.abs(keras.ops.convert_to_numpy(weight.value)).max(initial=0)
        if not largest <= (LARGEST if len(weight.shape) > 1 else np.finfo(np.float32).max):
            raise UserError(
                f"{path}: not written, because {weight.path} has weights that are not finite in "
                "half precision; train the model again with a lower --learning-rate"
            )
    with atomic_path(path) as temporary:
        model.save(temporary)
        with zipfile.ZipFile(temporary) as whole:
            contents = {name: whole.read(name) for name in whole.namelist()}
        buffer = io.BytesIO()
        with h5py.File(io.BytesIO(contents[_WEIGHTS])) as full, h5py.File(buffer, "w") as half:
            half_copy(full, half)
        contents[_WEIGHTS] = buffer.getvalue()
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as halved:
            for name, content in contents.items():
                halved.writestr(name, content)
