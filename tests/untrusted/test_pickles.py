"""Pickles of numpy's own strings, and files that are called `.pkl` and are none."""

import pickle

import numpy as np
import pytest

from captioning.captioners.tokenizer import read_tokenizer
from captioning.cli import UserError
from captioning.features.reading import read_features
from captioning.untrusted.pickles import load_pickle
from tests.checkpoint_files import legacy_checkpoint, zip_checkpoint

TENSORS = {"a": np.ones((1, 4), np.float32)}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_names_that_come_out_of_an_array_are_text(tmp_path, protocol):
    names = np.array(["1000268201", "zoë", "\U0001f415"])
    content = {name: np.full((1, 4), number, np.float32) for number, name in enumerate(names)}
    (tmp_path / "features.pkl").write_bytes(pickle.dumps(content, protocol))
    features = read_features(tmp_path / "features.pkl")
    assert [*features] == names.tolist()
    assert features["zoë"].tolist() == [1.0] * 4


@pytest.mark.parametrize("order", ["<", ">"])
def test_numpy_text_of_either_byte_order_is_read_as_text(tmp_path, order):
    value = np.array(["dog"], f"{order}U5")[0]
    (tmp_path / "x.pkl").write_bytes(pickle.dumps([value, value.dtype], 4))
    [text, dtype] = load_pickle(tmp_path / "x.pkl")
    assert (text, type(text), dtype) == ("dog", str, value.dtype)


@pytest.mark.parametrize("reader", [read_features, read_tokenizer])
@pytest.mark.parametrize("kind", ["zip", "legacy", "npz"])
def test_what_torch_or_numpy_saved_is_called_that(tmp_path, reader, kind):
    path = tmp_path / "some.pkl"
    if kind == "npz":
        with path.open("wb") as file:
            np.savez(file, **TENSORS)
    else:
        write = zip_checkpoint if kind == "zip" else legacy_checkpoint
        path.write_bytes(write(TENSORS))
    with pytest.raises(UserError, match=r"some\.pkl: is a file of torch\.save .*pickle\.dump"):
        reader(path)
