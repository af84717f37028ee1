"""Features that stay in their files: rows on demand, and folders of shards."""

import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from captioning.captioners.loading import check_features
from captioning.cli import UserError
from captioning.features import reading
from captioning.features.files import write_features
from captioning.features.reading import Features, extraction_command, read_features, shard_path
from captioning.features.stored_rows import JoinedRows, StoredRows
from tests.conftest import assert_refused, run_script, succeed

ROWS = np.random.default_rng(0).normal(size=(9, 3, 4)).astype(np.float16)


@pytest.fixture
def stored(tmp_path) -> StoredRows:
    path = tmp_path / "rows"
    path.write_bytes(b"12345" + ROWS.tobytes())
    return StoredRows(path, 5, ROWS.shape, ROWS.dtype)


SLICES = [slice(None), slice(2, 7), slice(0, 0)]
INDICES = [3, -1, *SLICES, np.array([8, 0, 3, 3]), np.array([[1], [5]])]


@pytest.mark.parametrize("which", INDICES, ids=str)
def test_rows_are_indexed_as_an_array_is(stored, which, tmp_path):
    parts = []
    for name, rows in (("a", ROWS[:2]), ("b", ROWS[2:3]), ("c", ROWS[3:])):
        (tmp_path / name).write_bytes(rows.tobytes())
        parts.append(StoredRows(tmp_path / name, 0, rows.shape, rows.dtype))
    assert np.array_equal(stored[which], ROWS[which])
    assert np.array_equal(JoinedRows(parts)[which], ROWS[which])
    as_single = StoredRows(stored.path, 5, ROWS.shape, ROWS.dtype, np.float32)
    assert as_single[which].dtype == np.float32


@pytest.mark.parametrize("change", ["cut", "replaced"])
def test_a_file_that_changes_is_named(stored, tmp_path, change):
    """Not read on: of a replaced file some rows would be by another encoder."""
    if change == "cut":
        os.truncate(stored.path, 30)
    else:
        (tmp_path / "other").write_bytes(b"12345" + ROWS[::-1].tobytes())
        (tmp_path / "other").replace(stored.path)
    with pytest.raises(UserError, match="rows: was replaced or cut while it was read"):
        stored[0]


def test_asking_whether_an_image_is_there_reads_no_features(stored):
    features = Features([f"image{number}" for number in range(9)], stored, {})
    stored.path.unlink()
    assert "image8" in features
    assert "image9" not in features


# ---- shards ------------------------------------------------------------------------------------


def write_shards(folder, count: int = 3, encoder: str = "x") -> None:
    """Nine grids in so many shards, dealt out in turn."""
    folder.mkdir(exist_ok=True)
    for number in range(1, count + 1):
        ids = [f"image{n}" for n in range(number - 1, 9, count)]
        part = (ids, ROWS[number - 1 :: count])
        path = shard_path(folder, number, count)
        write_features(path, [part], {"encoder": encoder}, rows=len(ids))


def test_a_folder_of_shards_is_read_as_one(tmp_path):
    write_shards(tmp_path)
    features = read_features(tmp_path)
    assert (len(features), features.shape, features.info) == (9, (3, 4), {"encoder": "x"})
    for number in range(9):
        assert np.array_equal(features[f"image{number}"], ROWS[number])
    assert np.array_equal(features.of(["image7", "image2"])[:], ROWS[[7, 2]])


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_a_missing_shard_is_told_and_how_to_make_it(tmp_path, missing):
    with pytest.raises(UserError, match=r"none; make them with .* --shard"):
        read_features(tmp_path)
    write_shards(tmp_path)
    shard_path(tmp_path, missing, 3).unlink()
    with pytest.raises(UserError, match=r"does not hold all shards .* but shard-0000.-of-00003"):
        read_features(tmp_path)


def test_shards_that_do_not_belong_together_are_refused(tmp_path):
    write_shards(tmp_path / "twice", 2)
    shutil.copy(shard_path(tmp_path / "twice", 1, 2), shard_path(tmp_path / "twice", 2, 2))
    with pytest.raises(UserError, match="in several shards"):
        read_features(tmp_path / "twice")

    write_shards(tmp_path / "encoders", 2)
    write_shards(tmp_path / "y", 2, encoder="y")
    shard_path(tmp_path / "y", 2, 2).replace(shard_path(tmp_path / "encoders", 2, 2))
    with pytest.raises(UserError, match="another encoder"):
        read_features(tmp_path / "encoders")


@pytest.mark.slow
def test_shards_hold_what_one_file_holds(pipeline, tmp_path):
    data = pipeline.data
    for part in ("1/2", "2/2"):
        given = ("--images", data.images, "--captions", data.captions, "--batch-size", 6)
        succeed(run_script("1_data_preprocessor.py", *given, "--shard", part, cwd=tmp_path))

    whole, shards = map(read_features, (pipeline.work / "features.pkl", tmp_path / "features"))
    assert set(whole) == set(shards)
    for image_id in whole:
        np.testing.assert_allclose(whole[image_id], shards[image_id], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "given, parts",
    [
        (["--shard", "3/2"], ["--shard", "3/2"]),
        (["--shard", "1"], ["--shard", "I/N"]),
        (["--view", "1", "--only", "captions"], ["--only captions"]),
        (["--shard", "13/13"], ["--shard 13/13", "fewer images"]),
        (["--shard", "1/2", "--only", "captions"], ["--only captions"]),
    ],
)
def test_parts_that_make_no_sense_are_refused(dataset, given, parts, tmp_path):
    data = ("--images", dataset.images, "--captions", dataset.captions)
    assert_refused(run_script("1_data_preprocessor.py", *data, *given, cwd=tmp_path), *parts)


@pytest.mark.parametrize("grid, wanted", [(True, "features.h5"), (False, "features.pkl")])
def test_of_two_files_here_the_kind_that_a_model_takes_is_found(
    tmp_path, monkeypatch, grid, wanted
):
    monkeypatch.chdir(tmp_path)
    for name in ("features.pkl", "features.h5"):
        (tmp_path / name).touch()
    assert reading.find_features(grid) == Path(wanted)


# ---- the command that makes the right ones ------------------------------------------------------


OWN = {"encoder": "e", "weights": "/x/own.pth", "preprocessing": "squash(64)|unit"}
PARTIAL = {"encoder": "resnet18", "weights": "half.pth", "partial_seed": 7}
DINO = {"encoder": "resnet50", "weights": "dino_resnet50.pth", "weights_name": "dino"}
COMMANDS = {
    "--encoder efficientnet_lite0": {"encoder": "efficientnet_lite0", "weights": "supervised"},
    "--encoder resnet18 --seed 7": {"encoder": "resnet18", "weights": "random, seed 7"},
    "--encoder resnet50 --weights dino": DINO,
    "--encoder resnet18 --weights half.pth --partial-weights --seed 7": PARTIAL,
    "--encoder e --weights own.pth --preprocessing 'squash(64)|unit'": OWN,
    "--encoder 'e; rm -rf ~'": {"encoder": "e; rm -rf ~"},
}


@pytest.mark.parametrize("options", COMMANDS)
def test_the_command_names_encoder_weights_and_preprocessing(options):
    command = extraction_command(COMMANDS[options], grid=False)
    assert command == f"python 1_data_preprocessor.py --only features {options}"
    assert command in extraction_command(COMMANDS[options], grid=True).replace("--grid ", "")


def test_missing_features_tell_the_command(tmp_path):
    with pytest.raises(UserError, match=r"does not exist; make it with: python .* --grid$"):
        read_features(tmp_path / "features.h5")


@pytest.mark.parametrize("grid", [True, False])
def test_features_of_the_other_kind_tell_the_command_by_the_model_s_encoder(grid):
    features = Features(["a"], ROWS[:1, 0] if grid else ROWS[:1], {"encoder": "x"})
    wanted = extraction_command({"encoder": "m"}, grid=grid)
    with pytest.raises(UserError, match=f"make that with: {re.escape(wanted)}$"):
        reading.check_kind(features, "f", grid=grid, reader="the model", encoder={"encoder": "m"})


MODEL = SimpleNamespace(grid=False, feature_shape=(4,), encoder={"encoder": "m", "weights": "w.h5"})


def checked(info) -> None:
    features = Features(["a"], ROWS[:1, 0], info)
    check_features(MODEL, Path("model.keras"), features, Path("f.pkl"))


def test_features_of_unknown_origin_are_taken_with_a_warning(capsys):
    """As the original pipeline's are."""
    checked({})
    told = capsys.readouterr().err
    assert "WARNING: f.pkl: does not say which encoder made it" in told
    assert extraction_command(MODEL.encoder, grid=False) in told


def test_features_of_another_encoder_tell_the_command():
    command = re.escape(extraction_command(MODEL.encoder, grid=False))
    with pytest.raises(UserError, match=rf"f\.pkl: made by x .* was trained on m .*{command}"):
        checked({"encoder": "x"})
