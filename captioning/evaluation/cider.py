"""CIDEr-D of one caption after the other, quick enough to be a reward in training.

Vedantam et al., "CIDEr: consensus-based image description evaluation" (arXiv 1411.5726). Figures
that are reported come from the COCO toolkit (`coco_toolkit.py`); that these are equal is a test.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence

LONGEST = 4  # words in an n-gram
SIGMA = 6.0  # words by which lengths may differ, about


class CiderD:
    """References by image, and how rare their n-grams are among the images.

    Args:
        references: tokenised captions of every image.
    """

    def __init__(self, references: Mapping[str, Sequence[Sequence[str]]]) -> None:
        counted = {
            image_id: [_ngrams(words) for words in texts] for image_id, texts in references.items()
        }
        images_with = Counter()
        for texts in counted.values():
            images_with.update({ngram for ngrams in texts for ngram in ngrams})
        self._most = math.log(len(counted))
        self._rarity = {ngram: self._most - math.log(n) for ngram, n in images_with.items()}
        self._vectors = {
            image_id: [self._vector(t) for t in texts] for image_id, texts in counted.items()
        }

    def score(self, image_id: str, caption: Sequence[str]) -> float:
        """CIDEr-D of a tokenised caption of an image, 0 to 10; people get 0.8 or so on Flickr8k."""
        weights, norms, length = self._vector(_ngrams(caption))
        total = 0.0
        vectors = self._vectors[image_id]
        for other, other_norms, other_length in vectors:
            products = [0.0] * LONGEST
            # Clipped at the reference's weight: saying a word twice gains nothing.
            for ngram, weight in weights.items():
                theirs = other.get(ngram)
                if theirs:
                    products[len(ngram) - 1] += min(weight, theirs) * theirs
            cosine = sum(
                product / (ours * theirs)
                for product, ours, theirs in zip(products, norms, other_norms, strict=True)
                if ours and theirs
            )
            total += cosine * math.exp(-((length - other_length) ** 2) / (2 * SIGMA**2))
        return 10 * total / (LONGEST * len(vectors))

    def _vector(self, ngrams: Counter) -> tuple[dict[tuple, float], list[float], int]:
        """Weights of n-grams, their norm for each n, and the length, which is that of bigrams."""
        weights = {ngram: n * self._rarity.get(ngram, self._most) for ngram, n in ngrams.items()}
        squares = [0.0] * LONGEST
        for ngram, weight in weights.items():
            squares[len(ngram) - 1] += weight**2
        length = sum(n for ngram, n in ngrams.items() if len(ngram) == 2)
        return weights, [math.sqrt(square) for square in squares], length


def _ngrams(words: Sequence[str]) -> Counter:
    return Counter(
        tuple(words[first : first + n])
        for n in range(1, LONGEST + 1)
        for first in range(len(words) - n + 1)
    )
