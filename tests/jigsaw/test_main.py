"""The jigsaw stage as a user runs it: from pictures to captions, stopped and resumed; mistakes."""

import json
import pickle
import re
import shutil
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from PIL import Image

from captioning.encoders.weights import read_recipe
from jigsaw.permutations import all_permutations
from tests.conftest import assert_refused, history_of, make_dataset, run_script, succeed
from tests.pretext_tools import patterns, write_images

SCRIPT = "jigsaw/main.py"
SMALL = ("--dataset", "pictures.hdf5", "--permutations", "set.txt", "--encoder", "alexnet")
SMALL = (*SMALL, "--batch-size", 8)
FEATURES = "jigsaw/Jigsaw_feature_extraction.py"


@pytest.fixture(scope="module")
def stage(tmp_path_factory) -> SimpleNamespace:
    """Pictures to puzzles to a solver, stopped once; then to captions by way of both methods."""
    work = tmp_path_factory.mktemp("jigsaw")

    def done(script: str, *arguments) -> str:
        return succeed(run_script(script, *arguments, cwd=work))

    write_images(work / "pictures", 40)
    splits = ("--size", 48, "--splits", "0.6,0.2,0.2")
    done("jigsaw/to_hdf5.py", "--images", "pictures", "--output", "pictures.hdf5", *splits)
    done("jigsaw/maximal_hamming.py", 6, "--output", "set.txt")
    arguments = (*SMALL, "--epochs", 2, "--warmup-steps", 2)
    stopped = done(SCRIPT, *arguments, "--stop-minutes", "1e-9")
    resumed = done(SCRIPT, *arguments, "--resume")

    data = make_dataset(work / "data")
    for method in ("full", "single"):
        done(FEATURES, "--method", method, *data.files, "--batch-size", 6)
    captions = done("jigsaw/jigsaw_captions.py", *data.files)
    trained = done("jigsaw/Jigsaw_IC_model.py", *data.splits, "--epochs", 1, "--batch-size", 4)
    said = {"stopped": stopped, "resumed": resumed, "captions": captions, "trained": trained}
    return SimpleNamespace(work=work, data=data, arguments=arguments, done=done, **said)


@pytest.mark.slow
def test_stopped_training_goes_on_and_leaves_all_it_should(stage):
    run = stage.work / "runs" / "jigsaw"
    assert "stopped in the first epoch; continue with --resume" in stage.stopped
    assert "resuming in epoch 1" in stage.resumed
    rows = history_of(run)
    assert [row["epoch"] for row in rows] == ["1", "2"]
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
    assert recipe["preprocessing"] == "squash(48)|imagenet"


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
    words = stage.done("jigsaw/Jigsaw_tokenizer.py", "--train-split", stage.data.train)
    assert words.startswith("4_tokenizer.py --descriptions runs/jigsaw/full/descriptions.txt")
    scored = stage.done("jigsaw/Jigsaw_test_bleu.py", "--split", stage.data.dev, "--beam-width", 2)
    assert "model, beam width 2" in scored
    # With the tokenizer above, and the solver that the model records.
    search = ("--beam-width", 1, "--min-length", 3, "--no-repeat-ngram", 1)
    printed = stage.done("jigsaw/Jigsaw_test_images.py", stage.data.image, *search)
    [caption] = re.findall(rf"{stage.data.image}: (.*) \(", printed)
    words = caption.split()
    assert len(set(words)) == len(words) >= 3


@pytest.mark.slow
def test_a_resumed_run_wants_its_permutations_and_its_pictures(stage):
    np.savetxt(stage.work / "other.txt", all_permutations(9)[1:7], fmt="%d")
    shutil.copy(stage.work / "pictures.hdf5", stage.work / "other.hdf5")
    with h5py.File(stage.work / "other.hdf5", "r+") as file:
        file["train_img"][0] = 0
    run = stage.work / "runs" / "jigsaw"
    before = {path: path.read_bytes() for path in run.glob("*.*")}

    others = ("--permutations", "other.txt", "--dataset", "other.hdf5")
    result = run_script(SCRIPT, *stage.arguments, *others, "--resume", cwd=stage.work)

    assert_refused(result, "state.npz", "it had other permutations", "it had other pictures")
    assert {path: path.read_bytes() for path in run.glob("*.*")} == before


# ---- mistakes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--limit", 4), ("pictures.hdf5", "4 train", "--batch-size 8")),
        (("--batch-size", 1), ("--batch-size", "'1' is not a whole number at least 2")),
        (("--max-hamming-set", 7), ("set.txt", "holds 6 permutations, not 7")),
        (("--crop-size", 48), ("a crop of 48 px", "pictures of 48 px")),
        (("--dataset", "none.hdf5"), ("none.hdf5", "does not exist", "to_hdf5.py")),
        (("--permutations", "none.txt"), ("none.txt", "maximal_hamming.py")),
    ],
)
def test_mistakes_end_in_one_line(arguments, parts, tmp_path):
    with h5py.File(tmp_path / "pictures.hdf5", "w") as file:
        for split in ("train", "val", "test"):
            file[f"{split}_img"] = patterns(8, 48)
    np.savetxt(tmp_path / "set.txt", all_permutations(9)[:: 9**5][:6], fmt="%d")

    assert_refused(run_script(SCRIPT, *SMALL, *arguments, cwd=tmp_path), *parts)

    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("made", "told"), [("runs", "no such folder"), ("runs/jigsaw", "holds 0 files *-jigsaw.keras")]
)
def test_stages_want_a_trained_solver(made, told, tmp_path):
    (tmp_path / made).mkdir(parents=True)
    result = run_script(FEATURES, cwd=tmp_path)
    assert_refused(result, f"runs/jigsaw: {told}", "jigsaw/main.py")
