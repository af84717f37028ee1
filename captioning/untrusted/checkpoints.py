"""Public checkpoints as plain arrays: PyTorch's files, read without PyTorch and without trust.

A `.pth` file is a pickle that names its tensors' storages, followed by (legacy format) or packed
in a zip archive with (since PyTorch 1.6) the raw numbers. The unpickler below knows the handful
of names that describe a tensor. What training frameworks store beside them (arguments, counters,
optimizers) becomes an object that does nothing; any other name is refused. So nothing in the file
is executed. `.safetensors` and `.npz` hold arrays and nothing else.
"""

import io
import pickle
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from ml_dtypes import bfloat16
from safetensors.numpy import load_file

from captioning.cli import UserError, in_file
from captioning.untrusted.pickles import LEGACY_MAGIC, SafeUnpickler

# All tensors together may be so many times the file, or these bytes: some share their numbers.
_LARGEST_EXPANSION, _SMALL = 4, 1 << 26
_STORAGES = {"Double": "<f8", "Float": "<f4", "Half": "<f2", "BFloat16": bfloat16, "Long": "<i8"}
_STORAGES |= {"Int": "<i4", "Short": "<i2", "Char": "i1", "Byte": "u1", "Bool": "?"}
# What lies beside the tensors in public checkpoints: objects of frameworks, and Python's own
# containers and codecs, as old pickles spell them.
_HARMLESS = re.compile(
    r"(argparse|classy_vision|collections|datetime|lightly|lightning|lightning_fabric|numpy"
    r"|omegaconf|pathlib|pytorch_lightning|pl_bolts|solo|timm|torch|torchvision|typing|vissl|yacs)"
    r"\..*|(builtins|__builtin__)\.(set|frozenset|slice|complex|bytearray|object)"
    r"|_codecs\.encode|copy_?reg\._reconstructor"
)


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

    values: np.ndarray

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype


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


class _TorchUnpickler(SafeUnpickler):
    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="latin-1")
        self.storages: dict[str, _Storage] = {}

    def build(self, instance: Any, state: Any) -> None:
        """No object that stands for one of a framework takes its state."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _TENSORS:
            return _TENSORS[module, name]
        if _HARMLESS.fullmatch(f"{module}.{name}"):
            return _Inert
        raise UserError(f"refused, because this checkpoint asks for '{module}.{name}'")

    def persistent_load(self, identity: Any) -> _Storage:
        kind, dtype, key, _location, _count, *view = identity
        known = isinstance(dtype, np.dtype) and isinstance(key, str)
        if kind != "storage" or not known or any(view):
            raise pickle.UnpicklingError("not a tensor storage")
        return self.storages.setdefault(key, _Storage(dtype))


def _new_dict(*arguments: list) -> dict:
    """An ordered dictionary, whose entries follow; Python 2 hands them over as a list of pairs."""
    if not arguments:
        return {}
    [pairs] = arguments
    filled = {key: value for key, value in pairs if isinstance(key, str | int)}
    pairs.clear()  # or a file could have the same list copied a million times
    return filled


_TENSORS = {
    ("collections", "OrderedDict"): _new_dict,
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    ("torch._tensor", "_rebuild_from_type_v2"): lambda _rebuild, _kind, made, *_: _Tensor(*made),
    **{("torch", f"{name}Storage"): np.dtype(kind) for name, kind in _STORAGES.items()},
}


def read_checkpoint(path: str | Path) -> dict[str, np.ndarray]:
    """Tensors by name of a PyTorch checkpoint (either format), a `.safetensors` or an `.npz`.

    Names of nested dictionaries are joined by dots: `state_dict.conv1.weight`.

    Raises:
        UserError: the file asks for code to be run, is damaged, or of another format.
    """
    path = Path(path)
    with open(path, "rb") as file, in_file(path, "not a readable checkpoint"):
        tensors = _read(file, path)
    return {
        name: array.astype(np.float32) if array.dtype == bfloat16 else array
        for name, array in tensors.items()
    }


def _read(file: BinaryIO, path: Path) -> dict[str, np.ndarray]:
    size = path.stat().st_size
    most = max(_LARGEST_EXPANSION * size, _SMALL)
    if path.suffix == ".safetensors":
        return load_file(path)
    if path.suffix == ".npz":
        return _read_npz(file, most)
    loaded = _read_zip(file, size) if zipfile.is_zipfile(file) else _read_legacy(file, size)
    if not isinstance(loaded, dict):
        raise ValueError("no dictionary of tensors")
    views = {name: tensor.array() for name, tensor in _tensors(loaded, set())}
    if sum(view.nbytes for view in views.values()) > most:
        raise ValueError("its tensors repeat their numbers without bound")
    # Those that lie in one piece in the file are not copied.
    return {name: np.asarray(view, order="C") for name, view in views.items()}


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


def _read_npz(file: BinaryIO, most: int) -> dict[str, np.ndarray]:
    """The arrays of numbers in an npz; numpy's own reader sets aside what an array claims to be."""
    arrays = {}
    with zipfile.ZipFile(file) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > most:
            raise ValueError("it unpacks to far more than it holds")
        for name in archive.namelist():
            member = io.BytesIO(archive.read(name))
            np.lib.format.read_magic(member)
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
            if dtype.kind in "biuf":
                flat = np.frombuffer(member.read(), dtype)
                order = "F" if fortran else "C"
                arrays[name.removesuffix(".npy")] = flat.reshape(shape, order=order)
    return arrays


def _read_legacy(file: BinaryIO, size: int) -> Any:
    file.seek(0)
    if _TorchUnpickler(file).load() != LEGACY_MAGIC:
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
