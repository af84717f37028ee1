"""Runs of the puzzle solver: stopped, resumed and diverged."""

import h5py
import keras
import numpy as np
import pytest

from captioning.cli import UserError
from captioning.encoders.jigsaw_solver import JigsawSolver, load_solver
from captioning.encoders.loading import load_encoder
from jigsaw import training
from jigsaw.DataGenerator import DataGenerator
from jigsaw.image_preprocessing.image_transform import JigsawCreator
from jigsaw.permutations import all_permutations
from jigsaw.schedule import WarmUpAdam
from tests.jax_processes import needs_jax, start
from tests.pretext_tools import patterns

pytestmark = pytest.mark.slow

SIZES = {"picture_size": 32, "crop_size": 24, "cell_size": 12, "tile_size": 10}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    path = tmp_path_factory.mktemp("hdf5") / "pictures.hdf5"
    with h5py.File(path, "w") as file:
        for split, count in (("train", 24), ("val", 6)):
            file[f"{split}_img"] = patterns(count, 32, seed=count)
    return path


def make_run(
    dataset, output, *, learning_rate=1e-3, epochs=2, dropout=0.5, **options
) -> training.JigsawRun:
    output.mkdir(exist_ok=True)
    solver = JigsawSolver("alexnet", all_permutations(4)[::4], **SIZES, dropout=dropout)
    training.compile_solver(solver, WarmUpAdam(learning_rate, warmup_steps=2))
    puzzles = [
        DataGenerator(
            dataset,
            split,
            JigsawCreator(solver.permutations, **solver.sizes),
            batch_size=8,
            shuffle=split == "train",
            workers=2,
        )
        for split in ("train", "val")
    ]
    return training.JigsawRun(
        solver, *puzzles, output, dict(solver.settings),
        {"encoder": "alexnet", "preprocessing": "squash(32)|imagenet"},
        epochs=epochs, learning_rate=learning_rate, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(dataset, tmp_path_factory) -> training.JigsawRun:
    run = make_run(dataset, tmp_path_factory.mktemp("whole"))
    run.train()
    return run


@pytest.fixture(scope="module")
def stopped(dataset, tmp_path_factory) -> training.JigsawRun:
    """A run that was stopped after its first step."""
    run = make_run(dataset, tmp_path_factory.mktemp("stopped"), stop_minutes=1e-9)
    run.train()
    assert (run.part["steps"], run.history) == (1, [])
    return run


def test_other_settings_do_not_resume(dataset, stopped):
    with pytest.raises(UserError, match=r"dropout was 0.5, not 0.1"):
        make_run(dataset, stopped.output, dropout=0.1).resume()


def test_stopped_in_an_epoch_and_resumed_equals_unbroken(dataset, whole, stopped):
    resumed = make_run(dataset, stopped.output)
    resumed.resume()
    assert resumed.part["steps"] == 1
    resumed.train()
    assert len(resumed.history) == len(whole.history) == 2
    for one, other in zip(whole.history, resumed.history, strict=True):
        for name in ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"):
            assert one[name] == pytest.approx(other[name], rel=1e-3)


def test_the_best_epoch_is_kept_with_its_trunk(whole):
    best = load_solver(whole.solver_path)
    training.compile_solver(best, None)
    found = best.evaluate(whole.val, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(min(r["val_loss"] for r in whole.history), rel=1e-4)
    encoder = load_encoder("alexnet", whole.trunk_path)
    pictures = patterns(2, 32)
    expected = keras.ops.convert_to_numpy(best.trunk(pictures)["pooled"])
    # The file is in half precision.
    np.testing.assert_allclose(encoder.encode_few(pictures), expected, rtol=0.02, atol=0.02)
    assert encoder.info["image_size"] == 32


def test_a_loss_that_is_no_number_says_what_to_lower(dataset, tmp_path):
    run = make_run(dataset, tmp_path / "run", learning_rate=1e38)
    with pytest.raises(UserError, match="lower --learning-rate"):
        run.train()


UNDER_JAX = """
import sys
sys.path.insert(0, ".")
import numpy as np
from pathlib import Path
from tests.jigsaw.test_training import make_run

run = make_run(Path(sys.argv[1]), Path(sys.argv[2]))
run.val.batch_size = 1
cut = np.concatenate([run.val.cut(number)[1] for number in range(len(run.val))])
print(run.model.evaluate(run.val, verbose=0, return_dict=True)["accuracy"], (cut == 0).mean())
"""


@needs_jax
def test_every_puzzle_is_judged_once_under_jax(tmp_path):
    """Workers cut puzzles ahead, of which Keras would take some to build what it measures by."""
    with h5py.File(tmp_path / "pictures.hdf5", "w") as file:
        for split, count in (("train", 24), ("val", 60)):
            file[f"{split}_img"] = patterns(count, 32, seed=count)
    run = start("-c", UNDER_JAX, tmp_path / "pictures.hdf5", tmp_path / "run")

    said, _ = run.communicate(timeout=300)

    assert run.returncode == 0, said
    found, expected = map(float, said.split()[-2:])
    # A new solver gives all permutations one probability, and so says number 0 of each puzzle.
    assert found == pytest.approx(expected)
