"""Splits: which pictures train and which validate, named in a file or drawn at random."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from captioning.cli import UserError
from captioning.datasets.reading import read_file
from captioning.images.names import find_ids, has_suffix, path_id, resolve_id

_ACCEPTED = (
    "a split is a text file of one name a line, a csv with a column of names such as 'image', "
    "COCO's captions JSON, FILE.json:test of Karpathy's, or CAPTIONS_FILE:train (:dev, :test), "
    "drawn"
)
_DRAWN = ("train", "dev", "test")


def read_split(split: str | Path, ids: Iterable[str] = (), *, seed: int = 0) -> list[str]:
    """The pictures of a split, without repeats.

    `split` is what `_ACCEPTED` says, or `train`, `dev` or `test`, if no file is called so: drawn
    from `ids` (80, 10 and 10%). What is drawn follows from `seed` and the id alone, so that it
    stays the same whichever other images there are. Names are given as the `ids` that they mean;
    others with all folders that the file has before them.

    Raises:
        UserError: no such file or split, another form, no picture, or a name of several `ids`.
    """
    known = dict.fromkeys(ids)
    if is_drawn(split) and known:
        image_ids = [image_id for image_id in known if _drawn(image_id, seed) == split]
    else:
        path, _, part = str(split).rpartition(":")
        if Path(split).is_file() or not (part and Path(path).is_file()):
            path, part = str(split), ""
        names = [resolve_id(name, known) or name for name in _names(path, part, seed)]
        id_of = find_ids(names, known, split)
        image_ids = list(dict.fromkeys(id_of.get(name, name) for name in names))
    if not image_ids:
        raise UserError(f"{split}: the split names no image")
    return image_ids


def is_drawn(split: str | Path) -> bool:
    """Whether a split is drawn from all images, because there is no file of that name."""
    return str(split) in _DRAWN and not Path(split).is_file()


def _names(path: str, part: str, seed: int) -> Iterable[str]:
    """The `path_id`s that a split file has, or the ids that a captions file gives its pictures."""
    content = read_file(path, "split file")
    if isinstance(content, str):
        if part:
            raise UserError(f"{path}: names one split; leave out ':{part}'")
        return _of_lines(path, content)
    splits = content.splits
    if not splits and not part:
        return content.files
    if not splits and part in _DRAWN:
        return [image_id for image_id in content.files if _drawn(image_id, seed) == part]
    if part not in splits:
        offered = ", ".join(f"{path}:{name}" for name in list(splits)[:10]) or "train, dev, test"
        raise UserError(f"{path}: say which of its splits; there are {offered}")
    return splits[part]


def _of_lines(path: str, text: str) -> Iterator[str]:
    for number, line in enumerate(text.split("\n"), start=1):
        name = line.strip()
        if has_suffix(before := re.sub(r"#\d+$", "", name)):
            name = before
        *others, _ = re.split(r"[\s,;]+", name)
        marks = re.search(r'[\t,;"{}<>]', name)
        if any(map(has_suffix, others)) or (marks and not has_suffix(name)):
            raise UserError(f"{path}: line {number} is not one name of a picture; {_ACCEPTED}")
        if name:
            yield path_id(name)


def _drawn(image_id: str, seed: int) -> str:
    """Which split an image falls into, by a hash that is uniform over images and seeds."""
    digest = hashlib.sha256(f"{seed} {image_id}".encode("utf-8", "surrogatepass")).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    return "train" if position < 0.8 else "dev" if position < 0.9 else "test"
