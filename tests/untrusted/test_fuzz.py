"""Files that nobody would write, to every reader: it says what is wrong, or it reads.

200 inputs each; by hand, `FUZZ_EXAMPLES=10000 python -m pytest tests/untrusted/test_fuzz.py`.
"""

import json
import os
import pickle
import struct
import sys
import tempfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from captioning.captioners.tokenizer import read_tokenizer
from captioning.cli import UserError
from captioning.datasets import DATASETS, read_datasets, read_split
from captioning.datasets.descriptions import read_descriptions, write_descriptions
from captioning.features.reading import read_features
from captioning.text import Vocabulary
from captioning.untrusted.checkpoints import read_checkpoint
from captioning.untrusted.pickles import load_pickle
from tests import dataset_formats as formats
from tests.checkpoint_files import legacy_checkpoint, zip_checkpoint

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "200"))
fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=timedelta(seconds=30),  # a reader that hangs
    derandomize=EXAMPLES == 200,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module", autouse=True)
def little_memory():
    """Half a gigabyte more than now: a reader that believes a file's claims meets the end of it."""
    if sys.platform != "linux":
        yield
        return
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + (1 << 29)
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "input"


def read(reader: Callable, *arguments):
    """What a reader gives, or None where it refuses in one line. It may not run out of memory."""
    try:
        return reader(*arguments)
    except UserError as error:
        cause: BaseException | None = error
        while cause is not None:
            assert not isinstance(cause, MemoryError), "believed what the file claims"
            cause = cause.__cause__
        assert len(str(error)) < 2000
        return None


# ---- inputs ----------------------------------------------------------------------------------

_SIZES = (2**31 - 1, 2**32 - 1, 2**63 - 1, 2**60, 2**33, -1, 65535, 0, 255)
_NUMBERS = [struct.pack(f"<{code}", size) for code, size in zip("IIQQQqHBB", _SIZES, strict=True)]


@st.composite
def damaged(draw, valid: list[bytes]) -> bytes:
    """A valid file after one to four accidents."""
    data = bytearray(draw(st.sampled_from(valid)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 40))
        kind = draw(st.integers(0, 5))
        if kind == 0 and at < len(data):
            data[at] ^= draw(st.integers(1, 255))
        elif kind == 1:
            number = draw(st.sampled_from(_NUMBERS))
            data[at : at + len(number)] = number
        elif kind == 2:
            data[at:at] = draw(st.binary(max_size=12))
        elif kind == 3:
            del data[at : at + length]
        elif kind == 4:
            data[at:at] = data[at : at + length] * draw(st.integers(1, 20))
        else:
            data = data[:at]
    return bytes(data)


def inputs(valid: list[bytes]) -> st.SearchStrategy[bytes]:
    """Valid files, damaged ones, and bytes that are no file at all, some beginning like one."""
    begun = st.builds(
        lambda one, at, rest: one[:at] + rest,
        st.sampled_from(valid),
        st.integers(0, 60),
        st.binary(max_size=200),
    )
    text = st.text(max_size=200).map(lambda t: t.encode("utf-8", "surrogatepass"))
    return damaged(valid) | begun | text | st.binary(max_size=300) | st.sampled_from(valid)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@st.composite
def changed_json(draw, valid: list[bytes]) -> bytes:
    """A valid JSON file with one value somewhere replaced by any other."""
    whole = json.loads(draw(st.sampled_from(valid)))
    node, other = whole, draw(_JSON)
    while True:
        keys = list(node) if isinstance(node, dict) else range(len(node))
        if not keys:
            break
        key = draw(st.sampled_from(list(keys)))
        if not isinstance(node[key], dict | list) or draw(st.integers(0, 3)) == 0:
            node[key] = other
            break
        node = node[key]
    return json.dumps(whole).encode()


# ---- captions, splits and descriptions -------------------------------------------------------

CAPTIONS = {"1_a.jpg": ["A dog , running .", 'Two "dogs" | here'], "22.jpg": ["Ein Kätzchen"]}
NUMBERS, SPLITS = {"1_a.jpg": 1, "22.jpg": 2}, {"1_a.jpg": "train", "22.jpg": "restval"}


def written(writer: Callable, *arguments) -> bytes:
    """What a function that writes a file writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "valid"
        writer(path, *arguments)
        return path.read_bytes()


TABLES = [
    written(formats.write_flickr8k_token, CAPTIONS),
    written(formats.write_kaggle_csv, CAPTIONS),
    written(formats.write_flickr30k_csv, CAPTIONS),
    b"image_name,comment_number,comment\n1.jpg,0,A dog\n",
    b"1000092795.jpg#0\tTwo young guys\n",
]
JSONS = [
    written(formats.write_coco, CAPTIONS, NUMBERS),
    written(formats.write_karpathy, CAPTIONS, SPLITS),
]


@fuzzed
@given(content=inputs(TABLES + JSONS) | changed_json(JSONS), dataset=st.sampled_from(DATASETS))
@example(content=b"[" * 100_000, dataset="auto")
@example(content=b'{"images":' * 100_000, dataset="auto")
def test_captions_files(path, content, dataset):
    path.write_bytes(content)
    found = read(read_datasets, [path], dataset)
    if found is not None:
        assert found.captions and all(found.captions.values())
        assert found.captions.keys() <= found.files.keys()
        # What is read can be handed on: as words in a text file that begin with the id.
        write_descriptions(path, found.captions, "original")
        assert all(one and not any(c.isspace() for c in one) for one in found.captions)


@fuzzed
@given(
    content=inputs([b"a.jpg\nb.jpg\r\n", b"1_a.jpg#0\tx\n", *JSONS]) | changed_json(JSONS),
    name=st.sampled_from(["", ":train", ":val", ":"]),
)
def test_split_files(path, content, name):
    path.write_bytes(content)
    found = read(read_split, f"{path}{name}")
    if found is not None:
        assert found and all(isinstance(one, str) and one for one in found)
        assert len(set(found)) == len(found)


@fuzzed
@given(inputs([b"1_a dog runs\n1_a two dogs\n22 startseq cat endseq\n", b"a b\r\n\r\n c d"]))
def test_descriptions_files(path, content):
    path.write_bytes(content)
    found = read(read_descriptions, path)
    if found is not None:
        descriptions, rules = found
        assert rules == "original"
        assert all(one and texts and all(texts) for one, texts in descriptions.items())


# ---- pickles ---------------------------------------------------------------------------------

ROWS = {"a": np.arange(3, dtype="<f4")[None], "b": np.ones((1, 3), ">f4")}
INDEX = OrderedDict(startseq=1, endseq=2, dog=3)
TOKENIZER = {"word_index": INDEX, "max_length": 9, "text_rules": "ptb"}
PLAIN = {"a": np.float32(1), "b": [1, 2.5, None, b"x", ("y", {})], np.str_("c"): 1}
PICKLES = [pickle.dumps(v, protocol) for protocol in range(6) for v in (ROWS, TOKENIZER, PLAIN)]

_SIZE, _LARGE = struct.pack("<Q", 2**60), struct.pack("<Q", 2**34)
# Memory for 2**31 objects remembered, 2**60 bytes, as much in a frame; a hash without end.
BOMBS = [
    b"\x80\x04Nr\xff\xff\xff\x7f.",
    b"\x80\x05\x96" + _SIZE + b".",
    b"\x80\x05\x8e" + _LARGE + b".",
    b"}N" + b"\x85" * 200_000 + b"Ns.",
    b"\x80\x04\x95" + _LARGE + b"N.",
    b"cnumpy\nndarray\n(J\xff\xff\xff\x7ft\x81.",
    b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(J\xff\xff\xff\x7ftS'b'\ntR.",
    b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'V2147483647'\ntRtR.",
    b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'U9999'\ntRS'x'\ntR.",
]


@pytest.mark.parametrize("bomb", BOMBS)
def test_pickles_that_claim_without_bound(path, bomb):
    path.write_bytes(bomb)
    assert read(read_features, path) is None


@fuzzed
@given(inputs(PICKLES))
def test_pickles(path, content):
    path.write_bytes(content)
    plain = (str, bytes, int, float, list, tuple, dict, np.ndarray, np.generic, type(None))
    read_back = read(load_pickle, path)
    assert isinstance(read_back, (*plain, np.dtype, bytearray)) or callable(read_back)
    features = read(read_features, path)
    if features is not None:
        assert features.matrix.dtype == np.float32
        [width] = features.shape
        assert len(features.matrix) == len(features) and width > 0
    tokenizer = read(read_tokenizer, path)
    assert tokenizer is None or isinstance(tokenizer, Vocabulary)


# ---- checkpoints -----------------------------------------------------------------------------

TENSORS = {
    "state_dict.conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "state_dict.steps": np.array(7),
    "half": np.ones((2, 2), np.float16),
}


def npz(save: Callable) -> bytes:
    def write(path: Path) -> None:
        with path.open("wb") as file:  # numpy adds a suffix to a name
            save(file, **TENSORS)

    return written(write)


def stretched_npz(path: Path) -> None:
    """An array that claims 2**40 numbers."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,), }".ljust(117)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + header + b"\n")


CHECKPOINTS = {
    "zip.pth": [zip_checkpoint(TENSORS)],
    "legacy.pth": [legacy_checkpoint(TENSORS)],
    "file.safetensors": [safetensors.numpy.save(TENSORS)],
    "file.npz": [npz(np.savez), npz(np.savez_compressed), written(stretched_npz)],
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_checkpoints(name, path):
    path = path.with_name(name)

    @fuzzed
    @given(inputs(CHECKPOINTS[name]))
    def fuzz(content):
        path.write_bytes(content)
        found = read(read_checkpoint, path)
        if found is not None:
            assert all(isinstance(one, str) for one in found)
            assert all(isinstance(array, np.ndarray) for array in found.values())
            assert sum(array.nbytes for array in found.values()) <= 1 << 27

    fuzz()
