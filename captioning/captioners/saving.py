"""Captioners in half precision, for files that ship: half the size, and the same captions."""

import io
import zipfile
from pathlib import Path

import h5py
import keras

from captioning.encoders.weights import half_copy
from captioning.files import atomic_path


def save_half(model: keras.Model, path: str | Path) -> None:
    """Write a model as `.keras`, its kernels in half precision; Keras loads them as float32."""
    with atomic_path(path) as temporary:
        model.save(temporary)
        with zipfile.ZipFile(temporary) as whole:
            contents = {name: whole.read(name) for name in whole.namelist()}
        weights = io.BytesIO(contents["model.weights.h5"])
        halved = io.BytesIO()
        with h5py.File(weights) as source, h5py.File(halved, "w") as target:
            half_copy(source, target)
        contents["model.weights.h5"] = halved.getvalue()
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in contents.items():
                archive.writestr(name, content)
