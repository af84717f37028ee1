import math
from collections import Counter

import numpy as np
import pytest

from captioning.evaluation.cider import count_ngrams, similarities

WORDS = "a the dog cat runs sits on grass snow red".split()


def test_the_mean_likeness_to_references_is_the_cider_of_the_coco_toolkit():
    toolkit = pytest.importorskip("pycocoevalcap.cider.cider", reason="pycocoevalcap is missing")
    random = np.random.default_rng(0)
    ids = [f"image{number}" for number in range(40)]
    sentences = {
        image_id: [random.choice(WORDS, random.integers(1, 12)).tolist() for _ in range(6)]
        for image_id in ids
    }
    references = {image_id: texts[1:] for image_id, texts in sentences.items()}
    images_with = Counter()
    for texts in references.values():
        images_with.update({ngram for words in texts for ngram in count_ngrams(words)})

    def rarity(ngram) -> float:
        return math.log(len(references)) - math.log(max(1, images_with[ngram]))

    scores = [similarities(texts[:1], texts[1:], rarity).mean() for texts in sentences.values()]

    _, expected = toolkit.Cider().compute_score(
        {image_id: [" ".join(words) for words in texts] for image_id, texts in references.items()},
        {image_id: [" ".join(texts[0])] for image_id, texts in sentences.items()},
    )
    np.testing.assert_allclose(scores, expected, rtol=1e-9)
