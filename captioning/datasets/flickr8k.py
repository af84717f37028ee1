"""Flickr8k: its token file, and Kaggle's csv of the same captions, or anybody's own."""

import re
from collections.abc import Iterator
from pathlib import Path

from captioning.cli import UserError
from captioning.datasets import tables
from captioning.datasets.form import Dataset, collect

CONTENT = str
USED: set[str] = set()
KNOWN = (
    "Flickr8k's Flickr8k.token.txt ('name.jpg#0<TAB>caption' a line) and "
    "csv such as Kaggle's captions.txt ('image,caption' in the first line, then name.jpg,caption)"
)
TOKEN_LINE = re.compile(r"(?P<name>[^\t]+)#\d+\t(?P<caption>.*)")


def first_line(text: str) -> str:
    """The first line that is not blank, whose tabs may stand for a column without a name."""
    return re.match(r"(?:[^\S\n]*\n)*([^\n]*)", text)[1].strip(" \r")


def matches(text: str) -> bool:
    """Whether the first line is one of this data set's files'."""
    first = first_line(text)
    return tables.header_of(first) is not None or TOKEN_LINE.fullmatch(first) is not None


def read(path: Path, text: str) -> Dataset:
    """The captions; splits are in files of their own.

    Raises:
        UserError: a line has another form.
    """
    header = tables.header_of(first_line(text))
    if header is None:
        return collect(path, "Flickr8k", token_rows(path, text))
    # Kaggle's file has these two columns; others are of data sets of anybody's own.
    kaggle = header.columns == ["image", "caption"]
    return collect(path, "Flickr8k" if kaggle else "csv", tables.rows(path, text, header))


def token_rows(path: Path, text: str) -> Iterator[tuple[str, str]]:
    """(file name, caption) of each `name.jpg#0<TAB>caption`."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        match = TOKEN_LINE.fullmatch(line)
        if not match:
            raise UserError(f"{path}: line {number} is not 'name.jpg#0<TAB>caption'")
        yield match["name"], match["caption"]
