"""The solver against nine passes by hand, its file, its vectors of pictures, and its schedule."""

from pathlib import Path

import keras
import numpy as np
import pytest

from captioning.cli import UserError
from captioning.encoders.encoder import Encoder
from captioning.encoders.jigsaw_solver import JigsawSolver, image_network, load_solver
from captioning.encoders.loading import load_encoder
from captioning.images.puzzles import Puzzle
from jigsaw.permutations import all_permutations
from jigsaw.training import WarmUpAdam, make_optimizer, side_by_side
from tests.keras_files import tampered
from tests.pretext_tools import patterns

SIZES = {"image_size": 48, "crop_size": 42, "cell_size": 14, "tile_size": 12}
numpy = keras.ops.convert_to_numpy


def make_solver(**changes) -> JigsawSolver:
    arguments = {"encoder": "alexnet", "permutations": all_permutations(9)[:5], **SIZES} | changes
    solver = JigsawSolver(**arguments)
    last = solver.classifier.layers[-1]
    assert not numpy(last.kernel).any()  # uniform probabilities at the start, so ...
    last.kernel.assign(np.random.default_rng(1).normal(0, 0.1, last.kernel.shape))
    return solver


@pytest.fixture(scope="module")
def solver() -> JigsawSolver:
    return make_solver()


@pytest.fixture(scope="module")
def solver_file(solver, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("solver") / "solver.keras"
    solver.save(path)
    return path


def puzzles(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 9, 12, 12, 3), np.uint8)


def test_one_folded_pass_equals_nine(solver):
    tiles = puzzles(3)
    vectors = [numpy(solver.trunk(tiles[:, n])["pooled"]) for n in range(9)]
    expected = numpy(solver.classifier(solver.head(np.concatenate(vectors, axis=1))))
    found = numpy(solver(tiles))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_light_and_contrast_of_a_tile_say_nothing(solver):
    tiles = puzzles(1) // 4
    changed = tiles.copy()
    changed[:, 3] = 3 * tiles[:, 3] + 40
    np.testing.assert_allclose(numpy(solver(changed)), numpy(solver(tiles)), rtol=1e-3)


def test_a_flat_tile_is_one_of_zeros(solver):
    tiles = puzzles(2)
    tiles[0, 3], tiles[1, 3] = 255, 0
    tiles[1, [0, 1, 2, 4, 5, 6, 7, 8]] = tiles[0, [0, 1, 2, 4, 5, 6, 7, 8]]
    white, black = numpy(solver(tiles))
    assert np.isfinite(white).all()
    np.testing.assert_allclose(white, black, rtol=1e-3)


def test_dropout_is_only_in_training(solver):
    tiles = puzzles(2)
    np.testing.assert_array_equal(numpy(solver(tiles)), numpy(solver(tiles)))
    kept = [numpy(one.value) for one in solver.weights]
    assert not np.array_equal(numpy(solver(tiles, training=True)), numpy(solver(tiles)))
    solver.set_weights(kept)  # the moving means


def test_other_trunks_fit():
    other = make_solver(encoder="resnet18")
    assert numpy(other(puzzles(2))).shape == (2, 5)


def test_file_gives_the_same_solver_with_its_permutations(solver, solver_file):
    found = load_solver(solver_file)
    np.testing.assert_array_equal(numpy(found(puzzles(2))), numpy(solver(puzzles(2))))
    np.testing.assert_array_equal(found.permutations, all_permutations(9)[:5])
    assert found.get_config() == solver.get_config()
    rough = load_solver(solver_file, "bfloat16")
    np.testing.assert_allclose(numpy(rough(puzzles(2))), numpy(found(puzzles(2))), atol=0.1)


def test_a_file_of_something_else_is_refused(tmp_path):
    inputs = keras.Input((3,))
    keras.Model(inputs, keras.layers.Dense(2)(inputs)).save(tmp_path / "other.keras")
    with pytest.raises(UserError, match="not a puzzle solver"):
        load_solver(tmp_path / "other.keras")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dtype": {"module": "keras.layers", "class_name": "TFSMLayer", "config": {}}}, "names"),
        ({"permutations": [list(range(16))]}, "its network has"),
        ({"encoder": "elsewhere"}, "not the file of"),
        ({"image_size": 10**9}, "which cannot be"),
        ({"crop_size": "42"}, "which cannot be"),
        ({"tile_size": 15}, "sizes do not fit"),
    ],
)
def test_a_file_that_was_tampered_with_is_refused(solver_file, tmp_path, changes, reason):
    path = tmp_path / "evil.keras"
    tampered(solver_file, path, config=lambda config: config["config"].update(changes))
    with pytest.raises(UserError, match=rf"evil\.keras: .*{reason}"):
        load_solver(path)


def test_vector_of_a_picture_is_that_of_its_centre_tiles(solver):
    images = patterns(4, 48)
    images[1] = 200  # flat: no NaN
    encoder = Encoder(image_network(solver), {"image_size": 48})
    found = encoder.encode(images, 4)
    corners = Puzzle(9, **SIZES).centre_corners()
    tiles = np.stack([images[:, y : y + 12, x : x + 12] for y, x in corners], axis=1)
    np.testing.assert_allclose(found, numpy(solver.features(tiles)), rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(found, encoder.encode(images, 4))
    np.testing.assert_allclose(found, encoder.encode_few(images), rtol=1e-3, atol=1e-4)
    assert (encoder.width, found.shape) == (1024, (4, 1024))


def test_the_encoder_jigsaw_is_a_solver_file(solver_file):
    encoder = load_encoder("jigsaw", solver_file)
    assert encoder.info["image_size"] == 48
    assert encoder.info["weights"] == "solver.keras"
    with pytest.raises(UserError, match="--weights"):
        load_encoder("jigsaw")


def test_tiles_lie_side_by_side_in_reading_order_with_gaps():
    tiles = np.broadcast_to(np.arange(9, dtype=np.uint8)[:, None, None, None], (9, 4, 4, 3))
    board = side_by_side(tiles)
    assert board.shape == (18, 18, 3)
    assert board[3::6, 3::6, 0].tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert (board[5:7] == 255).all()


def test_adam_warms_up_linearly():
    """By a gradient that stays the same, Adam's steps are as long as its rate."""
    weight = keras.Variable(np.zeros(3, np.float32))
    optimizer, values = WarmUpAdam(0.1, warmup_steps=4), [0.0]
    for _ in range(6):
        optimizer.apply([keras.ops.ones(3)], [weight])
        values.append(float(weight[0]))
    steps = [0.025, 0.05, 0.075, 0.1, 0.1, 0.1]
    np.testing.assert_allclose(-np.diff(values), steps, rtol=1e-3)


@pytest.mark.parametrize(("warmup", "steps"), [(4, (0, 2, 4, 9, 14)), (500, (0, 3.5, 7, 10.5, 14))])
def test_cosine_rises_over_the_warm_up_or_half_of_the_run_and_falls_to_zero(warmup, steps):
    rate = make_optimizer("cosine", 0.1, warmup, 14)._learning_rate
    found = [float(rate(step)) for step in steps]
    np.testing.assert_allclose(found, [0, 0.05, 0.1, 0.05, 0], atol=1e-6)
