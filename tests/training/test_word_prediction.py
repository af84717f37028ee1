"""Word prediction: what is to be predicted, that a network learns it, and the command."""

import csv
import shutil

import keras
import numpy as np
import pytest

from captioning.encoders.table import build_network
from captioning.encoders.weights import read_recipe
from captioning.training.word_prediction import (
    WordPrediction,
    jitter,
    mix,
    word_shares,
    word_weights,
)
from tests import zygote
from tests.conftest import ROOT, assert_refused, run_script


def test_a_word_of_a_quarter_of_the_captions_counts_twice_one_of_all():
    captions = [[1, 3, 3, 2], [1, 2], [1, 2], [1, 2]]

    weights = word_weights(captions, 5)

    np.testing.assert_allclose(weights, [0, 1, 1, 2, 0])  # 0 is no word, and nobody says 4


def test_shares_are_those_of_a_loop_over_captions():
    random = np.random.default_rng(0)
    tokens = random.integers(0, 7, (6, 5))
    weights = np.array([0, *random.uniform(0.5, 3, 6)], np.float32)

    shares = word_shares(tokens, 3, weights)

    for picture in range(3):
        said = np.zeros(7)
        for caption in tokens[2 * picture : 2 * picture + 2]:
            for word in {*caption.tolist()}:
                said[word] += weights[word]
        np.testing.assert_allclose(shares[picture], said / said.sum(), rtol=1e-6)


def test_a_picture_of_no_known_word_asks_for_nothing():
    assert word_shares(np.zeros((2, 3), int), 1, np.ones(4, np.float32) * [0, 1, 1, 1]).sum() == 0


def test_mixed_pictures_have_targets_mixed_by_the_same_share():
    random = np.random.default_rng(1)
    pixels = np.zeros((8, 2, 2, 3), np.uint8)
    pixels[4:] = 120
    shares = np.repeat(np.eye(2, dtype=np.float32), 4, axis=0)

    mixed, targets = mix(pixels, shares, random, alpha=1.0)

    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)
    assert (targets > 0.02).all(axis=1).any()
    np.testing.assert_allclose(mixed[:, 0, 0, 0], 120 * targets[:, 1], atol=1)


def test_jitter_draws_one_brightness_for_grey():
    random = np.random.default_rng(1)
    pixels = np.full((200, 2, 2, 3), 100, np.uint8)

    varied = jitter(pixels, random).reshape(200, -1)

    assert (varied == varied[:, :1]).all()  # contrast and saturation change nothing there
    assert 60 <= varied.min() < 65 and 135 < varied.max() <= 140


def test_jitter_of_saturation_keeps_the_mean_of_the_channels():
    pixels = np.full((1, 2, 2, 3), (90, 120, 150), np.uint8)

    varied = [jitter(pixels, np.random.default_rng(n))[0, 0, 0].astype(int) for n in range(20)]

    ratios = {round((red - blue) / (red + green + blue), 2) for red, green, blue in varied}
    assert len(ratios) > 10  # from 0.5 to 1.5 times the -1/6 of before
    assert all(abs(2 * green - red - blue) <= 3 for red, green, blue in varied)


@pytest.mark.slow
def test_steps_lower_the_loss_and_move_stem_and_statistics():
    network = build_network("resnet18", seed=1)
    keras.utils.set_random_seed(2)
    model = WordPrediction(network, 6, dropout=0.0)
    model.compile(
        keras.optimizers.Adam(1e-3),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True), jit_compile=False,
    )  # fmt: skip
    model.optimizer.build(model.trainable_variables)
    random = np.random.default_rng(3)
    pixels = random.integers(0, 256, (6, 32, 32, 3)).astype(np.uint8)
    before = {weight.path: np.array(weight.value) for weight in network.weights}

    losses = [model.train_on_batch(pixels, np.eye(6, dtype="float32")) for _ in range(12)]

    assert losses[-1] < losses[0] - 0.3  # of means over all steps so far
    still = {w.path for w in network.weights if np.array_equal(before[w.path], w.value)}
    assert still == set()


@pytest.mark.slow
def test_a_run_resumes_and_stage_1_takes_its_weights(pipeline, tmp_path):
    data = pipeline.data
    command = [
        "-m", "captioning.word_prediction", "--images", data.images,
        "--descriptions", pipeline.work / "descriptions.txt", "--train-split", data.train,
        "--dev-split", data.dev, "--batch-size", 4, "--image-size", 64, "--min-count", 1,
        "--output-dir", tmp_path / "words", "--resume",
    ]  # fmt: skip
    one = zygote.run([*map(str, command), "--batch-size", "1"], ROOT)
    assert_refused(one, "--batch-size 1", "give more")
    first = zygote.run([*map(str, command), "--epochs", "1"], ROOT)
    (tmp_path / "one.txt").write_text(data.dev.read_text().splitlines()[0])
    others = ["--epochs", "2", "--dev-split", str(tmp_path / "one.txt")]
    refused = zygote.run([*map(str, command), *others], ROOT)
    assert first.returncode == 0, first.stderr
    assert refused.returncode == 2
    assert "epochs was 1, not 2" in refused.stderr  # the learning rate goes by them
    assert "it had other captions of splits" in refused.stderr

    again = zygote.run([*map(str, command), "--epochs", "1"], ROOT)

    assert "1 epochs already trained" in again.stdout
    with open(tmp_path / "words" / "history.csv", newline="") as file:
        assert len([*csv.DictReader(file)]) == 1
    weights = tmp_path / "words" / "resnet18-words.weights.h5"
    assert read_recipe(weights)["preprocessing"] == "squash(64)|imagenet"
    extracted = run_script(
        "1_data_preprocessor.py", "--images", data.images, "--captions", data.captions,
        "--encoder", "resnet18", "--weights", weights, "--only", "features", cwd=tmp_path,
    )  # fmt: skip
    assert extracted.returncode == 0, extracted.stderr


@pytest.mark.slow
def test_pictures_that_judge_and_cannot_be_read_are_named(pipeline, tmp_path):
    images, data = shutil.copytree(pipeline.data.images, tmp_path / "images"), pipeline.data
    for name in data.dev.read_text().split():
        (images / name).write_bytes(b"no picture")
    command = [
        "-m", "captioning.word_prediction", "--images", images,
        "--descriptions", pipeline.work / "descriptions.txt", "--train-split", data.train,
        "--dev-split", data.dev, "--batch-size", 4, "--image-size", 32, "--min-count", 1,
        "--epochs", 1, "--output-dir", tmp_path / "words",
    ]  # fmt: skip

    result = zygote.run([*map(str, command)], ROOT)

    assert result.returncode == 2
    said = result.stderr.splitlines()[-1]
    assert said.startswith("word_prediction.py: ")
    assert said.endswith("nor can any other picture that judges be read")
