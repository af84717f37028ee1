"""How a picture is called in every file of the pipeline: its `image_id`.

That is the file's name without its picture suffix, and with as much of its folder as is needed to
tell it from the other pictures of its data set.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator

from captioning.cli import UserError
from captioning.images import folders

# What is a picture's suffix in a name, in any case, also of kinds that are not read.
SUFFIXES = folders.SUFFIXES | folders.HEIC_SUFFIXES | {".apng", ".avif", ".jp2"}
_COCO_NAME = re.compile(r"(?:COCO_(?:train|val|test)\d{4}_)?(\d{12})", re.ASCII)


def image_id(name: str) -> str:
    """The file name without its folder and its picture suffix.

    COCO's `COCO_val2014_000000391895.jpg` and `000000391895.jpg` are the picture 391895. White
    space would end the id in `descriptions.txt`, so it becomes `_`.
    """
    name = name.replace("\\", "/").rpartition("/")[2]
    stem = _one_word(name.rpartition(".")[0] if has_suffix(name) else name)
    coco = _COCO_NAME.fullmatch(stem)
    return str(int(coco[1])) if coco else stem


def _one_word(name: str) -> str:
    return re.sub(r"\s+", "_", unicodedata.normalize("NFC", name))


def has_suffix(name: str) -> bool:
    """Whether a name ends as a picture's does, and is more than the suffix."""
    stem, dot, suffix = name.rpartition(".")
    return bool(stem.strip(".")) and f"{dot}{suffix.lower()}" in SUFFIXES


def path_id(name: str) -> str:
    """The `image_id` with all folders that the name has before it: `cats/1` of `./cats/1.jpg`."""
    *folders, last = name.replace("\\", "/").split("/")
    folders = [_one_word(folder) for folder in folders if folder not in ("", ".", "..")]
    return "/".join([*folders, image_id(last)])


def ends(path: str) -> Iterator[str]:
    """A path, then the same with ever fewer folders before it."""
    parts = path.split("/")
    return ("/".join(parts[first:]) for first in range(len(parts)))


def shortest_ends(paths: Iterable[str]) -> dict[str, str]:
    """Of each path the shortest end that no other one has, else the whole path."""
    paths = dict.fromkeys(paths)
    count = Counter(end for path in paths for end in ends(path))
    unique = {path: [end for end in ends(path) if count[end] == 1] for path in paths}
    return {path: unique[path][-1] if unique[path] else path for path in paths}


def distinct_ids(names: Iterable[str], source: object) -> dict[str, str]:
    """The `image_id` of each of these names, with folders where names would else have the same one.

    Raises:
        UserError: two names of this `source` differ by no more than suffix or white space.
    """
    spelled: dict[str, str] = {}
    for name in names:
        other = spelled.setdefault(path_id(name), name)
        if other != name:
            raise UserError(
                f"{source}: '{other}' and '{name}' cannot be told apart, because a picture is "
                "called by its name without its suffix; rename one of them"
            )
    ids = shortest_ends(spelled)
    return {name: ids[path] for path, name in spelled.items()}


def resolve_id(path: str, known: Collection[str]) -> str | None:
    """The one of the `known` ids that a `path_id` means: its longest end that is among them."""
    return next((end for end in ends(path) if end in known), None)


def find_ids(paths: Iterable[str], known: Collection[str], source: object) -> dict[str, str]:
    """The `known` id that each path is, else the one that ends in it, of paths that have one.

    Raises:
        UserError: several end in a path of this `source`.
    """
    ids: dict[str, list[str]] = {path: [path] if path in known else [] for path in paths}
    lacking = {path for path in ids if not ids[path]}
    for image_id in known if lacking else ():
        for end in ends(image_id):
            if end in lacking:
                ids[end].append(image_id)
    for path, possible in ids.items():
        if len(possible) > 1:
            raise UserError(
                f"{source}: '{path}' may be {' or '.join(map(repr, possible[:3]))}; write its "
                "folder, too, or give evaluate.py --images and --captions of every data set"
            )
    return {path: possible[0] for path, possible in ids.items() if possible}


class Excluded:
    """Pictures to leave out, by names that a split file has for them.

    A name without a folder stands for every picture of that name; one with folders for those that
    lie in such folders, as far as both are told.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.paths = frozenset(map(path_id, names))
        self.tails = frozenset(end for path in self.paths for end in ends(path))

    def __bool__(self) -> bool:
        return bool(self.paths)

    def __contains__(self, name: str) -> bool:
        path = path_id(name)
        return path in self.tails or any(end in self.paths for end in ends(path))
