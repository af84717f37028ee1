"""The table of metrics beside the COCO toolkit's own: what a new one needs is an entry here."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from captioning.evaluation.bleu import statistics

Texts = Mapping[str, Sequence[str]]  # tokenised captions of each image, by `image_id`


class Metric(NamedTuple):
    """A column of the table that `evaluate.py` prints, and a key of what it writes as JSON.

    Args:
        heading: of the column.
        form: how a value is printed, as `format` takes it.
        value: from references and captions to a number. Of captions, each image has one. Both
            are in the toolkit's tokens, with single spaces between.
    """

    heading: str
    form: str
    value: Callable[[Texts, Texts], float]


def _statistic(name: str) -> Callable[[Texts, Texts], float]:
    """One of `bleu.statistics`, which look at the captions only."""
    return lambda references, captions: statistics([text for [text] in captions.values()])[name]


METRICS = {
    "distinct": Metric("distinct", "d", _statistic("distinct")),
    "mean_length": Metric("words", ".1f", _statistic("mean_length")),
    "repeated_bigram": Metric("repeats", ".1%", _statistic("repeated_bigram")),
    "vocabulary": Metric("vocabulary", "d", _statistic("vocabulary")),
}
