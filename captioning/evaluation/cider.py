"""CIDEr-D of pairs of captions, quick enough for a search.

Vedantam et al., "CIDEr: consensus-based image description evaluation" (arXiv 1411.5726). Figures
that are reported come from the COCO toolkit (`coco_toolkit.py`); that these are equal is a test.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

LONGEST = 4  # words in an n-gram
SIGMA = 6.0  # words by which lengths may differ, about


def similarities(
    captions: Sequence[Sequence[str]],
    references: Sequence[Sequence[str]],
    rarity: Callable[[tuple[str, ...]], float],
) -> np.ndarray:
    """CIDEr-D (C, R) of captions by each reference alone, all tokenised; 0 to 10.

    An n-gram weighs as much as it is rare.
    """
    counts = [count_ngrams(words) for words in (*captions, *references)]
    ngrams = sorted(set().union(*counts), key=len)
    column = {ngram: number for number, ngram in enumerate(ngrams)}
    times = np.zeros((len(counts), len(ngrams)))
    for row, count in zip(times, counts, strict=True):
        row[[column[ngram] for ngram in count]] = [*count.values()]
    weights = times * [rarity(ngram) for ngram in ngrams]
    ends = np.searchsorted([len(ngram) for ngram in ngrams], range(1, LONGEST + 2))
    split = len(captions)

    cosine = np.zeros((split, len(references)))
    for first, end in pairwise(ends):
        ours, theirs = weights[:split, None, first:end], weights[None, split:, first:end]
        # Clipped at the reference's weight: saying a word twice gains nothing.
        product = (np.minimum(ours, theirs) * theirs).sum(axis=2)
        norms = np.linalg.norm(ours, axis=2) * np.linalg.norm(theirs, axis=2)
        cosine += np.divide(product, norms, out=np.zeros_like(product), where=norms > 0)
    bigrams = times[:, ends[1] : ends[2]].sum(axis=1)
    too_long = bigrams[:split, None] - bigrams[None, split:]
    return 10 / LONGEST * cosine * np.exp(-(too_long**2) / (2 * SIGMA**2))


def count_ngrams(words: Sequence[str]) -> Counter:
    """How often each n-gram of up to four words is in a tokenised caption."""
    return Counter(
        tuple(words[first : first + n])
        for n in range(1, LONGEST + 1)
        for first in range(len(words) - n + 1)
    )
