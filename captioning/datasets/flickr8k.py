"""Flickr8k: its token file, and Kaggle's csv of the same captions."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from captioning.cli import UserError
from captioning.datasets.form import Dataset, collect

CONTENT = str
KNOWN = (
    "Flickr8k's Flickr8k.token.txt ('name.jpg#0<TAB>caption' a line) and "
    "Kaggle's captions.txt ('image,caption' in the first line, then name.jpg,caption as csv)"
)
TOKEN_LINE = re.compile(r"(?P<name>[^\t]+)#\d+\t(?P<caption>.*)")


def first_line(text: str) -> str:
    """The first line that is not blank."""
    return re.match(r"\s*([^\n]*)", text)[1]


def matches(text: str) -> bool:
    """Whether the first line is one of this data set's files'."""
    first = first_line(text)
    return _is_csv(first) or TOKEN_LINE.fullmatch(first) is not None


def read(path: Path, text: str) -> Dataset:
    """The captions; splits are in files of their own.

    Raises:
        UserError: a line has another form.
    """
    rows = csv_rows(path, text, 1) if _is_csv(first_line(text)) else token_rows(path, text)
    return collect(path, "Flickr8k", rows)


def _is_csv(first: str) -> bool:
    return [field.strip().lower() for field in first.split(",")[:2]] == ["image", "caption"]


def token_rows(path: Path, text: str) -> Iterator[tuple[str, str]]:
    """(file name, caption) of each `name.jpg#0<TAB>caption`."""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        match = TOKEN_LINE.fullmatch(line)
        if not match:
            raise UserError(f"{path}: line {number} is not 'name.jpg#0<TAB>caption'")
        yield match["name"], match["caption"]


def csv_rows(path: Path, text: str, caption: int) -> Iterator[tuple[str, str]]:
    """(file name, caption) of a csv file after its first line, the caption from that column on.

    An unquoted caption may hold commas itself: what follows the columns before it is one caption.
    """
    reader = csv.reader(io.StringIO(text.lstrip(), newline=""), strict=True)
    try:
        next(reader)
        for row in reader:
            if not row:
                continue
            if len(row) <= caption or not row[0].strip():
                raise UserError(f"{path}: line {reader.line_num} has no file name and caption")
            yield row[0].strip(), ",".join(row[caption:])
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num}: {error}") from error
