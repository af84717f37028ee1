"""NT-Xent, InfoNCE and the BYOL loss against naive loops and closed forms, with gradients."""

import math
from functools import partial
from itertools import chain

import numpy as np
import pytest

from contrastive.losses import byol_loss, info_nce, nt_xent, spread
from tests.pretext_tools import value_and_gradients

TEMPERATURE = 0.3


def cosine(a, b) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(
        sum(x * x for x in a) * sum(y * y for y in b)
    )


def naive_nt_xent(*views, decoupled: bool = False) -> float:
    """Every view looks for the large ones (the first two) of its picture among all large ones.

    It is not among them itself, nor, decoupled, are those that it looks for.
    """
    large, count = [*views[0], *views[1]], len(views[0])
    total = 0.0
    for number, view in enumerate(chain(*views)):
        similarity = [cosine(view, other) / TEMPERATURE for other in large]
        own = [k for k in (number % count, number % count + count) if k != number]
        left_out = {number, *own} if decoupled else {number}
        among = [math.exp(x) for k, x in enumerate(similarity) if k not in left_out]
        total += math.log(sum(among)) - sum(similarity[k] for k in own) / len(own)
    return total / (count * len(views))


def naive_info_nce(queries, keys, queue) -> float:
    total = 0.0
    for query, key in zip(queries, keys, strict=True):
        positive = math.exp(cosine(query, key) / TEMPERATURE)
        negatives = sum(math.exp(cosine(query, other) / TEMPERATURE) for other in queue)
        total -= math.log(positive / (positive + negatives))
    return total / len(queries)


def naive_byol(predictions, targets) -> float:
    total = 0.0
    for prediction, target in zip(predictions, targets, strict=True):
        p = prediction / math.sqrt(sum(x * x for x in prediction))
        t = target / math.sqrt(sum(x * x for x in target))
        total += sum((a - b) ** 2 for a, b in zip(p, t, strict=True))
    return total / len(predictions)


def contrast(first, second, *crops, decoupled: bool = False):
    return nt_xent(first, second, TEMPERATURE, crops, decoupled)


DECOUPLED = {"decoupled": True}
LOSSES = {
    "nt_xent": (contrast, naive_nt_xent, (5, 5)),
    "multi_crop": (contrast, naive_nt_xent, (4, 4, 4, 4)),
    "decoupled": (partial(contrast, **DECOUPLED), partial(naive_nt_xent, **DECOUPLED), (4,) * 4),
    "info_nce": (lambda q, k, n: info_nce(q, k, n, TEMPERATURE), naive_info_nce, (4, 4, 7)),
    "byol": (byol_loss, naive_byol, (5, 5)),
}


@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_gradients_equal_a_naive_loop(name):
    loss, naive, counts = LOSSES[name]
    random = np.random.default_rng(3)
    arrays = [random.normal(size=(count, 6)) for count in counts]
    value, gradients = value_and_gradients(loss, *arrays)
    assert value == pytest.approx(naive(*arrays), rel=1e-5)
    step = 1e-5
    for array, gradient in zip(arrays, gradients, strict=True):
        for position in np.ndindex(array.shape):
            kept = array[position]
            array[position] = kept + step
            above = naive(*arrays)
            array[position] = kept - step
            below = naive(*arrays)
            array[position] = kept
            assert gradient[position] == pytest.approx((above - below) / (2 * step), abs=1e-5)


def test_spread():
    assert float(spread(np.ones((5, 3), np.float32))) == pytest.approx(0, abs=1e-5)
    assert float(spread(np.eye(4, dtype=np.float32))) == pytest.approx(0.75, abs=1e-5)


def test_a_zero_vector_gives_no_nan():
    value, gradients = value_and_gradients(contrast, np.zeros((3, 4)), np.ones((3, 4)))
    assert np.isfinite(value)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
