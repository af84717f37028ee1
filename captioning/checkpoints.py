"""Public checkpoints as plain arrays: PyTorch's files, read without PyTorch and without trust.

A `.pth` file is a pickle that names its tensors' storages, followed by (legacy format) or packed
in a zip archive with (since PyTorch 1.6) the raw numbers. The unpickler below knows the handful
of names that describe a tensor. What training frameworks store beside them (arguments, counters,
optimizers) becomes an object that does nothing; any other name is refused. So nothing in the file
is executed. `.safetensors` and `.npz` hold arrays and nothing else.
"""

import collections
import json
import math
import pickle
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from captioning.cli import UserError

_LARGEST_REPEATED = 1 << 24  # elements of a tensor that shows its storage several times over
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


_BFLOAT16 = np.dtype("V2")  # numpy has none; read as the upper half of a float32
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

    def __setstate__(self, state: Any) -> None:
        pass

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
        if math.prod(self.shape) > max(len(values), _LARGEST_REPEATED):
            raise ValueError("a tensor repeats its storage without bound")
        steps = [step * values.itemsize for step in self.stride]
        view = np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, steps)
        return _plain(np.array(view))


# Python's own containers and codecs, as old pickles spell them.
_PLAIN = {
    *((module, name) for module in ("builtins", "__builtin__")
      for name in ("set", "frozenset", "slice", "complex", "bytearray", "object")),
    ("_codecs", "encode"), ("copy_reg", "_reconstructor"), ("copyreg", "_reconstructor"),
}  # fmt: skip


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
        if (module, name) == ("torch._tensor", "_rebuild_from_type_v2"):
            return lambda rebuild, _kind, arguments, _state: rebuild(*arguments)
        if module == "torch" and name in _STORAGE_TYPES:
            return _STORAGE_TYPES[name]
        if module.partition(".")[0] in _HARMLESS or (module, name) in _PLAIN:
            return _Inert
        raise UserError(f"refused, because this checkpoint asks for '{module}.{name}'")

    def persistent_load(self, identity: Any) -> _Storage:
        kind, dtype, key, _location, count, *view = identity
        if kind != "storage" or not isinstance(dtype, np.dtype) or any(view):
            raise pickle.UnpicklingError("not a tensor storage")
        return self.storages.setdefault(key, _Storage(dtype, key, count))


def read_checkpoint(path: str | Path) -> dict[str, np.ndarray]:
    """Tensors by name of a PyTorch checkpoint (either format), a `.safetensors` or an `.npz`.

    Names of nested dictionaries are joined by dots: `state_dict.conv1.weight`.

    Raises:
        UserError: the file asks for code to be run, is damaged, or of another format.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            if path.suffix == ".safetensors":
                return _read_safetensors(file)
            if path.suffix == ".npz":
                with np.load(file, allow_pickle=False) as arrays:
                    return {name: arrays[name] for name in arrays.files}
            loaded = _read_zip(file) if zipfile.is_zipfile(file) else _read_legacy(file)
        if not isinstance(loaded, dict):
            raise ValueError("no dictionary of tensors")
        return dict(_tensors(loaded))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can fail in any opcode, with any exception
        raise UserError(f"{path}: not a readable checkpoint ({error})") from error


def _tensors(loaded: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    if prefix.count(".") > 8:  # deeper than any checkpoint; a dictionary may hold itself
        return
    for key, value in loaded.items():
        if isinstance(value, _Tensor):
            yield f"{prefix}{key}", value.array()
        elif isinstance(value, dict):
            yield from _tensors(value, f"{prefix}{key}.")


def _plain(array: np.ndarray) -> np.ndarray:
    """bfloat16 as float32; everything else as it is."""
    if array.dtype != _BFLOAT16:
        return array
    return (array.view("<u2").astype("<u4") << 16).view("<f4")


def _read_safetensors(file: BinaryIO) -> dict[str, np.ndarray]:
    (length,) = struct.unpack("<Q", file.read(8))
    if length > 100 << 20:  # the format's own limit
        raise ValueError("no safetensors header")
    header = json.loads(file.read(length))
    data = np.frombuffer(file.read(), np.uint8)
    arrays = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        dtype, (begin, end) = _SAFETENSORS_TYPES[entry["dtype"]], entry["data_offsets"]
        if not 0 <= begin <= end <= len(data):
            raise ValueError("a tensor reaches outside the file")
        if end - begin != math.prod(entry["shape"]) * dtype.itemsize:
            raise ValueError("a tensor's size is not its shape's")
        flat = np.frombuffer(data[begin:end].tobytes(), dtype)
        arrays[name] = _plain(flat.reshape(entry["shape"]))
    return arrays


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
            entry = archive.getinfo(f"{folder}data/{key}")
            if entry.compress_type != zipfile.ZIP_STORED:  # PyTorch never compresses
                raise ValueError("compressed storage")
            data = archive.read(entry)
            storage.values = np.frombuffer(data, storage.dtype)
    return loaded
