"""Captions files, one or several as one data set, and the pictures that they are of."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from captioning.cli import UserError, printable
from captioning.datasets import coco, tables
from captioning.datasets.captions import Captions, read_text
from captioning.datasets.records import parse_json
from captioning.images.folders import walk_images
from captioning.images.names import path_id, resolve_id

# The table of readers: a new one needs a module with `read`, and an entry here. The first whose
# `read` does not give None takes a file.
READERS = {"coco": coco, "table": tables}
DATASETS = ("auto", *READERS)
_JSON = re.compile(r"\s*(?:\{|\[\s*\{)")  # how an object, or a list of them, begins


def read_file(path: str | Path, what: str, dataset: str = "auto") -> Captions | str:
    """What a file holds by the reader that knows it, or by the one named; else just its text."""
    if dataset not in DATASETS:
        raise UserError(f"--dataset {dataset}: give {', '.join(DATASETS[:-1])} or {DATASETS[-1]}")
    path = Path(path)
    text = read_text(path, what, "see data/README.md")
    content = parse_json(path, text) if _JSON.match(text) else text
    readers = READERS.values() if dataset == "auto" else [READERS[dataset]]
    return next(filter(None, (reader.read(path, content) for reader in readers)), text)


def read_datasets(paths: Sequence[str | Path], dataset: str = "auto") -> Captions:
    """Captions files as one data set, such as COCO's for training and for validation.

    Raises:
        UserError: no such file, in no known format, damaged, or without a caption; a picture is in
            two of the files.
    """
    parts = []
    for path in paths:
        part = read_file(path, "captions file", dataset)
        if isinstance(part, str):
            first_line = part.strip().partition("\n")[0]
            raise UserError(
                f"{path}: of no known form, by its first line '{first_line:.60}'; that of a csv "
                "must name the columns, e.g. image,caption; docs/inputs.md has all formats"
            )
        if not part.captions:
            raise UserError(f"{path}: holds no caption; a csv needs a column, e.g. image,caption")
        name = printable(f"{part.name:.100} ({Path(path).name})")
        parts.append(("", part._replace(name=name)))
    return join(parts)


def join(parts: Sequence[tuple[str, Captions]]) -> Captions:
    """Several `Captions` as one; beside each stands the prefix that its ids get."""
    whole = Captions(", ".join(part.name for _, part in parts), {}, {}, {}, {})
    for prefix, part in parts:
        if twice := [i for i in part.files if prefix + i in whole.files]:
            raise UserError(
                f"{part.name}: image {prefix}{twice[0]} is in another captions file as well; if "
                "they are of different data sets, give --images a folder for each"
            )
        whole.captions.update({prefix + i: texts for i, texts in part.captions.items()})
        whole.files.update({prefix + i: file for i, file in part.files.items()})
        whole.numbers.update({prefix + i: number for i, number in part.numbers.items()})
        for split, ids in part.splits.items():
            whole.splits.setdefault(split, []).extend(prefix + image_id for image_id in ids)
    if len(parts) > 1:
        called = {coco.results_id(image_id, whole.numbers) for image_id in whole.files}
        if len(called) < len(whole.files):  # two files give pictures the same number
            return whole._replace(numbers={})
    return whole


def read_captions(path: str | Path) -> dict[str, list[str]]:
    """Raw captions by `image_id`, in the order of the file; see `read_datasets`."""
    return read_datasets([path]).captions


def find_images(
    folder: str | Path, files: Mapping[str, str], namesakes: bool = True
) -> tuple[dict[str, Path], list[str]]:
    """Pictures in a folder and its sub-folders by `image_id`, and those that were left out.

    `files` says how the data set spells each id. Of two pictures with one id, such as `a.jpg` and
    `a.png`, the one that the data set names is taken, else the first, and the other left out. What
    the data set does not know is called by its whole path, as is what lies elsewhere than in the
    folder that the data set names, if that is there.

    Raises:
        UserError: no such folder; pictures in different folders, and `files` does not say which;
            or without `namesakes`, two pictures with one id.
    """
    if not Path(folder).is_dir():
        raise UserError(f"{folder}: not a folder of pictures; see data/README.md")
    found = {path: path.relative_to(folder) for path in walk_images(folder)}
    folders = {place.as_posix() for inside in found.values() for place in inside.parents}
    images: dict[str, list[Path]] = {}
    for path, inside in found.items():
        name = path_id(inside.as_posix())
        known = resolve_id(name, files)
        if known:  # a namesake of a picture that is missing is another picture
            place = os.path.dirname(files[known])
            known = None if place in folders and Path(place) not in inside.parents else known
        images.setdefault(known or name, []).append(path)
    chosen: dict[str, Path] = {}
    left_out: list[str] = []
    for image_id, paths in images.items():
        file = files.get(image_id, "")
        first, *others = sorted(paths, key=lambda path: -_named(path, file))
        for other in others:
            if file and not namesakes:
                raise UserError(
                    f"{first} and {other}: both may be the picture '{image_id}'; give --images the "
                    "folder of the captioned ones, or move the others away"
                )
            if other.name == first.name and _named(other, file) == _named(first, file):
                raise UserError(
                    f"{first} and {other}: both may be the picture '{image_id}' of the captions; "
                    "remove one, or say which in the captions file, by its folder"
                )
        chosen[image_id] = first
        left_out += [path.name for path in others]
    return chosen, left_out


def _named(path: Path, file: str) -> int:
    """How far a data set's `val2014/name.jpg` names this path: not, by its name, or whole."""
    return (path.name == Path(file).name) + path.as_posix().endswith(f"/{file}")
