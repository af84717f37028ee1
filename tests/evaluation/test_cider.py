import numpy as np
import pytest

from captioning.evaluation.cider import CiderD

WORDS = "a the dog cat runs sits on grass snow red".split()


@pytest.fixture
def captions() -> tuple[dict, dict]:
    """Five references and a caption of 40 images."""
    random = np.random.default_rng(0)

    def sentence() -> list[str]:
        return random.choice(WORDS, random.integers(1, 12)).tolist()

    ids = [f"image{number}" for number in range(40)]
    return {one: [sentence() for _ in range(5)] for one in ids}, {one: sentence() for one in ids}


def test_scores_are_those_of_the_coco_toolkit(captions):
    toolkit = pytest.importorskip("pycocoevalcap.cider.cider", reason="pycocoevalcap is missing")
    references, found = captions
    _, expected = toolkit.Cider().compute_score(
        {one: [" ".join(words) for words in texts] for one, texts in references.items()},
        {one: [" ".join(words)] for one, words in found.items()},
    )
    scorer = CiderD(references)
    scores = [scorer.score(one, words) for one, words in found.items()]
    np.testing.assert_allclose(scores, expected, rtol=1e-9)


def test_scores_do_not_depend_on_the_order_of_images(captions):
    references, found = captions
    scorer = CiderD(references)
    again = [scorer.score(one, words) for one, words in found.items() for _ in range(2)][::2]

    in_turns = [CiderD(references).score(one, words) for one, words in found.items()]

    assert in_turns == again
