"""Word prediction: what is to be predicted, and that a network learns it."""

import keras
import numpy as np
import pytest

from captioning.encoders.table import build_network
from captioning.training.word_prediction import mix, word_predictor, word_shares, word_weights


def test_a_word_of_a_quarter_of_the_captions_counts_twice_one_of_all():
    captions = [[1, 3, 3, 2], [1, 2], [1, 2], [1, 2]]

    weights = word_weights(captions, 5)

    np.testing.assert_allclose(weights, [0, 1, 1, 2, 0])  # 0 is no word, and nobody says 4


def test_shares_are_those_of_a_loop_over_captions():
    random = np.random.default_rng(0)
    tokens = random.integers(0, 7, (6, 5))
    weights = np.array([0, *random.uniform(0.5, 3, 6)], np.float32)

    shares = word_shares(tokens, 3, weights)

    for image in range(3):
        said = np.zeros(7)
        for caption in tokens[2 * image : 2 * image + 2]:
            for word in {*caption.tolist()}:
                said[word] += weights[word]
        np.testing.assert_allclose(shares[image], said / said.sum(), rtol=1e-6)
    assert word_shares(np.zeros((2, 3), int), 1, weights).sum() == 0  # nothing known is said


def test_mixed_pictures_have_targets_mixed_by_the_same_share():
    random = np.random.default_rng(1)
    pixels = np.zeros((8, 2, 2, 3), np.uint8)
    pixels[4:] = 120
    shares = np.repeat(np.eye(2, dtype=np.float32), 4, axis=0)

    mixed, targets = mix(pixels, shares, random, alpha=1.0)

    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)
    assert (targets > 0.02).all(axis=1).any()
    np.testing.assert_allclose(mixed[:, 0, 0, 0], 120 * targets[:, 1], atol=1)


@pytest.mark.slow
def test_steps_lower_the_loss_and_move_stem_and_statistics():
    network = build_network("resnet18", seed=1)
    keras.utils.set_random_seed(2)
    model = word_predictor(network, 6, dropout=0.0)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss=loss, jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    random = np.random.default_rng(3)
    pixels = random.integers(0, 256, (6, 32, 32, 3)).astype(np.uint8)
    before = {weight.path: np.array(weight.value) for weight in network.weights}

    shares = np.eye(6, dtype="float32")
    losses = [model.train_on_batch({"pixels": pixels}, shares) for _ in range(12)]

    assert losses[-1] < losses[0] - 0.3  # of means over all steps so far
    still = {w.path for w in network.weights if np.array_equal(before[w.path], w.value)}
    assert still == set()
