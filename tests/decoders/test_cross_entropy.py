import numpy as np
import pytest
from keras import ops

from captioning.decoders.cross_entropy import BLOCK, linear_cross_entropy
from tests.pretext_tools import value_and_gradients

WIDTH, WORDS = 6, 11


@pytest.fixture(params=[7, BLOCK, 2 * BLOCK + 3], ids=["part of a block", "a block", "more"])
def problem(request):
    """Hidden vectors, kernel, bias and target words."""
    random = np.random.default_rng(1)
    shapes = [(request.param, WIDTH), (WIDTH, WORDS), (WORDS,)]
    arrays = [random.normal(size=shape).astype(np.float32) for shape in shapes]
    return *arrays, random.integers(0, WORDS, request.param).astype(np.int32)


def naive(hidden, kernel, bias, targets, smoothing, weights=None):
    """Weighted loss, every word's loss, and the gradient of the former by the first three."""
    arrays = [np.asarray(one, np.float64) for one in (hidden, kernel, bias)]
    hidden, kernel, bias = arrays
    gradients = [np.zeros_like(one) for one in arrays]
    weights = np.full(len(hidden), 1 / len(hidden)) if weights is None else weights
    mean, losses = 0.0, []
    for row, target in enumerate(targets):
        vector, weight = hidden[row], weights[row]
        logits = vector @ kernel + bias
        probabilities = np.exp(logits) / np.exp(logits).sum()
        wanted = np.full(WORDS, smoothing / WORDS)
        wanted[target] += 1 - smoothing
        losses.append(-np.log(probabilities[target]))
        mean -= weight * (wanted * np.log(probabilities)).sum()
        by_logits = weight * (probabilities - wanted)
        gradients[0][row] = kernel @ by_logits
        gradients[1] += np.outer(vector, by_logits)
        gradients[2] += by_logits
    return mean, losses, gradients


def gradients_of(loss, arrays):
    """Of compiled code, as in training."""
    import tensorflow as tf

    return value_and_gradients(tf.function(loss), *arrays)[1]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_losses_equal_a_loop(problem, smoothing, training):
    expected_mean, expected_losses, _ = naive(*problem, smoothing)
    mean, losses = linear_cross_entropy(*problem, smoothing, training)
    assert float(mean) == pytest.approx(expected_mean, rel=1e-5)
    np.testing.assert_allclose(ops.convert_to_numpy(losses), expected_losses, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradients_equal_a_loop(problem, smoothing):
    """Of thrice the loss, so that what comes after it has its part in them."""
    *arrays, targets = problem
    _, _, expected = naive(*problem, smoothing)
    found = gradients_of(
        lambda *tensors: 3 * linear_cross_entropy(*tensors, targets, smoothing)[0], arrays
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one / 3, other, atol=1e-6)


def test_huge_logits_stay_finite():
    hidden = np.full((2, WIDTH), 1e4, np.float32)
    kernel = np.random.default_rng(1).normal(size=(WIDTH, WORDS)).astype(np.float32)
    mean, _ = linear_cross_entropy(hidden, kernel, np.zeros(WORDS, np.float32), np.array([0, 1]))
    assert np.isfinite(float(mean))


def test_bfloat16_is_near(problem):
    hidden, *rest = problem
    exact, _ = linear_cross_entropy(hidden, *rest)
    rough, _ = linear_cross_entropy(ops.cast(hidden, "bfloat16"), *rest)
    assert float(rough) == pytest.approx(float(exact), rel=0.01)


def test_weights_scale_losses_and_gradients_and_0_counts_nothing(problem):
    *arrays, targets = problem
    weights = np.random.default_rng(3).normal(size=len(targets)).astype(np.float32)
    weights[::3] = 0
    expected, _, gradients = naive(*problem, 0.1, weights)

    value, _ = linear_cross_entropy(*problem, 0.1, weights=weights)
    found = gradients_of(
        lambda *tensors: linear_cross_entropy(*tensors, targets, 0.1, weights=weights)[0], arrays
    )

    assert float(value) == pytest.approx(expected, abs=1e-4)
    for ours, theirs in zip(found, gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=2e-5)
    assert not found[0][::3].any()
