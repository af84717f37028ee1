import importlib.util

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


@pytest.mark.skipif(
    importlib.util.find_spec("pycocoevalcap") is None, reason="the COCO toolkit is not installed"
)
def test_scores_are_those_of_the_coco_toolkit(captions):
    from pycocoevalcap.cider.cider import Cider

    references, found = captions
    _, expected = Cider().compute_score(
        {one: [" ".join(words) for words in texts] for one, texts in references.items()},
        {one: [" ".join(words)] for one, words in found.items()},
    )
    scorer = CiderD(references)
    scores = [scorer.score(one, words) for one, words in found.items()]
    np.testing.assert_allclose(scores, expected, rtol=1e-9)


def test_a_caption_that_is_the_only_reference_gets_ten():
    scorer = CiderD({"a": ["red dog runs fast".split()], "b": ["a cat sits still".split()]})
    assert scorer.score("a", "red dog runs fast".split()) == pytest.approx(10)
    assert scorer.score("a", "a cat sits still".split()) == 0


def test_words_that_every_image_has_count_nothing():
    scorer = CiderD({"a": [["a", "dog"]], "b": [["a", "cat"]]})
    assert scorer.score("a", ["a"]) == 0


def test_a_word_said_twice_gains_nothing():
    scorer = CiderD({"a": [["a", "dog"]], "b": [["a", "cat"]]})
    assert scorer.score("a", ["dog", "dog"]) < scorer.score("a", ["a", "dog"])


def test_scores_do_not_depend_on_the_order_of_images(captions):
    references, found = captions
    scorer = CiderD(references)
    again = [scorer.score(one, words) for one, words in found.items() for _ in range(2)][::2]

    in_turns = [CiderD(references).score(one, words) for one, words in found.items()]

    assert in_turns == again
