"""The jigsaw stage as a user runs it: from pictures to captions, killed and resumed; mistakes."""

import json
import pickle
import shutil
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from PIL import Image

from captioning.encoders.weights import read_recipe
from jigsaw.permutations import all_permutations
from tests.conftest import (
    assert_refused,
    history_of,
    kill_when,
    make_dataset,
    run_script,
    start,
    succeed,
)
from tests.pretext_tools import patterns

SCRIPT = "jigsaw/main.py"
SMALL = ("--dataset", "pictures.hdf5", "--permutations", "set.txt", "--encoder", "alexnet")
SMALL = (*SMALL, "--batch-size", 8)
NAMES = "Jigsaw_feature_extraction jigsaw_captions Jigsaw_IC_model "
NAMES += "Jigsaw_tokenizer Jigsaw_test_bleu Jigsaw_test_images"
STAGES = [f"jigsaw/{name}.py" for name in NAMES.split()]
FEATURES, CAPTIONS, MODEL, TOKENIZER, BLEU, CAPTION = STAGES


@pytest.fixture(scope="module")
def stage(tmp_path_factory) -> SimpleNamespace:
    """Pictures to puzzles to a solver, killed once; then to captions by way of both methods."""
    work = tmp_path_factory.mktemp("jigsaw")

    def done(script: str, *arguments) -> str:
        return succeed(run_script(script, *arguments, cwd=work))

    data = make_dataset(work / "data")
    for name in data.names:  # 48 pictures to convert
        for copy in "abc":
            shutil.copy(data.images / name, data.images / f"{copy}_{name}")
    splits = ("--size", 48, "--splits", "0.6,0.2,0.2")
    done("jigsaw/to_hdf5.py", "--images", data.images, "--output", "pictures.hdf5", *splits)
    done("jigsaw/maximal_hamming.py", 6, "--output", "set.txt")
    arguments = (*SMALL, "--epochs", 3, "--warmup-steps", 2)
    killed = start(SCRIPT, *arguments, "--save-minutes", "1e-6", cwd=work)
    kill_when(killed, (work / "runs/jigsaw/state.npz").exists)
    resumed = done(SCRIPT, *arguments, "--resume")

    given = ("--images", data.images, "--captions", data.captions)
    for method in ("full", "single"):
        done(FEATURES, "--method", method, *given, "--batch-size", 6)
    captions = done(CAPTIONS, *given)
    splits = ("--train-split", data.train, "--dev-split", data.dev)
    trained = done(MODEL, *splits, "--epochs", 2, "--batch-size", 4)
    said = {"resumed": resumed, "captions": captions, "trained": trained}
    return SimpleNamespace(work=work, data=data, arguments=arguments, done=done, **said)


@pytest.mark.slow
def test_killed_training_goes_on_and_leaves_all_it_should(stage):
    run = stage.work / "runs" / "jigsaw"
    assert "resuming in epoch" in stage.resumed
    rows = history_of(run)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert all(np.isfinite(float(value)) for value in rows[-1].values())
    test = json.loads((run / "test.json").read_text())
    assert test["chance"] == pytest.approx(1 / 6)
    said = f"test accuracy {test['accuracy']:.3f} on {test['puzzles']} puzzles, chance 0.167"
    assert said in stage.resumed
    for name in ("history.png", "puzzles.png"):
        assert f"runs/jigsaw/{name}" in stage.resumed
        assert Image.open(run / name).width > 200
    recipe = read_recipe(run / "alexnet-jigsaw.weights.h5")
    assert (recipe["encoder"], recipe["permutations"]) == ("alexnet", 6)
    assert recipe["preprocessing"] == "squash(48)|standardized"


@pytest.mark.slow
def test_features_of_both_methods(stage):
    for method, width in (("full", 1024), ("single", 256)):
        features = pickle.loads((stage.work / f"runs/jigsaw/{method}/features.pkl").read_bytes())
        assert {vector.shape for vector in features.values()} == {(1, width)}
        assert all(np.isfinite(vector).all() for vector in features.values())


@pytest.mark.slow
def test_captions_and_words_of_the_stages_after(stage):
    assert "24 captions, original rules" in stage.captions
    assert "best epoch" in stage.trained
    words = stage.done(TOKENIZER, "--train-split", stage.data.train)
    assert words.startswith("4_tokenizer.py --descriptions runs/jigsaw/full/descriptions.txt")
    scored = stage.done(BLEU, "--split", stage.data.dev, "--beam-width", 2)
    assert "model, beam width 2" in scored
    # With the tokenizer above, and the solver that the model records.
    given = stage.data.images / stage.data.names[0]
    search = ("--beam-width", 1, "--min-length", 3, "--no-repeat-ngram", 1)
    *_, last = stage.done(CAPTION, given, *search).splitlines()
    assert last.startswith(f"{given}: ")
    words = last.removeprefix(f"{given}: ").split()
    assert len(set(words)) == len(words) >= 3


@pytest.mark.slow
def test_a_resumed_run_wants_its_permutations_and_its_pictures(stage):
    np.savetxt(stage.work / "other.txt", all_permutations(9)[1:7], fmt="%d")
    with (
        h5py.File(stage.work / "pictures.hdf5") as file,
        h5py.File(stage.work / "turned.hdf5", "w") as turned,
    ):
        for split in ("train", "val", "test"):
            turned[f"{split}_img"] = file[f"{split}_img"][:][::-1]
    run = stage.work / "runs" / "jigsaw"
    before = {path: path.read_bytes() for path in run.glob("*.*")}

    for option, told in (
        ("--permutations other.txt", "permutations"),
        ("--dataset turned.hdf5", "pictures"),
    ):
        given = (*stage.arguments, *option.split(), "--resume")
        result = run_script(SCRIPT, *given, cwd=stage.work)
        assert_refused(result, "state.npz", f"it had other {told}")

    assert {path: path.read_bytes() for path in run.glob("*.*")} == before


# ---- mistakes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--batch-size", 33), ("pictures.hdf5", "32 train", "--batch-size 33")),
        (("--limit", 4), ("4 train", "--batch-size 8")),
        (("--batch-size", 1), ("--batch-size", "'1' is not a whole number at least 2")),
        (("--max-hamming-set", 7), ("set.txt", "holds 6 permutations, not 7")),
        (("--crop-size", 48), ("a crop of 48 px", "pictures of 48 px")),
        (("--dataset", "none.hdf5"), ("none.hdf5", "does not exist", "to_hdf5.py")),
        (("--permutations", "none.txt"), ("none.txt", "maximal_hamming.py")),
    ],
)
def test_mistakes_end_in_one_line(arguments, parts, tmp_path):
    with h5py.File(tmp_path / "pictures.hdf5", "w") as file:
        for split, count in (("train", 32), ("val", 8), ("test", 8)):
            file[f"{split}_img"] = patterns(count, 48)
    np.savetxt(tmp_path / "set.txt", all_permutations(9)[:: 9**5][:6], fmt="%d")

    assert_refused(run_script(SCRIPT, *SMALL, *arguments, cwd=tmp_path), *parts)

    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("script", STAGES)
def test_stages_want_a_trained_solver(script, tmp_path):
    assert_refused(run_script(script, cwd=tmp_path), "runs/jigsaw", "jigsaw/main.py")


@pytest.mark.parametrize("method", ["full", "single"])
def test_stages_want_one_solver(method, tmp_path):
    run = tmp_path / "runs" / "jigsaw"
    run.mkdir(parents=True)
    result = run_script(FEATURES, "--method", method, cwd=tmp_path)
    assert_refused(result, "runs/jigsaw: holds 0 files *-jigsaw.", "jigsaw/main.py")
