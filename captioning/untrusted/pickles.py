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

from captioning.cli import UserError

try:
    from numpy._core import multiarray
except ImportError:  # numpy 1
    from numpy.core import multiarray


class KerasTokenizer:
    """Stands for Keras 2's `Tokenizer` in a pickle: its attributes, and none of its code."""


class Refused(pickle.UnpicklingError):
    """The pickle asks for a name that is not on the list."""


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

    Derived classes say which names there are (`find_class`) and what `build` does.
    """

    # Sets and registered extensions are left out.
    dispatch: ClassVar[dict] = {
        code: method
        for code, method in pickle._Unpickler.dispatch.items()
        if bytes([code]) not in (pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET, pickle.EXT1,
                                 pickle.EXT2, pickle.EXT4, pickle.NEXT_BUFFER,
                                 pickle.READONLY_BUFFER)
    }  # fmt: skip

    def __init__(self, file: BinaryIO, **kwargs) -> None:
        super().__init__(_Bounded(file), **kwargs)

    def build(self, instance: Any, state: Any) -> None:
        """Give an object its state; by default none takes any."""
        raise pickle.UnpicklingError(f"state for a {type(instance).__name__}")

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
        filled: dict = {}
        self._fill(filled, self.pop_mark())
        self.append(filled)

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


# ---- the names that a pickle may use ---------------------------------------------------------

_NDARRAY = "numpy.ndarray"  # only ever handed on to `_reconstruct`


def _latin1(text: str, encoding: str) -> bytes:
    """What pickle protocols 0 to 2 call to spell `bytes`; no other codec is let in."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("bytes in an unexpected encoding")
    return text.encode("latin-1")


def _new_tokenizer(kind: type, base: str, state: None) -> KerasTokenizer:
    """What pickle protocols 0 and 1 call to make an object; no other class is let in."""
    if kind is not KerasTokenizer or base != "object":
        raise pickle.UnpicklingError("an object of an unexpected class")
    return KerasTokenizer()


def _new_dict(*arguments: str) -> dict:
    """An ordered or default dictionary, which are no others here; its items follow."""
    if not all(isinstance(argument, str) for argument in arguments):
        raise pickle.UnpicklingError("a dictionary with unexpected contents")
    return {}


def _dtype(code: str, align: bool = False, copy: bool = False) -> np.dtype:
    if not isinstance(code, str) or not re.fullmatch("[biufO][0-9]{1,2}", code):
        raise pickle.UnpicklingError(f"numbers of type {code!r:.20}")
    return np.dtype(code, copy=True)


def _reconstruct(kind: str, shape: tuple, code: bytes) -> np.ndarray:
    """What an array is pickled with: an empty one, whose state follows."""
    if kind != _NDARRAY or shape != (0,):
        raise pickle.UnpicklingError("an array of an unexpected class")
    return multiarray._reconstruct(np.ndarray, (0,), b"b")


def _from_buffer(data: bytes, dtype: np.dtype, shape: tuple, order: str) -> np.ndarray:
    """What an array is pickled with from protocol 5 on."""
    _check_array(shape, dtype, data)
    return np.frombuffer(data, dtype).reshape(shape, order=order)


def _scalar(dtype: np.dtype, data: bytes) -> np.generic:
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
    ("_codecs", "encode"): _latin1,
    ("copyreg", "_reconstructor"): _new_tokenizer,
    ("copy_reg", "_reconstructor"): _new_tokenizer,
}
for _core in ("numpy.core", "numpy._core"):
    _ALLOWED[f"{_core}.multiarray", "_reconstruct"] = _reconstruct
    _ALLOWED[f"{_core}.multiarray", "scalar"] = _scalar
    _ALLOWED[f"{_core}.numeric", "_frombuffer"] = _from_buffer
# Only handed on, never called: the factory of a default dictionary, the base of a class.
for _name in ("int", "long", "float", "bool", "str", "list", "dict", "object"):
    for _module in ("builtins", "__builtin__"):
        _ALLOWED[_module, _name] = _name
for _module in (
    "keras_preprocessing.text",
    "keras.preprocessing.text",
    "keras.src.preprocessing.text",
    "keras.src.legacy.preprocessing.text",
    "tf_keras.preprocessing.text",
    "tf_keras.src.preprocessing.text",
):
    _ALLOWED[_module, "Tokenizer"] = KerasTokenizer


class _Unpickler(SafeUnpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise Refused(f"{module}.{name}") from None

    def build(self, instance: Any, state: Any) -> None:
        if isinstance(instance, np.dtype):
            if state[1] not in ("<", ">", "=", "|"):
                raise pickle.UnpicklingError("numbers in an unknown byte order")
            instance.__setstate__((3, state[1], None, None, None, -1, -1, 0))
        elif isinstance(instance, np.ndarray):
            _, shape, dtype, fortran, data = state
            _check_array(shape, dtype, data)
            instance.__setstate__((1, shape, dtype, bool(fortran), bytes(data)))
        elif isinstance(instance, KerasTokenizer) and isinstance(state, dict):
            vars(instance).update(state)
        else:
            super().build(instance, state)


def load_pickle(path: str | Path) -> Any:
    """Read plain data and numpy arrays from a pickle without running anything from it.

    Raises:
        UserError: the file asks for anything off the allow-list, or is no readable pickle.
    """
    return load_pickles(path, 1)[0]


def load_pickles(path: str | Path, most: int) -> list[Any]:
    """`load_pickle` of a file that may have up to `most` pickles one behind the other."""
    with open(path, "rb") as file:
        try:
            found = [_Unpickler(file).load()]
            while len(found) < most and file.peek(1):
                found.append(_Unpickler(file).load())
            return found
        except Refused as error:
            raise UserError(
                f"{path}: refused, because this pickle asks for '{error}'; only numpy arrays and "
                "plain containers are read, so get the file again from a source you trust"
            ) from error
        except Exception as error:  # a damaged pickle can fail in any opcode, with any exception
            raise UserError(
                f"{path}: not a readable pickle ({type(error).__name__}); "
                "it is damaged or of another format"
            ) from error
