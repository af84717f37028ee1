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
from captioning.datasets.records import CAPTION_KEYS, FILE_KEYS, of_records

# Without a column of files, what else may call pictures.
_NAMES = ("name", "image_id", "id")
_CAPTION = re.compile(rf"({'|'.join(CAPTION_KEYS)}|descriptions)(?:[ _#-]?\d+)?")
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
        rows = _rows(path, content, delimiter, columns)
        if not set(FILE_KEYS).isdisjoint(columns):
            return of_records(path, "csv", rows, [])
        if not set(_NAMES).isdisjoint(columns):
            return of_records(path, "csv", rows, _NAMES)
    return None


def _rows(
    path: Path, text: str, delimiter: str, columns: list[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row below the header; an unquoted caption in the last column may hold the delimiter."""
    # Of `caption, caption 2, comment` the first kind counts: a comment may be a note.
    kinds = [match and match[1].rstrip("s") for match in map(_CAPTION.fullmatch, columns)]
    kind = next((key for key in CAPTION_KEYS if key.rstrip("s") in kinds), "").rstrip("s")
    captions = [number for number, found in enumerate(kinds) if found and found == kind]
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
            where = f"{path}: line {reader.line_num}"
            if captions == [width - 1] and len(row) > width:
                row = [*row[: width - 1], delimiter.join(row[width - 1 :])]
            if len(row) != width:
                raise UserError(
                    f"{where} has {len(row)} columns, and the first line names {width} "
                    f"({', '.join(columns):.100}); put a caption that has a '{delimiter}' in it in "
                    "quotes"
                )
            texts = [row[number] for number in captions]
            filled_texts = [text for text in texts if text.strip() or len(texts) == 1]
            # Under the first of `CAPTION_KEYS`, which goes before what other columns are called.
            yield where, {**dict(zip(columns, row, strict=True)), CAPTION_KEYS[0]: filled_texts}
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num}: {error}") from error
