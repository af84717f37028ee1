"""Tables of captions: Flickr8k's and Flickr30k's token files, their csv files, and any csv.

A token file has `name.jpg#0<TAB>caption` in each line. In any other table the first line names the
columns, and a tab, a comma, a semicolon or a bar stands between them.
"""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from captioning.cli import UserError
from captioning.datasets.captions import Captions, collect

KNOWN = (
    "Flickr8k.token.txt ('name.jpg#0<TAB>caption' a line) and csv such as Kaggle's captions.txt "
    "('image,caption' in the first line) or Flickr30k's results.csv"
)
# What columns are called.
NAMES = (
    "image images image_name filename file_name file image_path path image_file name image_id id"
).split()
_CAPTION = re.compile(r"(?:captions?|comments?|sentences?|descriptions?|text)(?:[ _#-]?\d+)?")
_TOKEN_LINE = re.compile(r"(?P<name>[^\t]+)#\d+\t(?P<caption>.*)")
_FLICKR30K = ["image_name", "comment_number", "comment"]
# The second bar is missing in one row: "2199200615.jpg| 4   A dog runs across the grass ."
_MISSING_BAR = re.compile(r"^([^|\n]+\|\s*\d+)[ \t]{2,}(?=[^|\s])", re.MULTILINE)


def read(path: Path, content: Any) -> Captions | None:
    """The captions of every picture, and its split if there is a column `split`; None: no table.

    Raises:
        UserError: a line has another form than the first.
    """
    if not isinstance(content, str):
        return None
    by_file: dict[str, list[str]] = {}
    first = next((line for line in io.StringIO(content) if line.strip()), "").strip(" \n")
    if _TOKEN_LINE.fullmatch(first):
        for number, line in enumerate(content.split("\n"), start=1):
            if match := _TOKEN_LINE.fullmatch(line):
                by_file.setdefault(match["name"], []).append(match["caption"])
            elif line.strip():
                raise UserError(f"{path}: line {number} is not 'name.jpg#0<TAB>caption'")
        return collect(path, "token file", by_file)

    for delimiter in "\t,;|":
        columns = [cell.strip().strip('"').lower() for cell in first.split(delimiter)]
        heading = next((heading for heading in NAMES if heading in columns), None)
        if heading:
            break
    else:
        return None
    captions = [n for n, column in enumerate(columns) if _CAPTION.fullmatch(column)]
    split_of: dict[str, str] = {}
    for row in _rows(path, content, delimiter, columns, open_end=captions == [len(columns) - 1]):
        file = row[columns.index(heading)].strip()
        if not file:
            raise UserError(f"{path}: a row has no file name: {delimiter.join(row):.100}")
        texts = [row[column].strip() for column in captions]
        kept = [text for text in texts if text or len(texts) == 1]
        by_file.setdefault(file, []).extend(kept)
        if "split" in columns:
            split_of[file] = row[columns.index("split")].strip()
    return collect(path, "csv", by_file, split_of)


def _rows(
    path: Path, text: str, delimiter: str, columns: list[str], open_end: bool
) -> Iterator[list[str]]:
    """The cells of each row below the header; with an open end the last may hold the delimiter."""
    quoting = csv.QUOTE_MINIMAL
    if columns == _FLICKR30K and delimiter == "|":
        text, quoting = _MISSING_BAR.sub(r"\1|", text), csv.QUOTE_NONE
    file = io.StringIO(text, newline="")
    reader = csv.reader(file, delimiter=delimiter, quoting=quoting, strict=True)
    filled = (row for row in reader if any(cell.strip() for cell in row))
    width = len(columns)
    try:
        next(filled)
        for row in filled:
            if open_end and len(row) > width:
                row = [*row[: width - 1], delimiter.join(row[width - 1 :])]
            if len(row) != width:
                raise UserError(
                    f"{path}: line {reader.line_num} has {len(row)} columns, and the first line "
                    f"names {width} ({', '.join(columns):.100}); put a caption that has a "
                    f"'{delimiter}' in it in quotes"
                )
            yield row
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num}: {error}") from error
