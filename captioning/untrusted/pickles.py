"""Reading pickles from strangers: plain data and numpy arrays, and nothing else.

A pickle is a program; the standard library's `pickle.load` runs it. The unpickler here resolves
only the names below, each of which builds plain data, and refuses everything else before anything
has run (https://docs.python.org/3/library/pickle.html#restricting-globals).

It is the standard library's unpickler in Python. The one in C sets aside memory for any number
that the file names before it looks whether there is as much: seven bytes can ask for 34 GB.
"""

import math
import os
import pickle
import re
import struct
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

from captioning.cli import UserError, in_file

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # a pickle of this begins what `torch.save` once wrote


class KerasTokenizer(dict):
    """Stands for Keras 2's `Tokenizer` in a pickle: its attributes, and none of its code."""


class _Bounded:
    """A file that is never asked for more bytes than it has: `read` would set them aside."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.readline = file, file.readline
        here = file.tell()
        self._size = file.seek(0, os.SEEK_END)
        file.seek(here)

    def read(self, count: int) -> bytes:
        return self._file.read(min(count, self._size))


class SafeUnpickler(pickle._Unpickler):
    """An unpickler without the instructions that no file of ours needs, and that can do harm.

    Derived classes have `find_class` for names, and `build` gives an object its state.
    """

    dispatch: ClassVar[dict] = dict(pickle._Unpickler.dispatch)
    for _name in "EMPTY_SET ADDITEMS FROZENSET EXT1 EXT2 EXT4 NEXT_BUFFER READONLY_BUFFER".split():
        del dispatch[getattr(pickle, _name)[0]]

    def __init__(self, file: BinaryIO, **kwargs) -> None:
        super().__init__(_Bounded(file), **kwargs)

    def _build(self) -> None:
        state = self.stack.pop()
        self.build(self.stack[-1], state)

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._fill(self.stack[-1], [key, value])

    def _set_items(self) -> None:
        items = self.pop_mark()
        self._fill(self.stack[-1], items)

    def _dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._fill(self.stack[-1], items)

    def _fill(self, target: Any, items: list) -> None:
        if not isinstance(target, dict):
            raise pickle.UnpicklingError("entries for what is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # The hash of tuples in tuples without end overflows the C stack.
            if isinstance(key, tuple) and any(isinstance(part, tuple) for part in key):
                raise pickle.UnpicklingError("a nested tuple as a key")
            target[key] = value

    def _bytearray(self) -> None:
        (length,) = struct.unpack("<Q", self.read(8))
        self.append(bytearray(self.read(length)))

    dispatch |= {
        pickle.BUILD[0]: _build,
        pickle.SETITEM[0]: _set_item,
        pickle.SETITEMS[0]: _set_items,
        pickle.DICT[0]: _dict,
        pickle.BYTEARRAY8[0]: _bytearray,
    }


_NDARRAY = "numpy.ndarray"  # only ever handed on to `_reconstruct`


def _new_dict(*arguments: str) -> dict:
    """An ordered or default dictionary, which are no others here; its items follow."""
    if not all(isinstance(argument, str) for argument in arguments):
        raise pickle.UnpicklingError("a dictionary with unexpected contents")
    return {}


def _dtype(code: str, align: bool = False, copy: bool = False) -> np.dtype:
    if not isinstance(code, str) or not re.fullmatch("[biufO][0-9]{1,2}|U[0-9]{1,4}", code):
        raise pickle.UnpicklingError(f"numbers of type {code!r:.20}")
    return np.dtype(code, copy=True)


def _reconstruct(kind: str, shape: tuple, code: bytes) -> np.ndarray:
    """What an array is pickled with: an empty one, whose state follows."""
    if kind != _NDARRAY or shape != (0,):
        raise pickle.UnpicklingError("an array of an unexpected class")
    return np.empty(0, np.int8)


def _from_buffer(data: bytes, dtype: np.dtype, shape: tuple, order: str) -> np.ndarray:
    """What an array is pickled with from protocol 5 on."""
    _check_array(shape, dtype, data)
    return np.frombuffer(data, dtype).reshape(shape, order=order)


def _scalar(dtype: np.dtype, data: bytes) -> np.generic | str:
    if isinstance(dtype, np.dtype) and dtype.kind == "U":  # names that were in an array
        return str(np.frombuffer(data, dtype, 1)[0])
    _check_array((), dtype, data)
    return np.frombuffer(data, dtype)[0]


def _check_array(shape: Any, dtype: Any, data: Any) -> None:
    if not isinstance(dtype, np.dtype) or dtype.kind not in "biuf":
        raise pickle.UnpicklingError("an array of no numbers")
    if not isinstance(data, (bytes, bytearray)) or not isinstance(shape, tuple):
        raise pickle.UnpicklingError("an array without its bytes")
    if math.prod(shape) * dtype.itemsize != len(data) or min(shape, default=0) < 0:
        raise pickle.UnpicklingError("an array of another size than its bytes")


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): _dtype,
    ("collections", "OrderedDict"): _new_dict,
    ("collections", "defaultdict"): _new_dict,
    # What old protocols call to spell bytes and to make an object, which can be a tokenizer only.
    ("_codecs", "encode"): lambda text, _: text.encode("latin-1"),
    ("copyreg", "_reconstructor"): lambda *_: KerasTokenizer(),
    ("copy_reg", "_reconstructor"): lambda *_: KerasTokenizer(),
    # Only handed on, never called: the factory of a default dictionary, the base of a class.
    **{
        (module, name): name
        for module in ("builtins", "__builtin__")
        for name in ("int", "long", "float", "bool", "str", "list", "dict", "object")
    },
}
for _core in ("numpy.core", "numpy._core"):
    _ALLOWED[f"{_core}.multiarray", "_reconstruct"] = _reconstruct
    _ALLOWED[f"{_core}.multiarray", "scalar"] = _scalar
    _ALLOWED[f"{_core}.numeric", "_frombuffer"] = _from_buffer
_TOKENIZER = re.compile(r"(keras_|(tf_)?keras(\.src)?(\.legacy)?\.)preprocessing\.text\.Tokenizer")


class _Unpickler(SafeUnpickler):
    def find_class(self, module: str, name: str) -> Any:
        if _TOKENIZER.fullmatch(f"{module}.{name}"):
            return KerasTokenizer
        if (module, name) not in _ALLOWED:
            raise UserError(
                f"refused, because this pickle asks for '{module}.{name}'; only numpy arrays and "
                "plain containers are read, so get the file again from a source you trust"
            )
        return _ALLOWED[module, name]

    def build(self, instance: Any, state: Any) -> None:
        if isinstance(instance, np.dtype):
            if state[1] not in ("<", ">", "=", "|"):
                raise pickle.UnpicklingError("numbers in an unknown byte order")
            version, _, *sizes = instance.__reduce__()[2]
            instance.__setstate__((version, state[1], *sizes))
        elif isinstance(instance, np.ndarray):
            _, shape, dtype, fortran, data = state
            _check_array(shape, dtype, data)
            instance.__setstate__((1, shape, dtype, bool(fortran), bytes(data)))
        elif isinstance(instance, KerasTokenizer) and isinstance(state, dict):
            instance.update(state)
        else:
            raise pickle.UnpicklingError(f"state for a {type(instance).__name__}")


def load_pickle(path: str | Path) -> Any:
    """Read plain data and numpy arrays from a pickle without running anything from it.

    Raises:
        UserError: the file asks for anything off the allow-list, or is no readable pickle.
    """
    return load_pickles(path, 1)[0]


def load_pickles(path: str | Path, most: int) -> list[Any]:
    """`load_pickle` of a file that may have up to `most` pickles one behind the other."""
    with open(path, "rb") as file, in_file(path, "not a pickle, or damaged"):
        zipped = file.read(4) == b"PK\3\4"
        file.seek(0)
        loaded = [] if zipped else [_Unpickler(file).load()]
        if zipped or (isinstance(loaded[0], int) and loaded[0] == LEGACY_MAGIC):
            raise UserError(
                "is a file of torch.save (or np.savez), not of pickle.dump; load it with what "
                "wrote it, and save a dictionary of numpy arrays with pickle.dump"
            )
        while len(loaded) < most and file.peek(1):
            loaded.append(_Unpickler(file).load())
    return loaded
