"""Flickr30k: `results.csv` as Kaggle gives it out, and the authors' `results_20130124.token`."""

import re
from collections.abc import Iterator
from pathlib import Path

from captioning.cli import UserError
from captioning.datasets import flickr8k, tables
from captioning.datasets.form import Dataset, collect

CONTENT = str
USED: set[str] = set()
KNOWN = (
    "Flickr30k's results.csv ('image_name| comment_number| comment' in the first line, with '|' "
    "or commas) and results_20130124.token"
)
_HEADER = re.compile(r"image_name\s*([|,])\s*comment_number\s*\1\s*comment\s*")
# Its names are numbers. Flickr8k's have a second part: 1000268201_693b08cb0e.jpg.
_TOKEN_LINE = re.compile(r"\d+\.jpg#\d+\t.*")
# The second '|' is missing in one row: "2199200615.jpg| 4   A dog runs across the grass ."
_ROW = re.compile(r"(?P<name>[^|]+)\|\s*\d+(?:\s*\||\s{2,})\s*(?P<caption>.*?)\s*")


def matches(text: str) -> bool:
    """Whether the first line is one of this data set's files'."""
    first = flickr8k.first_line(text)
    return bool(_HEADER.fullmatch(first) or _TOKEN_LINE.fullmatch(first))


def read(path: Path, text: str) -> Dataset:
    """The captions. The data set has no splits of its own; Karpathy's are the usual ones.

    Raises:
        UserError: a line has another form.
    """
    header = _HEADER.fullmatch(flickr8k.first_line(text))
    if header is None:
        rows = flickr8k.token_rows(path, text)
    elif header[1] == ",":
        rows = tables.rows(path, text, tables.header_of(header[0]))
    else:
        rows = _bar_rows(path, text)
    return collect(path, "Flickr30k", rows)


def _bar_rows(path: Path, text: str) -> Iterator[tuple[str, str]]:
    lines = enumerate(text.split("\n"), start=1)
    filled = ((number, line) for number, line in lines if line.strip())
    next(filled)
    for number, line in filled:
        match = _ROW.fullmatch(line)
        if not match:
            raise UserError(f"{path}: line {number} is not 'name.jpg| number| caption'")
        yield match["name"].strip(), match["caption"]
