"""The jigsaw stage as a user runs it: from pictures to captions, killed and resumed; mistakes."""

import csv
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from PIL import Image

from captioning.encoders.weights import read_recipe
from jigsaw.permutations import all_permutations
from tests.conftest import ROOT, assert_refused, make_dataset, run_script
from tests.jax_processes import JAX
from tests.pretext_tools import patterns

SCRIPT = "jigsaw/main.py"
SMALL = ("--dataset", "pictures.hdf5", "--permutations", "set.txt", "--encoder", "alexnet",
         "--batch-size", 8)  # fmt: skip
STAGES = [f"jigsaw/{name}.py" for name in (
    "Jigsaw_feature_extraction", "jigsaw_captions", "Jigsaw_IC_model", "Jigsaw_tokenizer",
    "Jigsaw_test_bleu", "Jigsaw_test_images")]  # fmt: skip


def write_inputs(folder: Path) -> None:
    """`pictures.hdf5` of 48 px with 32, 8 and 8 pictures, and `set.txt` of 6 permutations."""
    with h5py.File(folder / "pictures.hdf5", "w") as file:
        for split, count in (("train", 32), ("val", 8), ("test", 8)):
            file[f"{split}_img"] = patterns(count, 48, seed=count)
    np.savetxt(folder / "set.txt", all_permutations(9)[:: 9**5][:6], fmt="%d")


def succeed(script: str, *arguments, cwd: Path, **environment) -> str:
    result = run_script(script, *arguments, cwd=cwd, **environment)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def stage(tmp_path_factory) -> SimpleNamespace:
    """Pictures to puzzles to a solver, killed once; then to captions by way of both methods."""
    work = tmp_path_factory.mktemp("jigsaw")
    data = make_dataset(work / "data")
    for name in data.names:  # 48 pictures to convert
        for copy in "abc":
            shutil.copy(data.images / name, data.images / f"{copy}_{name}")
    succeed("jigsaw/to_hdf5.py", "--images", data.images, "--output", "pictures.hdf5", "--size", 48,
            "--splits", "0.6,0.2,0.2", cwd=work)  # fmt: skip
    succeed("jigsaw/maximal_hamming.py", 6, "--output", "set.txt", cwd=work)

    arguments = (*SMALL, "--epochs", 3, "--warmup-steps", 2)
    command = [sys.executable, str(ROOT / SCRIPT), *map(str, arguments), "--save-minutes", "1e-6"]
    process = subprocess.Popen(command, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (work / "runs/jigsaw/state.npz").exists() and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    resumed = succeed(SCRIPT, *arguments, "--resume", cwd=work)

    captioned = {}
    for method in ("full", "single"):
        given = ("--images", data.images, "--captions", data.captions)
        features = succeed(STAGES[0], "--method", method, *given, "--batch-size", 6, cwd=work)
        captioned[method] = {"features": features}
    captions = succeed(STAGES[1], *given, cwd=work)
    trained = succeed(STAGES[2], "--train-split", data.train, "--dev-split", data.dev,
                      "--epochs", 2, "--batch-size", 4, cwd=work)  # fmt: skip
    return SimpleNamespace(work=work, data=data, resumed=resumed, arguments=arguments,
                           captioned=captioned, captions=captions, trained=trained)  # fmt: skip


@pytest.mark.slow
def test_killed_training_goes_on_and_leaves_all_it_should(stage):
    run = stage.work / "runs" / "jigsaw"
    assert "goes on in epoch" in stage.resumed
    rows = list(csv.DictReader((run / "history.csv").open()))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert all(np.isfinite(float(rows[-1][name])) for name in
               ("loss", "accuracy", "val_loss", "val_accuracy", "seconds"))  # fmt: skip
    test = json.loads((run / "test.json").read_text())
    assert test["chance"] == pytest.approx(1 / 6)
    assert f"test accuracy {test['accuracy']:.3f} on {test['puzzles']} puzzles" in stage.resumed
    for name in ("history.png", "puzzles.png"):
        assert Image.open(run / name).width > 200
    recipe = read_recipe(run / "alexnet-jigsaw.weights.h5")
    assert (recipe["encoder"], recipe["image_size"], recipe["permutations"]) == ("alexnet", 48, 6)


@pytest.mark.slow
def test_features_of_both_methods(stage):
    for method, width in (("full", 1024), ("single", 256)):
        features = pickle.loads((stage.work / f"runs/jigsaw/{method}/features.pkl").read_bytes())
        assert f"{len(features)} vectors of {width} numbers" in stage.captioned[method]["features"]
        assert {vector.shape for vector in features.values()} == {(1, width)}
        assert all(np.isfinite(vector).all() for vector in features.values())


@pytest.mark.slow
def test_captions_and_words_of_the_stages_after(stage):
    assert "24 captions, original rules" in stage.captions
    assert "best epoch" in stage.trained
    words = succeed(STAGES[3], "--train-split", stage.data.train, cwd=stage.work)
    assert words.startswith("4_tokenizer.py --descriptions runs/jigsaw/full/descriptions.txt")
    scored = succeed(STAGES[4], "--split", stage.data.dev, "--beam-width", 2, cwd=stage.work)
    assert "model, beam width 2" in scored
    # With the tokenizer above, and the solver that the model records.
    given = stage.data.images / stage.data.names[0]
    search = ("--beam-width", 1, "--min-length", 3, "--no-repeat-ngram", 1)
    captioned = succeed(STAGES[5], given, *search, cwd=stage.work)
    *_, last = captioned.splitlines()
    assert last.startswith(f"{given}: ")
    words = last.removeprefix(f"{given}: ").split()
    assert len(set(words)) == len(words) >= 3


@pytest.mark.slow
def test_a_resumed_run_wants_its_permutations(stage):
    run = stage.work / "runs" / "jigsaw"
    before = {path: path.read_bytes() for path in run.glob("*.*")}
    np.savetxt(stage.work / "other.txt", all_permutations(9)[1:7], fmt="%d")
    result = run_script(
        SCRIPT, *stage.arguments, "--permutations", "other.txt", "--resume", cwd=stage.work
    )
    assert_refused(result, "state.npz", "it had other permutations")
    assert {path: path.read_bytes() for path in run.glob("*.*")} == before


@pytest.mark.slow
def test_a_resumed_run_wants_its_pictures(stage):
    with (
        h5py.File(stage.work / "pictures.hdf5") as file,
        h5py.File(stage.work / "turned.hdf5", "w") as turned,
    ):
        for split in ("train", "val", "test"):
            turned[f"{split}_img"] = file[f"{split}_img"][:][::-1]

    result = run_script(
        SCRIPT, *stage.arguments, "--dataset", "turned.hdf5", "--resume", cwd=stage.work
    )

    assert_refused(result, "state.npz", "other pictures")


@pytest.mark.slow
def test_trains_under_jax(tmp_path):
    pytest.importorskip("jax")
    write_inputs(tmp_path)
    assert "test accuracy" in succeed(SCRIPT, *SMALL, "--epochs", 1, cwd=tmp_path, **JAX)


# ---- mistakes --------------------------------------------------------------------------------


@pytest.fixture
def inputs(tmp_path) -> Path:
    write_inputs(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--batch-size", 33), ("pictures.hdf5", "32 train", "--batch-size 33")),
        (("--limit", 4), ("4 train", "--batch-size 8")),
        (("--batch-size", 1), ("--batch-size 1", "give more")),
        (("--max-hamming-set", 1), ("--max-hamming-set 1", "2 or more")),
        (("--crop-size", 2), ("a crop of 2 px has no room for 9 tiles",)),
        (("--max-hamming-set", 7), ("set.txt", "holds 6 permutations, not 7")),
        (("--tiles", 4), ("set.txt", "line 1 has 9 tiles", "--tiles")),
        (("--tile-size", 15), ("tiles of 15 px do not fit cells of 14 px",)),
        (("--crop-size", 42, "--cell-size", 20), ("cells of 20 px do not fit the crop of 42",)),
        (("--crop-size", 48), ("a crop of 48 px", "pictures of 48 px")),
        (("--dataset", "none.hdf5"), ("none.hdf5", "does not exist", "to_hdf5.py")),
        (("--dataset", "cut.hdf5"), ("cut.hdf5", "cut short")),
        (("--dataset", "lacking.hdf5"), ("lacking.hdf5", "has no 'test_img'")),
        (("--permutations", "none.txt"), ("none.txt", "maximal_hamming.py")),
        (("--permutations", "repeated.txt"), ("repeated.txt", "line 2 repeats line 1")),
        (("--permutations", "invalid.txt"), ("invalid.txt", "line 2 is no permutation")),
        (("--learning-rate", 0), ("--learning-rate", "not a number above 0")),
    ],
)
def test_mistakes_end_in_one_line(arguments, parts, inputs):
    whole = (inputs / "pictures.hdf5").read_bytes()
    (inputs / "cut.hdf5").write_bytes(whole[: len(whole) // 2])
    shutil.copy(inputs / "pictures.hdf5", inputs / "lacking.hdf5")
    with h5py.File(inputs / "lacking.hdf5", "r+") as file:
        del file["test_img"]
    (inputs / "repeated.txt").write_text("0 1 2 3 4 5 6 7 8\n" * 2)
    (inputs / "invalid.txt").write_text("0 1 2 3 4 5 6 7 8\n1 1 2 3 4 5 6 7 8\n")
    result = run_script(SCRIPT, *SMALL, *arguments, cwd=inputs)
    assert_refused(result, *parts)
    assert not (inputs / "runs").exists()


@pytest.mark.parametrize("script", STAGES)
def test_stages_want_a_trained_solver(script, tmp_path):
    assert_refused(run_script(script, cwd=tmp_path), "runs/jigsaw", "jigsaw/main.py")


@pytest.mark.parametrize("method", ["full", "single"])
def test_stages_want_one_solver(method, tmp_path):
    (tmp_path / "runs" / "jigsaw").mkdir(parents=True)
    result = run_script(STAGES[0], "--method", method, cwd=tmp_path)
    assert_refused(result, "runs/jigsaw: holds 0 files *-jigsaw.", "jigsaw/main.py")
