"""Splits: which pictures train, which judge; named in files of many kinds, or drawn."""

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from captioning.cli import UserError
from captioning.datasets.form import parse_json, read_text
from captioning.datasets.reading import USED, read_dataset, reader_of
from captioning.datasets.tables import NAMES, SPLITS
from captioning.files import existing_file
from captioning.images.names import has_suffix, known_id, path_id

_DRAWN = ("train", "dev", "test")
_JSON = re.compile(r"\s*(?:\{|\[\s*[\[{\"])")  # how it begins, where it is nothing else


def read_split(split: str | Path, ids: Iterable[str] = (), *, seed: int = 0) -> list[str]:
    """The pictures of a split, without repeats.

    `split` is a text file of names, one or several a line, with or without suffix and folder; a
    csv with a column of names; JSON: a list of names or a dictionary of such; a captions file, for
    all its pictures. Where a file holds several splits, `FILE:val` says which. `train`, `dev` or
    `test` are drawn from `ids` (80, 10 and 10%), and `FILE:train` from the pictures of a captions
    file without splits. What is drawn follows from `seed` and the id alone, so that it stays the
    same whichever other images there are.

    Names are given as the ids that they mean, where those are among `ids`; else with all folders
    that the file has before them.

    Raises:
        UserError: no such file or split, it names no picture, or is of a form that is not known.
    """
    known = dict.fromkeys(ids)
    path, _, name = str(split).rpartition(":")
    if Path(split).is_file() or not (name and Path(path).is_file()):
        path, name = str(split), ""
    if is_drawn(path) and known:
        found = [image_id for image_id in known if _drawn(image_id, seed) == path]
    else:
        file = existing_file(path, "split file", "see data/README.md")
        names = (given.strip() for given in _names_in(file, name, known, seed))
        paths = (path_id(given) for given in names if given)
        found = list(dict.fromkeys(known_id(path_id_, known) or path_id_ for path_id_ in paths))
    if not found:
        raise UserError(f"{split}: the split names no image")
    return found


def is_drawn(split: str | Path) -> bool:
    """Whether a split is drawn from all images, because there is no file of that name."""
    return str(split) in _DRAWN and not Path(split).is_file()


def _names_in(path: Path, split: str, known: Mapping[str, None], seed: int) -> Iterable[str]:
    text = read_text(path, "split file")
    if _JSON.match(text) or _parses(text):
        # A data set's own file may be large: what no reader uses is left out at first.
        if reader_of(parse_json(path, text, USED)):
            return _of_dataset(path, split, seed)
        return _of_json(path, parse_json(path, text), split)
    if reader_of(text):
        return _of_dataset(path, split, seed)
    return _of_text(path, text, split, known)


def _parses(text: str) -> bool:
    """Whether a text that begins as a list may is JSON, and no name such as `[1].jpg`."""
    try:
        return text.lstrip()[:1] == "[" and isinstance(json.loads(text), list)
    except (ValueError, RecursionError):
        return False


def _of_dataset(path: Path, split: str, seed: int) -> list[str]:
    dataset = read_dataset(path)
    if not split and not dataset.splits:
        return list(dataset.files)
    if split in _DRAWN and not dataset.splits:
        return [image_id for image_id in dataset.files if _drawn(image_id, seed) == split]
    return _chosen(path, dataset.splits, split)


def _chosen(path: Path, splits: Mapping[str, Any], split: str) -> Any:
    if split not in splits:
        offered = ", ".join(f"{path}:{name}" for name in list(splits)[:10]) or "none of its own"
        raise UserError(f"{path}: say which of its splits; there are {offered}")
    return splits[split]


def _of_json(path: Path, content: Any, split: str) -> list[str]:
    if isinstance(content, dict):
        values = content.values()
        if all(isinstance(value, list) for value in values):  # {"train": [...], "dev": [...]}
            alone = next(iter(values)) if len(values) == 1 and not split else None
            content = alone or _chosen(path, content, split)
        elif all(isinstance(value, str) for value in values):  # {"a.jpg": "train", ...}
            content = _chosen(path, _by_value(content.items()), split)
        else:
            content = list(content) if all(map(has_suffix, content)) else [None]
    names = [_name(entry) for entry in content]
    if None in names:
        raise UserError(
            f"{path}: JSON, but not of a form that is known for a split: a list of names, "
            '{"train": [names], ...} or {name: "train", ...}'
        )
    return names


def _name(entry: Any) -> str | None:
    """The name that an entry of a JSON list gives a picture."""
    if isinstance(entry, dict):
        entry = next((entry[key] for key in NAMES if key in entry), None)
    if isinstance(entry, int) and not isinstance(entry, bool):
        return str(entry)
    return entry if isinstance(entry, str) else None


def _by_value(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    splits: dict[str, list[str]] = {}
    for name, split in pairs:
        splits.setdefault(split.strip(), []).append(name)
    return splits


def _of_text(path: Path, text: str, split: str, known: Mapping[str, None]) -> list[str]:
    lines = [line for line in text.splitlines() if line.strip()]
    cells = re.split(r"[,;\t]", lines[0]) if lines else []
    header = [cell.strip().strip('"').lower() for cell in cells]
    column = next((header.index(name) for name in NAMES if name in header), None)
    if column is not None and known_id(path_id(lines[0].strip()), known) is None:
        return _of_table(path, lines, header, column, split)
    if split:
        raise UserError(f"{path}: names one split; leave out ':{split}'")
    return [name for line in lines for name in _of_line(line.strip(), known)]


def _of_table(
    path: Path, lines: list[str], header: list[str], column: int, split: str
) -> list[str]:
    delimiter = next((mark for mark in "\t;," if mark in lines[0]), ",")
    reader = csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter, strict=True)
    try:
        rows = [row for row in reader if row]
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num}: {error}") from error
    which = next((header.index(name) for name in SPLITS if name in header), None)
    if any(len(row) <= max(column, which or 0) for row in rows):
        raise UserError(f"{path}: has rows with fewer columns than its first line names")
    if which is None:
        if split:
            raise UserError(f"{path}: has no column 'split'; leave out ':{split}'")
        return [row[column] for row in rows[1:]]
    return _chosen(path, _by_value((row[column], row[which]) for row in rows[1:]), split)


def _of_line(line: str, known: Mapping[str, None]) -> list[str]:
    """The names in a line: one, unless marks divide it into parts that are names each."""
    if known_id(path_id(line), known) is not None:
        return [line]
    for marks in (r"[,;\t]", r"[,;\s]"):
        parts = [part.strip().strip("\"'") for part in re.split(marks, line)]
        parts = [part for part in parts if part]
        if len(parts) > 1 and all(
            has_suffix(part) or known_id(path_id(part), known) for part in parts
        ):
            return parts
    first, *rest = line.split()
    if has_suffix(first) and rest and all(map(str.isdecimal, rest)):  # a name and its class
        return [first]
    parts = [part.strip() for part in re.split(r"[,;\t]", line) if part.strip()]
    if len(parts) > 1 and not any(re.search(r"\s", part) for part in parts):
        return parts
    return [line.strip("\"'") if len(line) > 1 else line]


def _drawn(image_id: str, seed: int) -> str:
    """Which split an image falls into, by a hash that is uniform over images and seeds."""
    digest = hashlib.sha256(f"{seed} {image_id}".encode("utf-8", "surrogatepass")).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    return "train" if place < 0.8 else "dev" if place < 0.9 else "test"
