"""The one form that every data set is read into, and how a picture is called in it."""

import json
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from captioning.cli import UserError
from captioning.images.names import distinct_ids


class Dataset(NamedTuple):
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


def collect(path: Path, name: str, rows: Iterable[tuple[str, str]]) -> Dataset:
    """A `Dataset` from rows of (file name, caption), for files that know no splits.

    Raises:
        UserError: a row names no picture, or two pictures cannot be told apart.
    """
    by_file: dict[str, list[str]] = {}
    for number, (file, caption) in enumerate(rows, start=1):
        if not file.strip("/\\ \t"):
            raise UserError(f"{path}: caption {number} belongs to no picture ({file!r})")
        by_file.setdefault(file, []).append(caption)
    ids = distinct_ids(by_file, path)
    captions = {ids[file]: texts for file, texts in by_file.items()}
    return Dataset(name, captions, {image_id: file for file, image_id in ids.items()}, {}, {})


def read_text(path: Path, what: str) -> str:
    """A UTF-8 text file (with or without byte order mark), or a one-line `UserError`."""
    return "".join(text_lines(path, what))


def text_lines(path: Path, what: str) -> Iterator[str]:
    """The lines of such a file, one after the other, each with its end."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            yield from file
    except UnicodeDecodeError as error:
        with open(path, "rb") as file:
            kind = kind_of(file.read(8))
        raise UserError(f"{path}: the {what} is not UTF-8 text, but {kind}") from error


def kind_of(beginning: bytes) -> str:
    """What a file that is no text is, by how it begins, and what to do about it."""
    kinds = {
        b"PK\x03\x04": "a zip archive or a spreadsheet; unpack it, or save it as csv",
        b"\x1f\x8b": "compressed by gzip; unpack it", b"BZ": "compressed by bzip2; unpack it",
        b"\xfd7zXZ": "compressed by xz; unpack it", b"\x89HDF": "an HDF5 file",
        b"\xd0\xcf\x11\xe0": "a spreadsheet or document; save it as csv", b"%PDF": "a PDF",
        b"\xff\xd8\xff": "a picture", b"\x89PNG": "a picture", b"SQLite": "a database",
        b"\xff\xfe": "UTF-16; save it as UTF-8", b"\xfe\xff": "UTF-16; save it as UTF-8",
        b"PAR1": "a Parquet file; save it as csv", b"\x80": "a pickle, perhaps",
    }  # fmt: skip
    found = (told for start, told in kinds.items() if beginning.startswith(start))
    return next(found, "of another encoding, perhaps, or no text at all; save it as UTF-8")


def parse_json(path: Path, text: str, used: Collection[str] | None = None) -> dict[str, Any] | list:
    """The object or list that a JSON file holds, of objects only the keys that are `used`.

    The rest (addresses, licences, outlines of objects) is dropped while the file is parsed, so
    that it never lies in memory as a whole.

    Raises:
        UserError: not JSON, or neither.
    """
    try:
        keys = frozenset(used or ())
        hook = (lambda d: {key: d[key] for key in d.keys() & keys}) if keys else None
        content = json.loads(text, object_hook=hook)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is damaged JSON ({error})") from error
    if not isinstance(content, dict | list):
        raise UserError(f"{path}: holds no JSON object or list")
    return content


def entries(path: Path, content: Any, key: str) -> list:
    """`content[key]`, which must be a list; see `field`."""
    return field(path, content, key, list, "the file")


def field(path: Path, entry: Any, key: str, kind: type, where: str) -> Any:
    """`entry[key]` of a JSON object, which must be of this very type.

    Raises:
        UserError: `entry` is no object, lacks the key or has another type there.
    """
    value = entry.get(key) if isinstance(entry, dict) else None
    if type(value) is not kind:
        raise UserError(f"{path}: {where} has no '{key}' of type {kind.__name__}")
    return whole(value) if kind is str else value


def whole(text: str) -> str:
    """Text without halves of characters, which JSON can spell and no text file can hold."""
    return text.encode("utf-8", "replace").decode()
