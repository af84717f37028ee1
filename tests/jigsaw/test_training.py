"""Runs of the puzzle solver: stopped and resumed."""

from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from captioning.cli import UserError
from captioning.encoders.jigsaw_solver import JigsawSolver, load_solver
from captioning.encoders.loading import load_encoder
from captioning.encoders.networks.batch_norm import estimate_statistics
from captioning.encoders.table import build_network
from jigsaw import training
from jigsaw.DataGenerator import DataGenerator
from jigsaw.image_preprocessing.image_transform import JigsawCreator
from jigsaw.permutations import all_permutations
from tests.jax_processes import needs_jax, start
from tests.pretext_tools import patterns

pytestmark = pytest.mark.slow

SIZES = {"image_size": 32, "crop_size": 24, "cell_size": 12, "tile_size": 10}


def make_run(output: Path, *, epochs=2, dropout=0.5, val=6, **options) -> training.JigsawRun:
    """Of 24 pictures in batches of 8, and `val` to validate with."""
    output.mkdir(exist_ok=True)
    solver = JigsawSolver("alexnet", all_permutations(4)[::4], **SIZES, dropout=dropout)
    training.compile_solver(solver, training.make_optimizer("cosine", 1e-3, 2, 3 * epochs))
    creator = JigsawCreator(solver.permutations, **solver.sizes)
    puzzles = {}
    for split, count in (("train", 24), ("val", val)):
        images, more = patterns(count, 32, seed=count), {"shuffle": split == "train", "workers": 2}
        puzzles[split] = DataGenerator(images, creator, batch_size=8, **more)
    settings = {**solver.settings, "schedule": "cosine", "epochs": epochs}
    return training.JigsawRun(solver, puzzles, output, settings, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> training.JigsawRun:
    """A run by "cosine", at the first epoch of which "plateau" would have stopped."""
    run = make_run(tmp_path_factory.mktemp("whole"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("captioning.training.run.is_exhausted", lambda _, patience: patience > 0)
        run.train()
    return run


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> training.JigsawRun:
    """A run that was stopped after its first step."""
    run = make_run(tmp_path_factory.mktemp("stopped"), stop_minutes=1e-9)
    run.train()
    assert (run.part["steps"], run.history) == (1, [])
    return run


def test_other_settings_do_not_resume(stopped):
    with pytest.raises(UserError, match=r"dropout was 0\.5, not 0\.1; epochs was 2, not 3"):
        make_run(stopped.output, dropout=0.1, epochs=3).start(resume=True)


def test_stopped_in_an_epoch_and_resumed_equals_unbroken(whole, stopped):
    resumed = make_run(stopped.output)
    resumed.start(resume=True)
    assert resumed.part["steps"] == 1
    resumed.train()
    assert len(resumed.history) == len(whole.history) == 2
    for one, other in zip(whole.history, resumed.history, strict=True):
        for name in ("val_loss", "val_accuracy", "learning_rate"):
            assert one[name] == other[name]
        for name in ("loss", "accuracy"):  # the two parts' means are joined in another precision
            assert one[name] == pytest.approx(other[name], rel=1e-6)
    for one, other in zip(whole.model.weights, resumed.model.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_cosine_ends_at_zero_after_all_its_epochs(whole):
    first, last = (row["learning_rate"] for row in whole.history)
    assert first > last == 0


def test_the_best_epoch_is_kept_with_its_trunk(whole):
    best = load_solver(whole.solver_path)
    training.compile_solver(best)
    found = best.evaluate(whole.puzzles["val"], verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(min(r["val_loss"] for r in whole.history), rel=1e-4)
    # The trunk's file has batch statistics of whole pictures, as stage 1 gives it.
    trunk = build_network("alexnet")
    trunk.set_weights(best.trunk.get_weights())
    pictures = whole.puzzles["train"].images
    parts = np.array_split(pictures, max(1, len(pictures) // training.SAMPLE_BATCH))
    estimate_statistics(trunk, parts)
    encoder = load_encoder("alexnet", whole.trunk_path)
    images = patterns(2, 32)
    expected = keras.ops.convert_to_numpy(trunk(images)["pooled"])
    # The file is in half precision.
    np.testing.assert_allclose(encoder.encode_few(images), expected, rtol=0.02, atol=0.02)
    assert encoder.info["preprocessing"] == "squash(32)|imagenet"


def test_the_sheet_has_a_column_for_each_puzzle_in_a_frame_that_tells_what_is_right(
    whole, tmp_path, monkeypatch
):
    puzzles = whole.puzzles["val"]
    _, numbers = puzzles[0]
    said = np.eye(6)[(numbers + (np.arange(6) >= 2)) % 6]  # the first two are right
    monkeypatch.setattr(whole.model, "predict_on_batch", lambda _: said)

    training.draw_puzzles(whole.model, puzzles, tmp_path / "a.png", count=3)

    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).astype(int)
    columns = np.array_split(pixels[len(pixels) // 2 :], 5, axis=1)
    framed = [
        [(np.abs(one - colour).max(axis=-1) < 9).sum() > 50 for one in columns]
        for colour in ((30, 150, 60), (200, 40, 40))
    ]
    assert framed == [[True, True, False, False, False], [False, False, True, True, True]]


UNDER_JAX = """
import sys
sys.path.insert(0, ".")
import numpy as np
from pathlib import Path
from tests.jigsaw.test_training import make_run

run = make_run(Path(sys.argv[1]), epochs=1, val=60)
val = run.puzzles["val"]
val.batch_size = 1
cut = np.concatenate([val[number][1] for number in range(len(val))])
found = run.model.evaluate(val, verbose=0, return_dict=True)["accuracy"]
run.train()
print(found, (cut == 0).mean(), len(run.history))
"""


@needs_jax
def test_every_puzzle_is_judged_once_under_jax_which_trains_too(tmp_path):
    """Workers cut puzzles ahead, of which Keras would take some to build what it measures by."""
    run = start("-c", UNDER_JAX, tmp_path / "run")

    said, _ = run.communicate(timeout=300)

    assert run.returncode == 0, said
    found, expected, epochs = map(float, said.split()[-3:])
    # A new solver gives all permutations one probability, and so says number 0 of each puzzle.
    assert found == pytest.approx(expected)
    assert epochs == 1
