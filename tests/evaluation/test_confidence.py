"""How sure a captioner is, and how often it is right then."""

import math

import pytest

from captioning.evaluation.confidence import calibration, confidence, reliability


def test_confidence_is_the_geometric_mean_of_the_probabilities_of_words_and_end():
    probabilities = [0.5, 0.9, 0.2, 0.8]  # a, red, dog, the end
    assert confidence("a red dog", math.log(math.prod(probabilities))) == pytest.approx(
        math.prod(probabilities) ** (1 / 4), abs=0.005
    )


def test_calibration_counts_the_good_among_those_marked_and_among_the_others():
    confidences, scores = [0.31, 0.32, 0.41, 0.42], [0.1, 0.7, 0.6, 0.8]

    rows = [line.split() for line in calibration(confidences, scores, good=0.6).splitlines()]

    assert rows[1:] == [
        ["0.00", "4", "50.0%"],  # the score 0.6 itself is not above
        ["0.35", "2", "50.0%", "50.0%"],
        ["0.40", "2", "50.0%", "50.0%"],
    ]


def test_reliability_is_the_share_of_good_captions_of_each_twentieth():
    confidences, scores = [0.31, 0.30, 0.34, 0.95, 1.0], [0.1, 0.7, 0.8, 0.9, 0.9]

    middles, shares = reliability(confidences, scores, good=0.6)

    assert middles == [0.325, 0.975]
    assert shares == pytest.approx([2 / 3, 1.0])
