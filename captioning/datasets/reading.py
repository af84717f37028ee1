"""Readers of the data sets' own files: captions, splits, and the pictures they belong to.

Which data set a file is of is found by looking at its content. Each has a module here that gives
it in the one form of `Dataset`.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from captioning.cli import UserError, printable
from captioning.datasets import coco, coco_results, flickr8k, flickr30k, karpathy
from captioning.datasets.form import Dataset, parse_json, read_text
from captioning.files import existing_file
from captioning.images.folders import walk_images
from captioning.images.names import distinct_ids, known_id, path_id

# The table of data sets: a new one needs a module with these names, and an entry here. The first
# whose `matches` says so takes a file.
READERS = {
    "karpathy": karpathy, "coco": coco, "coco-results": coco_results,
    "flickr30k": flickr30k, "flickr8k": flickr8k,
}  # fmt: skip
DATASETS = ("auto", *READERS)
USED = {key for reader in READERS.values() for key in reader.USED}  # of JSON files
_JSON = re.compile(r"\s*(?:\{|\[\s*\{)")  # how an object, or a list of them, begins


def reader_of(content: object, dataset: str = "auto"):
    """The module that reads such content, a text or what is parsed of JSON; None: there is none.

    It is that of the data set that the content shows, or of the one that is named.
    """
    for name, reader in READERS.items():
        fits = isinstance(content, reader.CONTENT)
        if fits and (dataset == name or (dataset == "auto" and reader.matches(content))):
            return reader
    return None


def read_dataset(path: str | Path, dataset: str = "auto") -> Dataset:
    """Read a captions file of the data set that its content shows, or of the one that is named.

    Raises:
        UserError: no such file, in no known format, damaged, or of another data set than named.
    """
    path = existing_file(path, "captions file", "see data/README.md")
    text = read_text(path, "captions file")
    content = parse_json(path, text, USED) if _JSON.match(text) else text
    reader = reader_of(content, dataset)
    if reader is not None:
        found = reader.read(path, content)
        return found._replace(name=printable(f"{found.name:.100} ({path.name})"))
    wanted = [reader.KNOWN for name, reader in READERS.items() if dataset in ("auto", name)]
    raise UserError(
        f"{path}: not a captions file of a known format; known: {'; '.join(reversed(wanted))}"
    )


def read_datasets(paths: Sequence[str | Path], dataset: str = "auto") -> Dataset:
    """Captions files as one data set, such as COCO's for training and for validation.

    Raises:
        UserError: as `read_dataset`; there is no caption, or a picture is in two of the files.
    """
    names: list[str] = []
    captions: dict[str, list[str]] = {}
    files: dict[str, str] = {}
    splits: dict[str, list[str]] = {}
    numbers: dict[str, int] = {}
    for path in paths:
        part = read_dataset(path, dataset)
        if not part.captions:
            raise UserError(f"{path}: holds no caption")
        twice = next((image_id for image_id in part.files if image_id in files), None)
        if twice is not None:
            raise UserError(
                f"{path}: image {twice} is in another of the captions files as well; if they are "
                "of different data sets, give --images a folder for each, where there is --images"
            )
        names.append(part.name)
        captions |= part.captions
        files |= part.files
        numbers |= part.numbers
        for split, ids in part.splits.items():
            splits.setdefault(split, []).extend(ids)
    if len(paths) > 1:
        numbers = coco.distinct_numbers(numbers, files)
    return Dataset(", ".join(names), captions, files, splits, numbers)


def read_captions(path: str | Path) -> dict[str, list[str]]:
    """Raw captions by `image_id`, in the order of the file; see `read_datasets`."""
    return read_datasets([path]).captions


def find_pictures(
    folder: str | Path, files: Mapping[str, str]
) -> tuple[dict[str, Path], list[str]]:
    """Pictures in a folder and its sub-folders by `image_id`, and those that were left out.

    `files` says how the data set spells each id. Two pictures can stand for one id, such as `a.jpg`
    and `a.png`: the one that the data set names is taken, else the first, and the other left out.
    Pictures that the data set does not know are called as `names.distinct_ids` does.

    Raises:
        UserError: two pictures of one name in different folders, and the data set does not say
            which it means.
    """
    found: dict[str, Path] = {}
    left_out, unknown = [], {}
    for path in walk_images(folder):
        inside = path.relative_to(folder).as_posix()
        image_id = known_id(path_id(inside), files)
        if image_id is None:
            unknown[inside] = path
        elif image_id not in found:
            found[image_id] = path
        else:
            new, old = (_named(p, files[image_id]) for p in (path, found[image_id]))
            if new == old and path.name == found[image_id].name:
                raise UserError(
                    f"{found[image_id]} and {path}: both may be the picture '{image_id}' of the "
                    "captions; remove one, or say which in the captions file, by its folder"
                )
            left_out.append((found[image_id] if new > old else path).name)
            found[image_id] = path if new > old else found[image_id]
    kept = dict.fromkeys({path_id(inside): inside for inside in unknown}.values())
    left_out += [path.name for inside, path in unknown.items() if inside not in kept]
    for inside, image_id in distinct_ids(kept, folder).items():
        found.setdefault(image_id, unknown[inside])
    return found, left_out


def _named(path: Path, file: str) -> int:
    """How far a data set's `val2014/name.jpg` names this path: not, by its name, or whole."""
    return (path.name == Path(file).name) + path.as_posix().endswith(f"/{file}")
