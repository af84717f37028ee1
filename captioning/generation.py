"""Greedy and beam search: all pictures decoded together, the decoder's state carried along."""

from typing import NamedTuple

import keras
import numpy as np
from keras import ops


class Hypothesis(NamedTuple):
    """A caption and its log-probability under the model (natural log, end word included)."""

    caption: str
    log_probability: float


def generate(
    model: keras.Model,
    features: np.ndarray,
    *,
    beam_width: int = 1,
    length_penalty: float = 1.0,
    batch_size: int = 500,
) -> list[Hypothesis]:
    """The best caption for each row of `features` (N, D).

    Width 1 is greedy search. A wider beam keeps the `beam_width` most probable beginnings until
    as many captions are complete, and returns the one with the highest log-probability divided by
    length to the power of `length_penalty`; the end word counts (Wu et al., arXiv 1609.08144,
    section 7, in its simple form). 0 ranks by probability alone, which favours short captions.

    No caption uses a word of two letters or more three times, or a pair of such words twice:
    "white and white and white" is a known failure of search in a model that is sure of itself.
    """
    found: list[Hypothesis] = []
    for first in range(0, len(features), batch_size):
        rows = ops.convert_to_tensor(features[first : first + batch_size], "float32")
        found += _beam_search(model, rows, beam_width, length_penalty)
    return found


def _beam_search(model, features, width: int, length_penalty: float) -> list[Hypothesis]:
    vocabulary = model.vocabulary
    steps = vocabulary.max_length - 1  # words after the start word, the end word included
    # Every image has `width` neighbouring rows in the state and in the arrays below.
    images = np.arange(len(features))  # those not yet settled
    finished: list[list[tuple[float, Hypothesis]]] = [[] for _ in images]
    state = model.start(ops.repeat(features, width, axis=0))
    words = np.full((len(images), width, 1), vocabulary.start)
    scores = np.full((len(images), width), -np.inf)
    scores[:, 0] = 0.0  # the beams of an image begin alike: one of them speaks

    def unsettled(images: np.ndarray) -> np.ndarray:
        return np.array([len(finished[image]) < width for image in images], bool)

    for step in range(1, steps + 1):
        logits, state = model.step(ops.convert_to_tensor(words[:, :, -1].reshape(-1)), state)
        beams, tokens, totals = _extend(logits, scores, words, vocabulary, step == steps)

        ends = tokens == vocabulary.end
        # A settled image that is still among the rows takes no more captions.
        counted = ends & np.isfinite(totals) & unsettled(images)[:, None]
        for row, place in np.argwhere(counted[:, :width]):
            caption = vocabulary.decode(words[row, beams[row, place]])
            total = float(totals[row, place])
            finished[images[row]].append((total / step**length_penalty, Hypothesis(caption, total)))

        # Open beginnings first, best first. Of 2 * width at most width end, so enough go on.
        order = np.argsort(ends, axis=1, kind="stable")[:, :width]
        beams, tokens, totals, ends = (
            np.take_along_axis(part, order, axis=1) for part in (beams, tokens, totals, ends)
        )
        scores = np.where(ends, -np.inf, totals)
        words = np.take_along_axis(words, beams[:, :, None], axis=1)
        words = np.concatenate([words, tokens[:, :, None]], axis=2)

        rows = np.flatnonzero(unsettled(images))
        if len(rows) == 0:
            break
        # Dropping settled images at every step would give every step a shape of its own.
        if len(rows) > len(images) // 2:
            rows = np.arange(len(images))
        parents = (rows[:, None] * width + beams[rows]).reshape(-1)
        if width > 1 or len(rows) < len(images):
            state = [ops.take(part, parents, axis=0) for part in state]
        images, words, scores = images[rows], words[rows], scores[rows]
    return [max(candidates)[1] for candidates in finished]


def _extend(logits, scores: np.ndarray, words: np.ndarray, vocabulary, must_end: bool):
    """The 2 * width best continuations of each image's beams: (beam, word, total score) arrays.

    Padding, the start word and repetitions (`_repeats`) are never chosen. With `must_end` the end
    word is the only choice.
    """
    images, width = scores.shape
    log_probabilities = ops.log_softmax(logits, axis=-1)
    if must_end:
        values = ops.convert_to_numpy(log_probabilities[:, vocabulary.end])[:, None]
        choices = np.full_like(values, vocabulary.end, dtype=np.int64)
    else:
        barred = np.zeros(len(vocabulary) + 1, np.float32)
        barred[[0, vocabulary.start]] = -np.inf
        # A few more than needed, because repetitions among them are struck out.
        count = min(2 * width + 8, len(vocabulary) - 1)
        values, choices = ops.top_k(log_probabilities + barred, count)
        values, choices = ops.convert_to_numpy(values), ops.convert_to_numpy(choices)
        repeats = _repeats(words.reshape(images * width, -1), choices, vocabulary)
        values = np.where(repeats, -np.inf, values)

    per_beam = values.shape[1]
    totals = (scores[:, :, None] + values.reshape(images, width, per_beam)).reshape(images, -1)
    best = np.argsort(-totals, axis=1, kind="stable")[:, : 2 * width]
    tokens = np.take_along_axis(choices.reshape(images, -1), best, axis=1)
    return best // per_beam, tokens.astype(np.int64), np.take_along_axis(totals, best, axis=1)


def _repeats(words: np.ndarray, choices: np.ndarray, vocabulary) -> np.ndarray:
    """Which `choices` (rows, k) would repeat what `words` (rows, t) hold; see `generate`."""
    short = np.array([True, *(len(word) == 1 for word in vocabulary.words)])
    same = words[:, :, None] == choices[:, None, :]
    third = same.sum(axis=1) >= 2
    after_last = (words[:, :-1] == words[:, -1:])[:, :, None]
    pair = (after_last & same[:, 1:]).any(axis=1) & ~short[words[:, -1:]]
    return (third | pair) & ~short[choices]
