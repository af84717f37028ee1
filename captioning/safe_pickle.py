"""Reading pickles from strangers: an allow-list of numpy arrays and plain containers.

A pickle is a program; the standard library's `pickle.load` runs it. The unpickler here resolves
only the names below, each of which builds plain data, and refuses everything else before anything
has run (https://docs.python.org/3/library/pickle.html#restricting-globals).
"""

import builtins
import collections
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from captioning.cli import UserError

try:
    from numpy._core import multiarray, numeric
except ImportError:  # numpy 1
    from numpy.core import multiarray, numeric


class KerasTokenizer:
    """Stands for Keras 2's `Tokenizer` in a pickle: its attributes, and none of its code."""


def _latin1(text: str, encoding: str) -> bytes:
    """What pickle protocols 0 to 2 call to spell `bytes`; no other codec is let in."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError("bytes in an unexpected encoding")
    return text.encode("latin-1")


def _new_tokenizer(kind: type, base: type, state: None) -> KerasTokenizer:
    """What pickle protocols 0 and 1 call to make an object; no other class is let in."""
    if kind is not KerasTokenizer or base is not object:
        raise pickle.UnpicklingError("an object of an unexpected class")
    return KerasTokenizer()


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "defaultdict"): collections.defaultdict,
    ("_codecs", "encode"): _latin1,
    ("copyreg", "_reconstructor"): _new_tokenizer,
    ("copy_reg", "_reconstructor"): _new_tokenizer,
}
for _name in ("int", "float", "bool", "str", "list", "dict", "tuple", "set", "frozenset", "object"):
    for _module in ("builtins", "__builtin__"):
        _ALLOWED[_module, _name] = getattr(builtins, _name)
for _core in ("numpy.core", "numpy._core"):
    _ALLOWED[f"{_core}.multiarray", "_reconstruct"] = multiarray._reconstruct
    _ALLOWED[f"{_core}.multiarray", "scalar"] = multiarray.scalar
    _ALLOWED[f"{_core}.numeric", "_frombuffer"] = numeric._frombuffer
for _module in (
    "keras_preprocessing.text",
    "keras.preprocessing.text",
    "keras.src.preprocessing.text",
    "keras.src.legacy.preprocessing.text",
    "tf_keras.preprocessing.text",
    "tf_keras.src.preprocessing.text",
):
    _ALLOWED[_module, "Tokenizer"] = KerasTokenizer


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _Refused(f"{module}.{name}") from None


class _Refused(pickle.UnpicklingError):
    """The pickle asks for a name that is not on the list."""


def load_pickle(path: str | Path) -> Any:
    """Read plain data and numpy arrays from a pickle without running anything from it.

    Raises:
        UserError: the file asks for anything off the allow-list, or is no readable pickle.
    """
    with open(path, "rb") as file:
        try:
            return _Unpickler(file).load()
        except _Refused as error:
            raise UserError(
                f"{path}: refused, because this pickle asks for '{error}'; only numpy arrays and "
                "plain containers are read, so get the file again from a source you trust"
            ) from error
        except OSError:
            raise
        except Exception as error:  # a damaged pickle can fail in any opcode, with any exception
            raise UserError(
                f"{path}: not a readable pickle ({type(error).__name__}); "
                "it is damaged or of another format"
            ) from error
