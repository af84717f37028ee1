"""CIDEr-D of two captions, quick enough for a search.

Vedantam et al., "CIDEr: consensus-based image description evaluation" (arXiv 1411.5726). Figures
that are reported come from the COCO toolkit (`coco_toolkit.py`); that these are equal is a test.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

LONGEST = 4  # words in an n-gram
SIGMA = 6.0  # words by which lengths may differ, about


class Vector(NamedTuple):
    """A caption as `similarity` takes it: the weights of its n-grams, and their norm for each n."""

    weights: dict[tuple[str, ...], float]
    norms: list[float]
    bigrams: int


def vector(ngrams: Counter, rarity: Callable[[tuple[str, ...]], float]) -> Vector:
    """The vector of a caption's n-grams, each of which weighs as much as it is rare."""
    weights = {ngram: n * rarity(ngram) for ngram, n in ngrams.items()}
    squares = [0.0] * LONGEST
    for ngram, weight in weights.items():
        squares[len(ngram) - 1] += weight**2
    bigrams = sum(n for ngram, n in ngrams.items() if len(ngram) == 2)
    return Vector(weights, list(map(math.sqrt, squares)), bigrams)


def similarity(caption: Vector, reference: Vector) -> float:
    """CIDEr-D of a caption by one reference, 0 to 10."""
    products = [0.0] * LONGEST
    # Clipped at the reference's weight: saying a word twice gains nothing.
    for ngram, weight in caption.weights.items():
        theirs = reference.weights.get(ngram, 0.0)
        products[len(ngram) - 1] += min(weight, theirs) * theirs
    cosine = sum(
        product / (ours * theirs)
        for product, ours, theirs in zip(products, caption.norms, reference.norms, strict=True)
        if ours and theirs
    )
    too_long = caption.bigrams - reference.bigrams
    return 10 * cosine * math.exp(-(too_long**2) / (2 * SIGMA**2)) / LONGEST


def count_ngrams(words: Sequence[str]) -> Counter:
    """How often each n-gram of up to four words is in a tokenised caption."""
    return Counter(
        tuple(words[first : first + n])
        for n in range(1, LONGEST + 1)
        for first in range(len(words) - n + 1)
    )
