"""Features that stay in their files: rows on demand, and folders of shards."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from captioning.cli import UserError
from captioning.features.extraction import extract
from captioning.features.files import write_features
from captioning.features.reading import find_features, read_features, shard_path
from captioning.features.stored_rows import JoinedRows, StoredRows
from captioning.images import reading
from captioning.images.preprocessing import Preprocessing
from tests.conftest import assert_refused, run_script

ROWS = np.random.default_rng(0).normal(size=(9, 3, 4)).astype(np.float16)


@pytest.fixture
def stored(tmp_path) -> StoredRows:
    path = tmp_path / "rows"
    path.write_bytes(b"12345" + ROWS.tobytes())
    return StoredRows(path, 5, ROWS.shape, ROWS.dtype)


@pytest.fixture
def joined(tmp_path) -> JoinedRows:
    parts = []
    for name, rows in (("a", ROWS[:2]), ("b", ROWS[2:3]), ("c", ROWS[3:])):
        (tmp_path / name).write_bytes(rows.tobytes())
        parts.append(StoredRows(tmp_path / name, 0, rows.shape, rows.dtype))
    return JoinedRows(parts)


INDICES = (
    3,
    -1,
    slice(None),
    slice(2, 7),
    slice(0, 0),
    np.array([8, 0, 3, 3]),
    np.array([[1], [5]]),
)


@pytest.mark.parametrize("which", INDICES, ids=str)
def test_rows_are_indexed_as_an_array_is(stored, joined, which):
    assert np.array_equal(stored[which], ROWS[which])
    assert np.array_equal(joined[which], ROWS[which])


def test_rows_beyond_the_last_are_refused(stored, joined):
    for rows in (stored, joined):
        with pytest.raises(IndexError):
            rows[9]


def test_rows_are_given_out_in_the_type_asked_for(stored):
    as_single = StoredRows(stored.path, 5, ROWS.shape, ROWS.dtype, np.float32)
    assert as_single[:2].dtype == np.float32
    assert np.array_equal(as_single[:2], ROWS[:2].astype(np.float32))


def test_threads_read_side_by_side(stored):
    chosen = [np.random.default_rng(seed).integers(0, 9, 50) for seed in range(40)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(stored.__getitem__, chosen))
    assert all(np.array_equal(rows, ROWS[which]) for rows, which in zip(found, chosen, strict=True))


def test_a_file_that_shrinks_is_named(stored):
    with open(stored.path, "r+b") as file:
        file.truncate(30)
    with pytest.raises(UserError, match="rows: has become shorter"):
        stored[8]


def test_a_file_that_is_replaced_is_named(stored, tmp_path):
    (tmp_path / "other").write_bytes(b"12345" + ROWS[::-1].tobytes())
    (tmp_path / "other").replace(stored.path)
    with pytest.raises(UserError, match="rows: was replaced while it was read"):
        stored[0]


def test_pictures_that_could_not_be_read_are_read_again_on_resume(tmp_path, monkeypatch):
    images = {}
    for number in range(3):
        images[str(number)] = tmp_path / f"{number}.png"
        Image.new("RGB", (8, 8), (number, 0, 0)).save(images[str(number)])
    encoder = SimpleNamespace(
        info={"encoder": "red"}, preprocessing=Preprocessing(8),
        encode=lambda pixels, batch_size, grid: pixels[:, 0, 0].astype(np.float32),
    )  # fmt: skip
    loaded = reading.load_rgb

    def fail(path, *_):
        raise reading.UnreadableImage(f"{path}: too many open files")

    monkeypatch.setattr(reading, "load_rgb", fail)
    with pytest.raises(UserError, match="3 of 3 pictures could not be read"):
        extract(encoder, images, tmp_path / "red.h5", batch_size=2, resume=False)
    monkeypatch.setattr(reading, "load_rgb", loaded)

    assert extract(encoder, images, tmp_path / "red.h5", batch_size=2, resume=True) == {}
    found = read_features(tmp_path / "red.h5").of(["0", "1", "2"])[:]
    np.testing.assert_array_equal(found[:, 0], [0, 1, 2])


# ---- shards ------------------------------------------------------------------------------------


def write_shards(folder, count: int = 3, info=None) -> None:
    """Nine grids in so many shards, dealt out in turn."""
    folder.mkdir(exist_ok=True)
    for number in range(1, count + 1):
        ids = [f"image{n}" for n in range(number - 1, 9, count)]
        part = (ids, ROWS[number - 1 :: count])
        record = {"encoder": "x"} if info is None else info
        write_features(shard_path(folder, number, count), [part], record, rows=len(ids))


def test_a_folder_of_shards_is_read_as_one(tmp_path):
    write_shards(tmp_path)
    features = read_features(tmp_path)
    assert (len(features), features.shape, features.info) == (9, (3, 4), {"encoder": "x"})
    for number in range(9):
        assert np.array_equal(features[f"image{number}"], ROWS[number])
    assert np.array_equal(features.of(["image7", "image2"])[:], ROWS[[7, 2]])


def test_a_missing_shard_is_named(tmp_path):
    write_shards(tmp_path)
    shard_path(tmp_path, 2, 3).unlink()
    with pytest.raises(UserError, match="3 shards there are 2; missing: shard-00002"):
        read_features(tmp_path)


def test_shards_that_do_not_belong_together_are_refused(tmp_path):
    write_shards(tmp_path / "mixed", 3)
    write_shards(tmp_path / "mixed", 2)
    with pytest.raises(UserError, match="split in different ways"):
        read_features(tmp_path / "mixed")

    write_shards(tmp_path / "twice", 2)
    shard_path(tmp_path / "twice", 1, 2).replace(shard_path(tmp_path / "twice", 2, 2))
    write_shards(tmp_path / "other", 2)
    shard_path(tmp_path / "other", 1, 2).replace(shard_path(tmp_path / "twice", 1, 2))
    with pytest.raises(UserError, match="in several shards"):
        read_features(tmp_path / "twice")

    write_shards(tmp_path / "encoders", 2)
    write_shards(tmp_path / "y", 2, {"encoder": "y"})
    shard_path(tmp_path / "y", 2, 2).replace(shard_path(tmp_path / "encoders", 2, 2))
    with pytest.raises(UserError, match="another encoder"):
        read_features(tmp_path / "encoders")


@pytest.mark.parametrize("name", ["shard-00001-of-00000.h5", "shard-1-of-99999999999.h5"])
def test_names_that_claim_other_numbers_of_shards_are_refused(tmp_path, name):
    write_shards(tmp_path, 1)
    shard_path(tmp_path, 1, 1).replace(tmp_path / name)
    with pytest.raises(UserError, match="there are 1; missing"):
        read_features(tmp_path)


def test_a_folder_without_shards_says_how_to_make_them(tmp_path):
    with pytest.raises(UserError, match="--shard"):
        read_features(tmp_path)


@pytest.mark.slow
def test_shards_hold_what_one_file_holds_and_train_a_decoder(pipeline, tmp_path):
    data = pipeline.data
    for part in ("1/2", "2/2"):
        result = run_script(
            "1_data_preprocessor.py", "--images", data.images, "--captions", data.captions,
            "--batch-size", 6, "--shard", part, cwd=tmp_path,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr

    whole, shards = (
        read_features(folder) for folder in (pipeline.work / "features.pkl", tmp_path / "features")
    )
    assert set(whole) == set(shards)
    for one in whole:
        np.testing.assert_allclose(whole[one], shards[one], rtol=1e-4, atol=1e-5)

    trained = run_script(
        "2_train_IC_model.py", "--features", "features", "--descriptions",
        pipeline.work / "descriptions.txt", "--train-split", data.train, "--dev-split", data.dev,
        "--epochs", 1, cwd=tmp_path,
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr


@pytest.mark.parametrize(
    "given, parts",
    [
        (["--shard", "3/2"], ["--shard", "3/2"]),
        (["--shard", "1"], ["--shard", "I/N"]),
        (["--shard", "13/13"], ["--shard 13/13", "fewer pictures"]),
        (["--shard", "1/2", "--only", "captions"], ["--only captions"]),
    ],
)
def test_parts_that_make_no_sense_are_refused(dataset, given, parts, tmp_path):
    result = run_script(
        "1_data_preprocessor.py", "--images", dataset.images, "--captions", dataset.captions,
        *given, cwd=tmp_path,
    )  # fmt: skip
    assert_refused(result, *parts)


@pytest.mark.parametrize("grid, wanted", [(True, "features.h5"), (False, "features.pkl")])
def test_of_two_files_here_the_kind_that_a_model_takes_is_found(
    tmp_path, monkeypatch, grid, wanted
):
    monkeypatch.chdir(tmp_path)
    for name in ("features.pkl", "features.h5"):
        (tmp_path / name).touch()
    assert find_features(grid) == Path(wanted)
