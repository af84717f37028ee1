"""The one value that every captions file is read into."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from captioning.cli import UserError
from captioning.files import existing_file
from captioning.images.names import distinct_ids


class Captions(NamedTuple):
    """Captions, pictures and splits of a data set, all by `image_id`.

    Attributes:
        name: the data set's, with the file that it was read from, to be printed.
        captions: raw captions in the order of the file.
        files: the picture's file name as the data set spells it, with or without a folder.
        splits: ids by the name of the split; empty if the file has no splits.
        numbers: the integer ids of a COCO file, for its results format; else empty.
    """

    name: str
    captions: dict[str, list[str]]
    files: dict[str, str]
    splits: dict[str, list[str]]
    numbers: dict[str, int]


def collect(
    path: Path,
    name: str,
    by_file: Mapping[str, list[str]],
    split_of: Mapping[str, str] | None = None,
    numbers: Mapping[str, int] | None = None,
) -> Captions:
    """`Captions` from all captions of each picture's file, and its split and number, if any."""
    if any(not file.strip("/\\ \t") for file in by_file):
        raise UserError(f"{path}: has a caption that belongs to no picture")
    ids = distinct_ids(by_file, path)
    splits: dict[str, list[str]] = {}
    for file, split in (split_of or {}).items():
        splits.setdefault(split, []).append(ids[file])
    captions = {ids[file]: texts for file, texts in by_file.items() if texts}
    files = {image_id: file for file, image_id in ids.items()}
    numbers = {ids[file]: number for file, number in (numbers or {}).items()}
    return Captions(name, captions, files, splits, numbers)


def read_text(path: str | Path, what: str, hint: str = "") -> str:
    """The text of a UTF-8 file, with or without byte order mark, or a `UserError`."""
    try:
        return existing_file(path, what, hint).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: the {what} is not UTF-8 text; save a spreadsheet as csv, unpack an archive, "
            "and save other encodings as UTF-8"
        ) from error
