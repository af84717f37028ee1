"""PyTorch's two formats, written byte by byte, so that no PyTorch is needed."""

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping

import numpy as np

from captioning.encoders.layouts import pytorch_key

Tensors = Mapping[str, np.ndarray]  # by name; a dot leads into a dictionary

_STORAGES = {"f4": "FloatStorage", "f2": "HalfStorage", "f8": "DoubleStorage", "i8": "LongStorage"}


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def _number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(_number, values)) + b"t"


def _tensor(array: np.ndarray, key: str, legacy: bool) -> bytes:
    """The pickle of `torch._utils._rebuild_tensor_v2(storage, offset, size, stride, ...)`."""
    kind = _STORAGES[array.dtype.str[1:]]
    steps = tuple(step // array.itemsize for step in array.strides)
    storage = b"(" + _text("storage") + f"ctorch\n{kind}\n".encode() + _text(key) + _text("cpu")
    storage += _number(array.size) + (b"N" if legacy else b"") + b"tQ"
    hooks = b"ccollections\nOrderedDict\n)R"
    content = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + _number(0)
    return content + _numbers(array.shape) + _numbers(steps) + b"\x89" + hooks + b"tR"


def _dictionary(tensors: Tensors, legacy: bool) -> tuple[bytes, dict[str, np.ndarray]]:
    """The pickle of nested ordered dictionaries of tensors, and the storages by key."""
    storages = {str(number): array for number, array in enumerate(tensors.values())}
    keys = dict(zip(tensors, storages, strict=True))

    def nested(names: list[tuple[str, list[str]]]) -> bytes:
        groups: dict[str, list[tuple[str, list[str]]]] = {}
        for whole, parts in names:
            groups.setdefault(parts[0], []).append((whole, parts[1:]))
        content = b""
        for first, members in groups.items():
            whole, rest = members[0]
            inner = nested(members) if rest else _tensor(tensors[whole], keys[whole], legacy)
            content += _text(first) + inner
        return b"ccollections\nOrderedDict\n)R(" + content + b"u"

    return b"\x80\x02" + nested([(name, name.split(".")) for name in tensors]) + b".", storages


def zip_checkpoint(tensors: Tensors) -> bytes:
    """What `torch.save` writes since PyTorch 1.6."""
    pickled, storages = _dictionary(tensors, legacy=False)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for key, array in storages.items():
            archive.writestr(f"archive/data/{key}", array.tobytes())
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


def legacy_checkpoint(tensors: Tensors) -> bytes:
    """What it wrote before."""
    pickled, storages = _dictionary(tensors, legacy=True)
    magic, version, sizes, keys = 0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, [*storages]
    content = b"".join(pickle.dumps(value, 2) for value in (magic, version, sizes)) + pickled
    content += pickle.dumps(keys, 2)
    return content + b"".join(
        struct.pack("<q", array.size) + array.tobytes() for array in storages.values()
    )


def torchvision_tensors(network) -> dict[str, np.ndarray]:
    """The weights of a ResNet of ours, by the names and in the layout of torchvision."""
    tensors = {}
    for layer in network.layers:
        for weight in layer.weights:
            array = np.array(weight)
            array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
            tensors[pytorch_key(layer.name, weight.name)] = np.ascontiguousarray(array)
    return tensors
