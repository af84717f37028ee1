"""Public checkpoints as plain arrays: PyTorch's files, read without PyTorch and without trust.

A `.pth` file is a pickle that names its tensors' storages, followed by (legacy format) or packed
in a zip archive with (since PyTorch 1.6) the raw numbers. The unpickler below knows the handful
of names that describe a tensor and refuses every other, so nothing in the file is executed.
"""

import collections
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from captioning.cli import UserError

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGE_TYPES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}


class _Storage:
    """The flat numbers that one or more tensors look into; filled in after the pickle is read."""

    def __init__(self, dtype: np.dtype, key: str, count: int) -> None:
        self.dtype, self.key, self.count = dtype, key, count
        self.values: np.ndarray | None = None


class _Tensor:
    """A view of a storage: first element, shape and strides, counted in elements."""

    def __init__(self, storage: _Storage, offset: int, shape: tuple, stride: tuple, *_: Any):
        self.storage, self.offset, self.shape, self.stride = storage, offset, shape, stride

    def array(self) -> np.ndarray:
        values = self.storage.values
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.stride, strict=True))
        if min((self.offset, *self.shape, *self.stride)) < 0 or (
            last >= len(values) and 0 not in self.shape
        ):
            raise ValueError("a tensor reaches outside its storage")
        steps = [step * values.itemsize for step in self.stride]
        view = np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, steps)
        return np.array(view)


class _TorchUnpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="latin-1")
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        if module == "torch" and name in _STORAGE_TYPES:
            return _STORAGE_TYPES[name]
        raise UserError(f"refused, because this checkpoint asks for '{module}.{name}'")

    def persistent_load(self, identity: Any) -> _Storage:
        kind, dtype, key, _location, count, *view = identity
        if kind != "storage" or not isinstance(dtype, np.dtype) or any(view):
            raise pickle.UnpicklingError("not a tensor storage")
        return self.storages.setdefault(key, _Storage(dtype, key, count))


def read_checkpoint(path: str | Path) -> dict[str, np.ndarray]:
    """Tensors of a PyTorch checkpoint by name.

    Raises:
        UserError: the file asks for anything but tensors, is damaged, or of another format.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            loaded = _read_zip(file) if zipfile.is_zipfile(file) else _read_legacy(file)
        if not isinstance(loaded, dict):
            raise ValueError("no dictionary of tensors")
        return {key: value.array() for key, value in loaded.items() if isinstance(value, _Tensor)}
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can fail in any opcode, with any exception
        raise UserError(f"{path}: not a readable PyTorch checkpoint ({error})") from error


def _read_legacy(file: BinaryIO) -> Any:
    file.seek(0)
    if _TorchUnpickler(file).load() != _LEGACY_MAGIC:
        raise ValueError("no checkpoint by its first bytes")
    for _ in range(2):  # protocol version, sizes of the writer's C types
        _TorchUnpickler(file).load()
    unpickler = _TorchUnpickler(file)
    loaded = unpickler.load()
    for key in _TorchUnpickler(file).load():
        storage = unpickler.storages[key]
        (count,) = struct.unpack("<q", file.read(8))
        data = file.read(count * storage.dtype.itemsize)
        storage.values = np.frombuffer(data, storage.dtype, count)
    return loaded


def _read_zip(file: BinaryIO) -> Any:
    with zipfile.ZipFile(file) as archive:
        index = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        with archive.open(index) as pickled:
            unpickler = _TorchUnpickler(pickled)
            loaded = unpickler.load()
        folder = index.removesuffix("data.pkl")
        for key, storage in unpickler.storages.items():
            data = archive.read(f"{folder}data/{key}")
            storage.values = np.frombuffer(data, storage.dtype)
    return loaded
