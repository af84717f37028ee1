"""Minimum Bayes risk: of a beam's captions, the one most like all else that the model might say.

The most probable caption is a plain one: a thing that can be said in many ways has little
probability in each of them. So captions are drawn from the model, and those of the beam are judged
by how alike they are to the drawn ones, as if people had written these (Kumar and Byrne, NAACL
2004; with drawn captions: Eikema and Aziz, arXiv 2108.04718).
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from keras import ops, tree

from captioning.decoders.base import Decoder
from captioning.evaluation.cider import similarities
from captioning.text import Vocabulary

# Label smoothing gives every word a share that it does not deserve (Yan et al., arXiv 2212.04205):
# a model trained with it is drawn from at a lower temperature than 1. Both numbers were chosen on
# development data; see docs/decoders.md.
SMOOTHED_TEMPERATURE = 0.7
LIKENESS = 0.5  # what it counts, beside log-probability a word
BLOCK = 256  # rows of logits at once
WAITED = 0.9  # share of an image's captions that are waited for: the last ones are few, and long
GROUP = 64  # words whose shares are added up before it is asked which of them is drawn


def likeness(
    captions: Sequence[str], drawn: Mapping[str, int], vocabulary: Vocabulary
) -> np.ndarray:
    """How like a picture's captions are to those that were `drawn`, so many times each: (C,).

    It is the mean CIDEr-D (0 to 10) by each of the drawn captions as the only reference. CIDEr-D
    asks how rare an n-gram is. No corpus is at hand here, but the vocabulary is, which is in the
    order of frequency: by Zipf's law the share of its n-th word falls as 1 / n. An n-gram is as
    rare as its rarest word.
    """
    index = vocabulary.word_index

    def rarity(ngram: tuple[str, ...]) -> float:
        return math.log(1 + max(index.get(word, len(index)) for word in ngram))

    ours, others = ([caption.split() for caption in some] for some in (captions, drawn))
    counts = np.array([*drawn.values()])
    return similarities(ours, others, rarity) @ counts / counts.sum()


def draw(model: Decoder, features: np.ndarray, count: int) -> list[Counter]:
    """Captions of each picture, and how often each was drawn: `count`, less those not waited for.

    A caption's next word is the one in whose share of the probability a number between 0 and 1
    lies. For each word the numbers of a picture's captions are spread evenly, and shuffled (Latin
    hypercube sampling, McKay et al., Technometrics 1979), so the captions are more even than
    independent ones. Every picture has the same numbers, so no seed is needed, and rounding, which
    differs from batch to batch, moves a word only where a number lies on the border of its share.

    Args:
        features: (N, D) or (N, L, D), as the model takes them.
    """
    vocabulary, images = model.vocabulary, np.arange(len(features))
    temperature = SMOOTHED_TEMPERATURE if model.label_smoothing else 1.0
    drawn = [Counter() for _ in images]
    wanted = math.ceil(WAITED * count)
    context, state = model.start(ops.convert_to_tensor(features))
    even = np.tile((np.arange(count) + 0.5) / count, (vocabulary.max_length, 1))
    positions = np.random.default_rng(0).permuted(even, axis=1)
    captions = np.tile(np.arange(count), (len(images), 1))  # which of them a row is
    words = np.full((len(images), count, 1), vocabulary.start)
    is_open = np.ones((len(images), count), bool)
    rows = 1  # of the state, for each picture: at first its captions are all alike
    for step in range(1, vocabulary.max_length):
        tokens = ops.convert_to_tensor(words[:, :rows, -1].reshape(-1))
        logits, state = model.compiled_step(tokens, context, state)
        logits = ops.convert_to_numpy(ops.cast(logits, "float32")) / temperature
        tokens = _words_at(positions[step][captions], logits, vocabulary)
        if step == vocabulary.max_length - 1:
            tokens[:] = vocabulary.end
        words = np.concatenate([words, tokens[:, :, None]], axis=2)
        ends = is_open & (tokens == vocabulary.end)
        for image, caption in np.argwhere(ends):
            drawn[images[image]][vocabulary.decode(words[image, caption])] += 1
        is_open &= ~ends
        is_open[is_open.sum(axis=1) <= count - wanted] = False
        most = int(is_open.sum(axis=1).max())  # that any picture has left
        if most == 0:
            break
        # Rows are dropped by eights, and pictures by halves: each number of them is a shape, for
        # which JAX compiles anew.
        fewer = min(count, -(-most // 8) * 8)
        left = np.flatnonzero(is_open.any(axis=1))
        if len(left) > len(images) // 2:
            left = np.arange(len(images))
        if (fewer, len(left)) == (rows, len(images)):
            continue
        order = np.argsort(~is_open[left], axis=1, kind="stable")[:, :fewer]
        parents = (left[:, None] * rows + np.minimum(order, rows - 1)).reshape(-1)
        state = tree.map_structure(lambda part: ops.take(part, parents, axis=0), state)  # noqa: B023
        if len(left) < len(images):
            context = tree.map_structure(lambda part: ops.take(part, left, axis=0), context)  # noqa: B023
        words = np.take_along_axis(words[left], order[:, :, None], axis=1)
        captions = np.take_along_axis(captions[left], order, axis=1)
        is_open = np.take_along_axis(is_open[left], order, axis=1)
        images, rows = images[left], fewer
    return drawn


def _words_at(positions: np.ndarray, logits: np.ndarray, vocabulary: Vocabulary) -> np.ndarray:
    """The words (N, S) in whose share of the probability `positions` (N, S) lie.

    Args:
        logits: (N * S, V), or (N, V) before the first word.
    """
    rows = np.arange(len(logits)).repeat(positions.size // len(logits))
    tokens = np.empty(positions.shape, np.int64)
    for first in range(0, positions.size, BLOCK):  # a vocabulary may be large
        block = slice(first, first + BLOCK)
        shares = logits[rows[block]]
        shares = np.exp(shares - shares.max(axis=1, keepdims=True))
        shares[:, [0, vocabulary.start]] = 0.0
        shares[:, vocabulary.end] += 1e-30  # a caption ends where nothing else can follow
        # A running sum of all words would take three times as long.
        groups = np.pad(shares, ((0, 0), (0, -shares.shape[1] % GROUP)))
        groups = groups.reshape(len(shares), -1, GROUP)
        group, inside = _share_at(positions.flat[block], groups.sum(axis=2))
        word, _ = _share_at(inside, groups[np.arange(len(groups)), group])
        tokens.flat[block] = group * GROUP + word
    return tokens


def _share_at(positions: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """In which of the `shares` (N, K) of their sum `positions` (N,) lie, and where in these.

    Positions are from 0 to 1, of the whole as of a share. No share of 0 is chosen.
    """
    rows, ends = np.arange(len(shares)), np.cumsum(shares, axis=1, dtype=np.float64)
    positions = np.minimum(positions, 1 - 1e-12) * ends[:, -1]
    chosen = (ends <= positions[:, None]).sum(axis=1)
    size = shares[rows, chosen].astype(np.float64)
    return chosen, (positions - (ends[rows, chosen] - size)) / size
