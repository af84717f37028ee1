import collections
import os
import pickle

import h5py
import numpy as np
import pytest

from captioning.captioners.tokenizer import read_tokenizer, write_tokenizer
from captioning.cli import UserError
from captioning.datasets.descriptions import read_descriptions, write_descriptions
from captioning.features.files import write_features
from captioning.features.reading import read_features
from captioning.features.stored_rows import StoredRows
from captioning.files import atomic_path
from captioning.text import Vocabulary
from captioning.untrusted.pickles import load_pickle
from tests.conftest import Hostile

ROW = np.ones((1, 4), np.float32)
ONE_ROW = [(["a"], ROW.astype(np.float16))]
GRIDS = np.random.default_rng(0).normal(size=(5, 4, 3)).astype(np.float16)


@pytest.mark.parametrize("suffix", [".pkl", ".h5"])
def test_features_come_back_as_written(tmp_path, suffix):
    """With what is text or a number in the record of their origin."""
    matrix = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    path = tmp_path / f"features{suffix}"
    ids = ["a", "ähnlich", "図", "x" * 300, "d"]
    parts = [(ids[:2], matrix[:2]), (ids[2:], matrix[2:])]

    write_features(path, parts, {"encoder": "x", "weights": ["a"], "sha": {}}, rows=5)

    features = read_features(path)
    assert list(features) == ids
    assert np.array_equal(features.matrix[:], matrix)
    assert features.info == {"encoder": "x"}


@pytest.mark.parametrize("suffix", [".pkl", ".h5"])
def test_features_are_never_without_their_origin(tmp_path, monkeypatch, suffix):
    """A run that is killed as soon as the file has its name; then they would pass for any's."""
    path = tmp_path / f"features{suffix}"
    replace = os.replace

    def replace_and_die(*arguments) -> None:
        replace(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", replace_and_die)
    with pytest.raises(KeyboardInterrupt):
        write_features(path, ONE_ROW, {"encoder": "x"}, rows=1)

    assert read_features(path).info == {"encoder": "x"}


def test_features_pickle_is_the_original_pipelines_format(tmp_path):
    """Which reads the first pickle, and has a dictionary of float32 (1, D)."""
    path = tmp_path / "features.pkl"
    write_features(path, ONE_ROW, {"encoder": "x"}, rows=1)
    [(image_id, vector)] = pickle.loads(path.read_bytes()).items()
    assert (image_id, vector.shape, vector.dtype) == ("a", (1, 4), np.float32)


def test_grids_are_read_from_the_file_they_lie_in(tmp_path):
    path = tmp_path / "features.h5"
    write_features(path, [(list("ab"), GRIDS[:2]), (list("cde"), GRIDS[2:])], {}, rows=5)

    features = read_features(path)

    assert (features.shape[-1], features.shape) == (3, (4, 3))
    assert isinstance(features.matrix, StoredRows)
    chosen = features.of(["d", "a", "b"])
    assert len(chosen) == 3
    assert np.array_equal(chosen[:2], GRIDS[[3, 0]])


def test_ids_of_more_bytes_than_the_file_are_refused(tmp_path):
    with h5py.File(tmp_path / "features.h5", "w") as file:
        ids = np.array([b"x" * 1000] * 1000)
        file.create_dataset("image_id", data=ids, compression="gzip")
        file["features"] = np.ones((1000, 1), np.float32)
    with pytest.raises(UserError, match=r"features\.h5: not a features file"):
        read_features(tmp_path / "features.h5")


def test_grids_that_cannot_be_mapped_are_refused(tmp_path):
    with h5py.File(tmp_path / "features.h5", "w") as file:
        file["image_id"] = list("abcde")
        file.create_dataset("features", data=GRIDS, compression="gzip")
    with pytest.raises(UserError, match=r"features\.h5: .*compressed.*--grid"):
        read_features(tmp_path / "features.h5")


@pytest.mark.parametrize("shape", [(5,), (4, 3), (5, 2, 2, 3), None])
def test_hdf5_of_a_wrong_form_is_refused(tmp_path, shape):
    with h5py.File(tmp_path / "features.h5", "w") as file:
        file["image_id"] = list("abcde")
        file["features" if shape else "other"] = np.ones(shape or (5, 3), np.float16)
    reason = "a grid of vectors, for each" if shape else "not a features file"
    with pytest.raises(UserError, match=reason):
        read_features(tmp_path / "features.h5")


NO_FEATURES = [[1, 2], {}, {"a": "text"}, {1: ROW}, {"a": ROW.T}, {"a": ROW, "b": ROW[:, 1:]}]


@pytest.mark.parametrize("content", [*NO_FEATURES, {"a": ROW * np.nan}])
def test_features_of_a_wrong_shape_are_refused(tmp_path, content):
    path = tmp_path / "features.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=r"features\.pkl"):
        read_features(path)


def test_features_that_share_one_array_without_bound_are_refused(tmp_path):
    path = tmp_path / "features.pkl"
    row = np.ones((1, 1000), np.float32)
    path.write_bytes(pickle.dumps({str(number): row for number in range(20_000)}))
    with pytest.raises(UserError, match="repeat their numbers"):
        read_features(path)


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((2, 3), "f4")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "features", (2, 3))
    file.create_virtual_dataset("features", layout)


def external_link(file: h5py.File) -> None:
    file["features"] = h5py.ExternalLink("elsewhere.h5", "/features")


def nothing_behind_its_shape(file: h5py.File) -> None:
    file.create_dataset("features", (2, 2**40), "f4", chunks=(1, 1024))


@pytest.mark.parametrize(
    "make, reason",
    [
        (virtual, "lie in other files"),
        (external_link, "link to somewhere else"),
        (nothing_behind_its_shape, "claims 8796093022208 bytes and holds 0"),
    ],
)
def test_hdf5_that_points_out_of_itself_or_claims_too_much_is_refused(tmp_path, make, reason):
    path = tmp_path / "features.h5"
    with h5py.File(path, "w") as file:
        file["image_id"] = ["a", "b"]
        make(file)
    with pytest.raises(UserError, match=rf"features\.h5: refused, because .*{reason}"):
        read_features(path)


def test_compressed_features_are_read(tmp_path):
    matrix = np.maximum(0, np.random.default_rng(0).normal(size=(100, 64))).astype(np.float32)
    with h5py.File(tmp_path / "features.h5", "w") as file:
        file["image_id"] = [str(number) for number in range(100)]
        file.create_dataset("features", data=matrix, compression="gzip")
    assert np.array_equal(read_features(tmp_path / "features.h5").matrix[:], matrix)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("content", [Hostile(), {"a": Hostile()}, [np.array([Hostile()])]])
@pytest.mark.parametrize("before", [b"", pickle.dumps({"a": ROW})])
def test_hostile_pickle_is_refused_without_running_it(
    tmp_path, monkeypatch, content, protocol, before
):
    """As the only pickle of a features file, and as the second, where the record lies."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "features.pkl"
    path.write_bytes(before + pickle.dumps(content, protocol))
    with pytest.raises(UserError, match="system"):
        read_features(path)
    assert not (tmp_path / "hostile-was-run").exists()


@pytest.mark.parametrize("name", ["builtins eval", "numpy load", "captioning.cli run", "os system"])
def test_names_off_the_list_are_refused(tmp_path, name):
    path = tmp_path / "x.pkl"
    path.write_bytes(b"c" + name.replace(" ", "\n").encode() + b"\n.")
    with pytest.raises(UserError, match="refused"):
        load_pickle(path)


def test_cut_pickle_is_refused_at_every_length(tmp_path):
    whole = pickle.dumps({"a": ROW})
    path = tmp_path / "x.pkl"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError):
            load_pickle(path)


def test_descriptions_come_back_with_their_rules(tmp_path):
    path = tmp_path / "descriptions.txt"
    write_descriptions(path, {"a": ["a dog", "dogs"], "b": ["çedilla"], "c": []}, "ptb")
    assert read_descriptions(path) == ({"a": ["a dog", "dogs"], "b": ["çedilla"]}, "ptb")


def test_descriptions_of_the_original_are_taken_for_its_rules(tmp_path):
    """They may have a tab after the id."""
    path = tmp_path / "descriptions.txt"
    path.write_text("a startseq dog runs endseq\nb\n\nc\tcat\n \n")
    assert read_descriptions(path) == ({"a": ["dog runs"], "c": ["cat"]}, "original")


def test_tokenizer_comes_back_as_written(tmp_path):
    vocabulary = Vocabulary(("startseq", "endseq", "dog"), 7, "ptb")
    write_tokenizer(tmp_path / "tokenizer.pkl", vocabulary)
    assert read_tokenizer(tmp_path / "tokenizer.pkl") == vocabulary


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_tokenizer_with_the_dictionaries_that_keras_2_keeps(tmp_path, protocol):
    index = collections.OrderedDict(startseq=1, endseq=2)
    counts = collections.defaultdict(int, startseq=5)
    state = {"word_index": index, "word_docs": counts, "max_length": 9}
    (tmp_path / "tokenizer.pkl").write_bytes(pickle.dumps(state, protocol))
    assert read_tokenizer(tmp_path / "tokenizer.pkl").words == ("startseq", "endseq")


@pytest.mark.parametrize("longest", [None, 1, "9", 2.5, 10**9, np.arange(3)])
def test_tokenizer_without_a_longest_caption_is_refused(tmp_path, longest):
    state = {"word_index": {"startseq": 1, "endseq": 2}, "max_length": longest}
    (tmp_path / "tokenizer.pkl").write_bytes(pickle.dumps(state))
    with pytest.raises(UserError, match=r"tokenizer\.pkl: its max_length is"):
        read_tokenizer(tmp_path / "tokenizer.pkl")


@pytest.mark.parametrize("index", [{}, {"a": 2}, {"a": 1, "b": 1}, {"a": "1"}, {1: 1}, [1]])
def test_tokenizer_with_a_broken_index_is_refused(tmp_path, index):
    path = tmp_path / "tokenizer.pkl"
    path.write_bytes(pickle.dumps({"word_index": index, "max_length": 5}))
    with pytest.raises(UserError, match=r"tokenizer\.pkl"):
        read_tokenizer(path)


def test_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half of the ne")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


@pytest.mark.parametrize("letter", ["\u72ac", "a"])
def test_a_name_of_the_greatest_length_is_written(tmp_path, letter):
    name = letter * (251 // len(letter.encode())) + ".jpg"
    with atomic_path(tmp_path / name) as temporary:
        temporary.write_bytes(b"whole")

    assert [path.name for path in tmp_path.iterdir()] == [name]
