"""Public checkpoints as plain arrays: PyTorch's files, read without PyTorch and without trust.

A `.pth` file is a pickle that names its tensors' storages, followed by (legacy format) or packed
in a zip archive with (since PyTorch 1.6) the raw numbers. The unpickler below knows the handful
of names that describe a tensor. What training frameworks store beside them (arguments, counters,
optimizers) becomes an object that does nothing; any other name is refused. So nothing in the file
is executed. `.safetensors` and `.npz` hold arrays and nothing else.
"""

import io
import json
import math
import pickle
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from ml_dtypes import bfloat16

from captioning.cli import UserError
from captioning.untrusted.pickles import SafeUnpickler

# All tensors together may be so many times the file, or these bytes: some share their numbers.
_LARGEST_EXPANSION, _SMALL = 4, 1 << 26
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


_BFLOAT16 = np.dtype(bfloat16)
_STORAGE_TYPES["BFloat16Storage"] = _BFLOAT16
_SAFETENSORS_TYPES = {
    "F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": _BFLOAT16,
    "I64": np.dtype("<i8"), "I32": np.dtype("<i4"), "I16": np.dtype("<i2"), "I8": np.dtype("i1"),
    "U8": np.dtype("u1"), "BOOL": np.dtype("?"),
}  # fmt: skip
# Packages whose objects lie beside the tensors in public checkpoints.
_HARMLESS = {
    "argparse", "classy_vision", "collections", "datetime", "lightly", "lightning",
    "lightning_fabric", "numpy", "omegaconf", "pathlib", "pytorch_lightning", "pl_bolts", "solo",
    "timm", "torch", "torchvision", "typing", "vissl", "yacs",
}  # fmt: skip


class _Inert(dict):
    """Stands for an object of a training framework: takes what the pickle gives, does nothing."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__()

    def _ignore(self, *_: Any) -> None:
        pass

    append = extend = add = _ignore
    __hash__ = object.__hash__


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
        return np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, steps)


# Python's own containers and codecs, as old pickles spell them.
_PLAIN = {
    *((module, name) for module in ("builtins", "__builtin__")
      for name in ("set", "frozenset", "slice", "complex", "bytearray", "object")),
    ("_codecs", "encode"), ("copy_reg", "_reconstructor"), ("copyreg", "_reconstructor"),
}  # fmt: skip


class _TorchUnpickler(SafeUnpickler):
    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="latin-1")
        self.storages: dict[str, _Storage] = {}

    def build(self, instance: Any, state: Any) -> None:
        """No object that stands for one of a framework takes its state."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return _new_dict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        if (module, name) == ("torch._tensor", "_rebuild_from_type_v2"):
            return _rebuild_from_type
        if module == "torch" and name in _STORAGE_TYPES:
            return _STORAGE_TYPES[name]
        if module.partition(".")[0] in _HARMLESS or (module, name) in _PLAIN:
            return _Inert
        raise UserError(f"refused, because this checkpoint asks for '{module}.{name}'")

    def persistent_load(self, identity: Any) -> _Storage:
        kind, dtype, key, _location, count, *view = identity
        known = isinstance(dtype, np.dtype) and isinstance(key, str) and isinstance(count, int)
        if kind != "storage" or not known or any(view):
            raise pickle.UnpicklingError("not a tensor storage")
        return self.storages.setdefault(key, _Storage(dtype, key, count))


def _new_dict(*arguments: list) -> dict:
    """An ordered dictionary, whose entries follow; Python 2 hands them over as a list of pairs."""
    if not arguments:
        return {}
    [pairs] = arguments
    filled = {key: value for key, value in pairs if isinstance(key, str | int)}
    pairs.clear()  # or a file could have the same list copied a million times
    return filled


def _rebuild_from_type(rebuild: Any, _kind: Any, arguments: tuple, _state: Any) -> _Tensor:
    """A parameter or a tensor of a derived class, as a tensor."""
    if rebuild is not _Tensor:
        raise pickle.UnpicklingError("a tensor made in an unknown way")
    return _Tensor(*arguments)


def read_checkpoint(path: str | Path) -> dict[str, np.ndarray]:
    """Tensors by name of a PyTorch checkpoint (either format), a `.safetensors` or an `.npz`.

    Names of nested dictionaries are joined by dots: `state_dict.conv1.weight`.

    Raises:
        UserError: the file asks for code to be run, is damaged, or of another format.
    """
    path = Path(path)
    with open(path, "rb") as file:
        try:
            return _read(file, path.suffix, path.stat().st_size)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        except Exception as error:  # a damaged pickle or zip fails anywhere, with any exception
            raise UserError(f"{path}: not a readable checkpoint ({error!s:.200})") from error


def _read(file: BinaryIO, suffix: str, size: int) -> dict[str, np.ndarray]:
    if suffix == ".safetensors":
        return _read_safetensors(file)
    if suffix == ".npz":
        return _read_npz(file, size)
    loaded = _read_zip(file, size) if zipfile.is_zipfile(file) else _read_legacy(file, size)
    if not isinstance(loaded, dict):
        raise ValueError("no dictionary of tensors")
    views = {name: tensor.array() for name, tensor in _tensors(loaded, set())}
    if sum(view.nbytes for view in views.values()) > _most(size):
        raise ValueError("its tensors repeat their numbers without bound")
    # Those that lie in one piece in the file are not copied.
    return {name: _plain(np.asarray(view, order="C")) for name, view in views.items()}


def _most(size: int) -> int:
    """Bytes that the tensors of a file of `size` bytes may take."""
    return max(_LARGEST_EXPANSION * size, _SMALL)


def _tensors(
    loaded: Mapping[Any, Any], visited: set[int], prefix: str = ""
) -> Iterator[tuple[str, _Tensor]]:
    """Tensors by name. A dictionary may hold itself, or be held a thousand times: once counts."""
    visited.add(id(loaded))
    for key, value in loaded.items():
        if not isinstance(key, str | int):
            continue
        if isinstance(value, _Tensor):
            yield f"{prefix}{key}", value
        elif isinstance(value, dict) and id(value) not in visited and prefix.count(".") < 8:
            yield from _tensors(value, visited, f"{prefix}{key}.")


def _plain(array: np.ndarray) -> np.ndarray:
    """bfloat16 as float32; everything else as it is."""
    if array.dtype != _BFLOAT16:
        return array
    return array.astype(np.float32)


def _read_safetensors(file: BinaryIO) -> dict[str, np.ndarray]:
    (length,) = struct.unpack("<Q", file.read(8))
    if length > 100 << 20:  # the format's own limit
        raise ValueError("no safetensors header")
    header = json.loads(file.read(length))
    data = np.frombuffer(file.read(), np.uint8)
    arrays, taken = {}, 0
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        dtype, (begin, end) = _SAFETENSORS_TYPES[entry["dtype"]], entry["data_offsets"]
        if not 0 <= begin <= end <= len(data):
            raise ValueError("a tensor reaches outside the file")
        if end - begin != math.prod(entry["shape"]) * dtype.itemsize:
            raise ValueError("a tensor's size is not its shape's")
        taken += end - begin
        if taken > len(data):
            raise ValueError("tensors overlap")
        flat = np.frombuffer(data[begin:end].tobytes(), dtype)
        arrays[name] = _plain(flat.reshape(entry["shape"]))
    return arrays


def _read_npz(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
    """The arrays of numbers in an npz; numpy's own reader trusts what the file claims."""
    arrays = {}
    with zipfile.ZipFile(file) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > _most(size):
            raise ValueError("it unpacks to far more than it holds")
        for entry in archive.infolist():
            with archive.open(entry) as member:
                version = np.lib.format.read_magic(member)
                shape, fortran, dtype = _NPY_HEADERS[version](member)
                if dtype.kind in "biuf":
                    flat = np.frombuffer(member.read(), dtype)
                    order = "F" if fortran else "C"
                    arrays[entry.filename.removesuffix(".npy")] = flat.reshape(shape, order=order)
    return arrays


_NPY_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def _read_legacy(file: BinaryIO, size: int) -> Any:
    file.seek(0)
    if _TorchUnpickler(file).load() != _LEGACY_MAGIC:
        raise ValueError("no checkpoint by its first bytes")
    for _ in range(2):  # protocol version, sizes of the writer's C types
        _TorchUnpickler(file).load()
    unpickler = _TorchUnpickler(file)
    loaded = unpickler.load()
    for key in _TorchUnpickler(file).load():
        storage = unpickler.storages[str(key)]
        (count,) = struct.unpack("<Q", file.read(8))
        data = file.read(min(count * storage.dtype.itemsize, size))
        storage.values = np.frombuffer(data, storage.dtype, count)
    return loaded


def _read_zip(file: BinaryIO, size: int) -> Any:
    with zipfile.ZipFile(file) as archive:
        # PyTorch compresses nothing, so what is larger than the file lies about its size.
        entries = archive.infolist()
        if sum(max(entry.file_size, entry.compress_size) for entry in entries) > size:
            raise ValueError("compressed, or damaged in its sizes")
        index = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        unpickler = _TorchUnpickler(io.BytesIO(archive.read(index)))
        loaded = unpickler.load()
        folder = index.removesuffix("data.pkl")
        for key, storage in unpickler.storages.items():
            storage.values = np.frombuffer(archive.read(f"{folder}data/{key}"), storage.dtype)
    return loaded
