"""Captions as csv: which column holds what is said by the first line."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from captioning.cli import UserError

# What columns are called.
NAMES = ("image", "images", "image_name", "filename", "file_name", "file", "image_path", "path",
         "image_file", "name", "image_id", "id")  # fmt: skip
SPLITS = ("split", "set", "subset", "partition")
_CAPTION = re.compile(r"(?:captions?|comments?|sentences?|descriptions?|text)(?:[ _#-]?\d+)?")


class Header(NamedTuple):
    """Where a table of captions has what."""

    delimiter: str
    columns: list[str]
    name: int
    captions: list[int]  # several, where a row has all captions of its picture


def header_of(first: str) -> Header | None:
    """The header that the first line of a captions file is, if it is one."""
    for delimiter in ("\t", ",", ";", "|"):
        columns = [cell.strip().strip('"').lower() for cell in first.split(delimiter)]
        name = next((columns.index(heading) for heading in NAMES if heading in columns), None)
        captions = [n for n, column in enumerate(columns) if _CAPTION.fullmatch(column)]
        if len(columns) > 1 and name is not None and captions:
            return Header(delimiter, columns, name, captions)
    return None


def rows(path: Path, text: str, header: Header) -> Iterator[tuple[str, str]]:
    """(file name, caption) of each caption of a table, whose first line is its `header`.

    An unquoted caption in the last column may hold the delimiter itself.

    Raises:
        UserError: a row has more or fewer columns than the first line names, or no file name.
    """
    last = len(header.columns) - 1
    open_end = header.captions == [last]
    text = re.sub(r"(?:[^\S\n]*\n)*[ \r]*", "", text, count=1)  # blank lines before the header
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=header.delimiter, strict=True)
    try:
        next(reader)
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) > last + 1 and open_end:
                row[last:] = [header.delimiter.join(row[last:])]
            if len(row) != last + 1:
                raise UserError(
                    f"{path}: line {reader.line_num} has {len(row)} columns, and the first line "
                    f"names {last + 1} ({', '.join(header.columns):.100}); put a caption that has "
                    f"a '{header.delimiter}' in it in quotes"
                )
            if not row[header.name].strip():
                raise UserError(f"{path}: line {reader.line_num} has no file name and caption")
            for column in header.captions:
                if len(header.captions) == 1 or row[column].strip():
                    yield row[header.name].strip(), row[column]
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num}: {error}") from error
