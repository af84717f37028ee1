"""Readers of the data sets' own files: captions, splits, and the pictures they belong to.

Which data set a file is of is found by looking at its content. Each has a module here that gives
it in the one form of `Dataset`.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from captioning.cli import UserError, printable
from captioning.datasets import coco, coco_results, flickr8k, flickr30k, karpathy
from captioning.datasets.coco import results, results_id
from captioning.datasets.form import Dataset, image_id, parse_json, read_text
from captioning.files import existing_file
from captioning.images import walk_images

__all__ = [
    "DATASETS", "Dataset", "find_pictures", "image_id", "read_captions", "read_dataset",
    "read_datasets", "read_split", "read_text", "results", "results_id", "select",
]  # fmt: skip

_READERS = {
    "karpathy": karpathy, "coco": coco, "coco-results": coco_results,
    "flickr30k": flickr30k, "flickr8k": flickr8k,
}  # fmt: skip
DATASETS = ("auto", *_READERS)
_DRAWN = ("train", "dev", "test")
_JSON = re.compile(r"\s*(?:\{|\[\s*\{)")  # how an object, or a list of them, begins


def read_dataset(path: str | Path, dataset: str = "auto") -> Dataset:
    """Read a captions file of the data set that its content shows, or of the one that is named.

    Raises:
        UserError: no such file, in no known format, damaged, or of another data set than named.
    """
    path = existing_file(path, "captions file", "see data/README.md")
    text = read_text(path, "captions file")
    content = parse_json(path, text) if _JSON.match(text) else text
    for name, reader in _READERS.items():
        fits = isinstance(content, reader.CONTENT)
        if fits and (dataset == name or (dataset == "auto" and reader.matches(content))):
            found = reader.read(path, content)
            return found._replace(name=printable(f"{found.name:.100} ({path.name})"))
    wanted = [reader.KNOWN for name, reader in _READERS.items() if dataset in ("auto", name)]
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
        twice = next((one for one in part.files if one in files), None)
        if twice is not None:
            raise UserError(f"{path}: image {twice} is in another of the captions files as well")
        names.append(part.name)
        captions |= part.captions
        files |= part.files
        numbers |= part.numbers
        for split, ids in part.splits.items():
            splits.setdefault(split, []).extend(ids)
    return Dataset(", ".join(names), captions, files, splits, numbers)


def read_captions(path: str | Path) -> dict[str, list[str]]:
    """Raw captions by `image_id`, in the order of the file; see `read_datasets`."""
    return read_datasets([path]).captions


def find_pictures(
    folder: str | Path, files: Mapping[str, str]
) -> tuple[dict[str, Path], list[str]]:
    """Pictures in a folder and its sub-folders by `image_id`, and the names that were left out.

    Two pictures can have one id, such as `a.jpg` and `a.png`: the one that the data set names
    (`files`, by id) is taken, else the first, and the other is left out.
    """
    found: dict[str, Path] = {}
    left_out = []
    for path in walk_images(folder):
        one = image_id(path.name)
        if one not in found:
            found[one] = path
        elif _named(path, files.get(one, "")) > _named(found[one], files.get(one, "")):
            left_out.append(found[one].name)
            found[one] = path
        else:
            left_out.append(path.name)
    return found, left_out


def _named(path: Path, file: str) -> int:
    """How far a data set's `val2014/name.jpg` names this path: not, by its name, or whole."""
    return (path.name == Path(file).name) + path.as_posix().endswith(f"/{file}")


def read_split(split: str | Path, ids: Iterable[str] = (), *, seed: int = 0) -> list[str]:
    """The `image_id`s of a split, without repeats.

    `split` is a text file that names an image a line; a COCO captions file, for all its images;
    `FILE.json:val` for a split of a Karpathy file; or `train`, `dev` or `test`, which are drawn
    from `ids` (80, 10 and 10%). What is drawn follows from `seed` and the id alone, so that it
    stays the same whichever other images there are.

    Raises:
        UserError: no such file or split, or it names no image.
    """
    path, _, name = str(split).rpartition(":")
    if Path(split).is_file() or not (name and Path(path).is_file()):
        path, name = str(split), ""
    if path in _DRAWN and ids and not Path(path).is_file():
        found = [one for one in ids if _drawn(one, seed) == path]
    else:
        text = read_text(existing_file(path, "split file", "see data/README.md"), "split file")
        if name or _JSON.match(text):
            found = _split_of_dataset(path, name)
        else:
            found = list(dict.fromkeys(map(image_id, map(str.strip, text.splitlines()))))
    found = [one for one in found if one]
    if not found:
        raise UserError(f"{split}: the split names no image")
    return found


def _split_of_dataset(path: str, name: str) -> list[str]:
    dataset = read_dataset(path)
    if not name and not dataset.splits:
        return list(dataset.files)
    if name not in dataset.splits:
        offered = ", ".join(f"{path}:{one}" for one in dataset.splits) or "none of its own"
        raise UserError(f"{path}: say which of its splits; there are {offered}")
    return dataset.splits[name]


def _drawn(one: str, seed: int) -> str:
    """Which split an image falls into, by a hash that is uniform over images and seeds."""
    digest = hashlib.sha256(f"{seed} {one}".encode("utf-8", "surrogatepass")).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64
    return "train" if place < 0.8 else "dev" if place < 0.9 else "test"


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
