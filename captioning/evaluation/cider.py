"""CIDEr-D of one caption after the other, quick enough to be a reward in training.

Vedantam et al., "CIDEr: consensus-based image description evaluation" (arXiv 1411.5726). Figures
that are reported come from the COCO toolkit (`coco_toolkit.py`); that these are equal is a test.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
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


class CiderD:
    """Tokenised references by image, and how rare their n-grams are among the images."""

    def __init__(self, references: Mapping[str, Sequence[Sequence[str]]]) -> None:
        images_with = Counter()
        for texts in references.values():
            images_with.update({ngram for words in texts for ngram in count_ngrams(words)})
        self._most = math.log(len(references))
        self._rarities = {ngram: self._most - math.log(n) for ngram, n in images_with.items()}
        self._references = references
        # Of the image that was scored last: those of all would take 36 kB an image.
        self._image, self._vectors = None, []

    def score(self, image_id: str, caption: Sequence[str]) -> float:
        """CIDEr-D of a tokenised caption of an image, 0 to 10; people get 0.8 or so on Flickr8k."""
        ours = vector(count_ngrams(caption), self._rarity)
        if image_id != self._image:
            texts = self._references[image_id]
            self._vectors = [vector(count_ngrams(words), self._rarity) for words in texts]
            self._image = image_id
        return sum(similarity(ours, theirs) for theirs in self._vectors) / len(self._vectors)

    def _rarity(self, ngram: tuple[str, ...]) -> float:
        return self._rarities.get(ngram, self._most)
