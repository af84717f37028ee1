"""Readers of the data sets' own files: captions, splits, and the pictures they belong to."""

import csv
import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from captioning.cli import UserError

KNOWN_FORMATS = (
    "Flickr8k's Flickr8k.token.txt ('name.jpg#0<TAB>caption' a line) and "
    "Kaggle's captions.txt ('image,caption' in the first line, then name.jpg,caption as csv)"
)
_TOKEN_LINE = re.compile(r"(?P<name>[^\t]+)#\d+\t(?P<caption>.*)")


def image_id(name: str) -> str:
    """The file name up to its first dot: how every file of the pipeline names a picture."""
    return name.replace("\\", "/").rsplit("/", 1)[-1].split(".", 1)[0]


def read_text(path: Path, what: str) -> str:
    """A UTF-8 text file (with or without byte order mark), or a one-line `UserError`."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: the {what} is not UTF-8 text") from error


def read_captions(path: str | Path) -> dict[str, list[str]]:
    """Raw captions by `image_id`, in the order of the file.

    Read are Flickr8k's token file and Kaggle's `captions.txt`, told apart by their first line.

    Raises:
        UserError: the file is in neither format, or a line of it is not.
    """
    path = Path(path)
    text = read_text(path, "captions file")
    first = text.lstrip("\n").split("\n", 1)[0].rstrip("\r")
    if [field.strip().lower() for field in first.split(",")[:2]] == ["image", "caption"]:
        rows = _csv_rows(path, text)
    elif _TOKEN_LINE.fullmatch(first):
        rows = _token_rows(path, text)
    else:
        raise UserError(f"{path}: not a captions file of a known format; known: {KNOWN_FORMATS}")
    captions: dict[str, list[str]] = {}
    for name, caption in rows:
        captions.setdefault(image_id(name), []).append(caption)
    if not captions:
        raise UserError(f"{path}: holds no caption")
    return captions


def _token_rows(path: Path, text: str) -> Iterable[tuple[str, str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.rstrip("\r")
        if not line.strip():
            continue
        match = _TOKEN_LINE.fullmatch(line)
        if not match:
            raise UserError(f"{path}: line {number} is not 'name.jpg#0<TAB>caption'")
        yield match["name"], match["caption"]


def _csv_rows(path: Path, text: str) -> Iterable[tuple[str, str]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        next(reader)
        for row in reader:
            if not row:
                continue
            if len(row) < 2 or not row[0].strip():
                raise UserError(f"{path}: line {reader.line_num} is not 'name.jpg,caption'")
            # An unquoted caption may hold commas itself: what follows the name is one caption.
            yield row[0].strip(), ",".join(row[1:])
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num}: {error}") from error


def read_split(path: str | Path) -> list[str]:
    """The `image_id`s that a split file names, one file name or id a line, without repeats."""
    path = Path(path)
    names = (line.strip() for line in read_text(path, "split file").splitlines())
    ids = list(dict.fromkeys(image_id(name) for name in names if name))
    if not ids:
        raise UserError(f"{path}: the split file names no image")
    return ids


def select(ids: Iterable[str], *, split: str | Path, **sources: Mapping) -> list[str]:
    """The ids of a split that every source (features, descriptions, ...) knows.

    Raises:
        UserError: there is none: the split belongs to other data.
    """
    ids = list(ids)
    for name, source in sources.items():
        ids = [one for one in ids if one in source]
        if not ids:
            raise UserError(
                f"{split}: none of the images that this split names is in the {name}; "
                "do they belong to the same data set?"
            )
    return ids
