"""Greedy and beam search: all pictures decoded together, the decoder's state carried along."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from keras import ops, tree

from captioning.cli import UserError
from captioning.decoders.base import Decoder
from captioning.decoders.ensemble import Ensemble
from captioning.decoders.minimum_bayes_risk import LIKENESS, draw, likeness
from captioning.decoders.search_settings import GREEDY, Search

# Pictures, and beginnings of captions, that are searched at once: they bound the memory.
MOST_IMAGES, MOST_ROWS = 500, 3000


class Hypothesis(NamedTuple):
    """A caption and its log-probability under the model (natural log, end word included)."""

    caption: str
    log_probability: float


def generate(
    model: Decoder, features: Sequence[np.ndarray], search: Search = GREEDY
) -> list[Hypothesis]:
    """The best caption for each of `features`; see `generate_n_best` for the arguments."""
    return [hypotheses[0] for hypotheses in generate_n_best(model, features, search)]


def generate_n_best(
    model: Decoder, features: Sequence[np.ndarray], search: Search = GREEDY
) -> list[list[Hypothesis]]:
    """From one to `search.beam_width` captions, the best first, for each of `features`.

    These are vectors (N, D) or grids (N, L, D), as the model takes them: an array, or what gives
    an array when it is sliced.

    Width 1 is greedy search. A wider beam keeps the `beam_width` most probable beginnings until
    as many captions are complete and none of the beginnings scores better than the worst of these.
    `Search` says what the score is, and what no caption has. Where that leaves no word at all, the
    caption ends.

    Raises:
        UserError: a minimum length that no caption of this model can have; features that are not
            finite, of which some processors make captions; or weights that are not.
    """
    search.check_length(model.vocabulary)
    n_best: list[list[Hypothesis]] = []
    by_words = search.expected_words and model.expected_words
    rows = search.beam_width if by_words else max(search.beam_width, search.mbr_samples)
    images = max(1, min(MOST_IMAGES, MOST_ROWS // rows))
    for first in range(0, len(features), images):
        part = features[first : first + images]
        if not np.isfinite(part).all():
            raise UserError("an image's features are not finite; extract them again")
        beams = _beam_search(model, part, search)
        if not all(beams):
            raise UserError("the model's weights are not finite, or give numbers that are not")
        if by_words:
            beams = ranked(beams, _like_words(model, part, beams), search.expected_words)
        elif search.mbr_samples:
            beams = ranked(beams, _like_drawn(model, part, beams, search.mbr_samples), LIKENESS)
        n_best += beams
    return n_best


def ranked(
    beams: Sequence[list[Hypothesis]], likenesses: Iterable[np.ndarray], weight: float
) -> list[list[Hypothesis]]:
    """Each picture's captions, the best first.

    A caption's value is its log-probability a word, the end included, and `weight` times its
    likeness, of which there are (C,) for the captions of each beam.
    """
    results = []
    for beam, alike in zip(beams, likenesses, strict=True):
        per_word = np.array([total / (len(caption.split()) + 1) for caption, total in beam])
        order = np.argsort(-(per_word + weight * alike), kind="stable")
        results.append([beam[number] for number in order])
    return results


def _like_words(model: Decoder, features: np.ndarray, beams: list) -> Iterator[np.ndarray]:
    """How like each picture's captions are to its expected words."""
    several = ops.convert_to_numpy(model.expected_words(features))
    for beam, expected in zip(beams, several, strict=True):
        captions = [caption for caption, _ in beam]
        yield model.expected_words.likeness(captions, expected, model.vocabulary)


def _like_drawn(model: Decoder, features, beams: list, samples: int) -> Iterator[np.ndarray]:
    """How like they are to captions that are drawn from the model: minimum Bayes risk."""
    # Of an ensemble each member draws its part: two draw 30 in the time in which both draw 15.
    drawers = model.members if isinstance(model, Ensemble) else [model]
    counts = [len(part) for part in np.array_split(np.arange(samples), len(drawers))]
    pairs = zip(drawers, counts, strict=True)
    parts = [draw(drawer, features, count) for drawer, count in pairs if count]
    for beam, *several in zip(beams, *parts, strict=True):
        captions = [caption for caption, _ in beam]
        yield likeness(captions, sum(several, Counter()), model.vocabulary)


def _beam_search(model: Decoder, features: np.ndarray, search: Search) -> list[list[Hypothesis]]:
    vocabulary, width = model.vocabulary, search.beam_width
    steps = vocabulary.max_length - 1  # words after the start word, the end word included
    # The beams of an image are neighbouring rows of the state; to begin with, it has one.
    images = np.arange(len(features))
    settled = np.zeros(len(images), bool)
    best = np.full((len(images), width), -np.inf)  # scores of the captions that are complete
    finished: list[list[tuple[float, Hypothesis]]] = [[] for _ in images]
    context, state = model.start(ops.convert_to_tensor(features))
    words = np.full((len(images), 1, 1), vocabulary.start)
    totals = np.zeros((len(images), 1))  # log-probabilities of the beginnings

    for step in range(1, steps + 1):
        tokens = ops.convert_to_tensor(words[:, :, -1].reshape(-1))
        logits, state = model.compiled_step(tokens, context, state)
        beams, tokens, totals = _extend(logits, totals, words, vocabulary, search, step == steps)

        ends = tokens == vocabulary.end
        # A settled image that is still among the rows takes no more captions.
        counted = ends & np.isfinite(totals) & ~settled[images][:, None]
        for row, position in np.argwhere(counted[:, :width]):
            image, total = images[row], float(totals[row, position])
            caption = vocabulary.decode(words[row, beams[row, position]])
            score = total / step**search.length_penalty
            finished[image].append((score, Hypothesis(caption, total)))
            worst = best[image].argmin()
            best[image, worst] = max(best[image, worst], score)

        # Open beginnings first, best first. Of 2 * width at most width end, so enough go on.
        order = np.argsort(ends, axis=1, kind="stable")[:, :width]
        beams, tokens, totals, ends = (
            np.take_along_axis(part, order, axis=1) for part in (beams, tokens, totals, ends)
        )
        totals = np.where(ends, -np.inf, totals)
        before = words.shape[1]
        words = np.take_along_axis(words, beams[:, :, None], axis=1)
        words = np.concatenate([words, tokens[:, :, None]], axis=2)

        open_score = totals.max(axis=1) / step**search.length_penalty
        settled[images] |= best[images].min(axis=1) >= open_score
        rows = np.flatnonzero(~settled[images])
        if len(rows) == 0:
            break
        # Dropping settled images at every step would give every step a shape of its own.
        if len(rows) > len(images) // 2:
            rows = np.arange(len(images))
        parents = (rows[:, None] * before + beams[rows]).reshape(-1)
        if width > 1 or len(rows) < len(images):
            state = tree.map_structure(lambda part: ops.take(part, parents, axis=0), state)  # noqa: B023
        if len(rows) < len(images):
            context = tree.map_structure(lambda part: ops.take(part, rows, axis=0), context)  # noqa: B023
        images, words, totals = images[rows], words[rows], totals[rows]
    return [[found for _, found in sorted(scored, reverse=True)[:width]] for scored in finished]


def _extend(logits, totals, words, vocabulary, search: Search, must_end: bool):
    """The 2 * width best continuations of each image's beams: (beam, word, log-probability) arrays.

    What `_barred` bars is never chosen. With `must_end` the end word is the only choice.
    """
    (images, beams), most = totals.shape, 2 * search.beam_width
    log_probabilities = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
    ending = ops.convert_to_numpy(log_probabilities[:, vocabulary.end])
    barred = _barred(words.reshape(images * beams, -1), vocabulary, search)
    # As many more than needed as can be struck out.
    count = most + 1 + int((barred > 0).sum(axis=1).max())
    values, choices = ops.top_k(log_probabilities, min(count, logits.shape[-1]))
    values, choices = np.array(values), np.array(choices)
    values[must_end | (choices[:, :, None] == barred[:, None, :]).any(axis=2)] = -np.inf
    stuck = ~np.isfinite(values).any(axis=1)
    values[stuck, 0], choices[stuck, 0] = ending[stuck], vocabulary.end

    per_beam = values.shape[1]
    totals = (totals[:, :, None] + values.reshape(images, beams, per_beam)).reshape(images, -1)
    best = np.argsort(-totals, axis=1, kind="stable")[:, :most]
    tokens = np.take_along_axis(choices.reshape(images, -1), best, axis=1)
    return best // per_beam, tokens.astype(np.int64), np.take_along_axis(totals, best, axis=1)


def _barred(words: np.ndarray, vocabulary, search: Search) -> np.ndarray:
    """What may not follow `words` (rows, t), which begin with the start word: (rows, k) words.

    0, which is no word and may never follow, fills up.
    """
    rows, length = words.shape
    always = [0, vocabulary.start]
    if length <= search.min_length:
        always.append(vocabulary.end)
    repeats = []
    if search.no_repeat_ngram is None:
        short = np.array([True, *(len(word) == 1 for word in vocabulary.words)])[words]
        twice = (words[:, :, None] == words[:, None, :]).sum(axis=2) >= 2
        before = (words[:, :-1] == words[:, -1:]) & ~short[:, -1:]
        repeats = [words * (twice & ~short), words[:, 1:] * (before & ~short[:, 1:])]
    elif 0 < search.no_repeat_ngram <= length:
        size = search.no_repeat_ngram
        positions = length - size + 1  # where such a sequence begins that is complete
        last = words[:, positions:]  # the beginning of the one that the next word completes
        same = np.ones((rows, positions), bool)
        for n in range(size - 1):
            same &= words[:, n : n + positions] == last[:, n, None]
        repeats = [words[:, size - 1 :] * same]
    return np.concatenate([np.tile(always, (rows, 1)), *repeats], axis=1)
