"""The table of metrics beside the COCO toolkit's own: what a new one needs is an entry here."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

Texts = Mapping[str, Sequence[str]]  # captions of each image, by `image_id`


class Metric(NamedTuple):
    """A column of the table that `evaluate.py` prints, and a key of what it writes as JSON.

    Args:
        form: how a value is printed, as `format` takes it; `d`: it is a count.
        value: from references and captions, one an image, to a number; both are in the toolkit's
            tokens, with single spaces between.
    """

    heading: str
    form: str
    value: Callable[[Texts, Texts], float]


def _words(captions: Texts) -> list[list[str]]:
    return [text.split() for [text] in captions.values()]


def distinct(references: Texts, captions: Texts) -> int:
    """How many different captions."""
    return len({text for [text] in captions.values()})


def mean_length(references: Texts, captions: Texts) -> float:
    """Words a caption."""
    return sum(map(len, _words(captions))) / len(captions)


def repeated_bigram(references: Texts, captions: Texts) -> float:
    """The share of captions that have any pair of words twice."""
    repeated = [len(set(pairwise(words))) < len(words) - 1 for words in _words(captions)]
    return sum(repeated) / len(captions)


def vocabulary(references: Texts, captions: Texts) -> int:
    """Different words in all captions together."""
    return len({word for words in _words(captions) for word in words})


METRICS = {
    "distinct": Metric("distinct", "d", distinct),
    "mean_length": Metric("words", ".1f", mean_length),
    "repeated_bigram": Metric("repeats", ".1%", repeated_bigram),
    "vocabulary": Metric("vocab.", "d", vocabulary),
}
