"""How a picture is called in every file of the pipeline: its `image_id`.

That is the file's name without its picture suffix, and with as much of its folder as is needed to
tell it from the other pictures of its data set.
"""

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping

from captioning.cli import UserError

# What is a picture's suffix, in any case. `images.SUFFIXES` are those that are searched for.
SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .jfif .png .webp .gif .bmp .dib .tif .tiff .apng .heic .avif .jp2".split()
)
_COCO_NAME = re.compile(r"(?:COCO_(?:train|val|test)\d{4}_)?(\d{12})", re.ASCII)


def image_id(name: str) -> str:
    """The file name without its folder and its picture suffix.

    COCO's `COCO_val2014_000000391895.jpg` and `000000391895.jpg` are the picture 391895. White
    space would end the id in `descriptions.txt`, so it becomes `_`.
    """
    last = without_suffix(name.replace("\\", "/").rsplit("/", 1)[-1])
    stem = unicodedata.normalize("NFC", last)
    if coco := _COCO_NAME.fullmatch(stem):
        return str(int(coco[1]))
    return re.sub(r"\s+", "_", stem)


def without_suffix(name: str) -> str:
    """A name less its picture suffix, if it has one and is more than that."""
    stem, dot, suffix = name.rpartition(".")
    return stem if stem.strip(".") and f"{dot}{suffix.lower()}" in SUFFIXES else name


def has_suffix(name: str) -> bool:
    """Whether a name ends as a picture's does."""
    return without_suffix(name) != name


def path_id(name: str) -> str:
    """The `image_id` with all folders that the name has before it: `cats/1` of `./cats/1.jpg`."""
    *folders, last = name.replace("\\", "/").split("/")
    folders = [
        re.sub(r"\s+", "_", unicodedata.normalize("NFC", folder))
        for folder in folders
        if folder not in ("", ".", "..")
    ]
    return "/".join([*folders, image_id(last)])


def ends(path: str) -> Iterator[str]:
    """A path, then the same with ever fewer folders before it."""
    parts = path.split("/")
    return ("/".join(parts[first:]) for first in range(len(parts)))


def distinct_ids(names: Iterable[str], source: object) -> dict[str, str]:
    """The `image_id` of each of these names, with folders where names would else have the same one.

    Raises:
        UserError: two names differ by no more than their suffix or their white space; the message
            names the `source` that has them.
    """
    paths: dict[str, list[str]] = {}  # of all names that end alike
    spelled: dict[str, str] = {}
    for name in names:
        path = path_id(name)
        if spelled.setdefault(path, name) != name:
            raise UserError(
                f"{source}: '{spelled[path]}' and '{name}' cannot be told apart, because a picture "
                "is called by its name without its suffix; rename one of them"
            )
        paths.setdefault(path.rsplit("/", 1)[-1], []).append(path)
    found: dict[str, str] = {}
    for last, alike in paths.items():
        if len(alike) == 1:
            found[spelled[alike[0]]] = last
            continue
        count: dict[str, int] = {}
        for path in alike:
            for end in ends(path):
                count[end] = count.get(end, 0) + 1
        for path in alike:  # the shortest end that is no other's, else the whole
            own = [end for end in ends(path) if count[end] == 1]
            found[spelled[path]] = own[-1] if own else path
    return found


def known_id(path: str, known: Collection[str]) -> str | None:
    """The one of the `known` ids that a `path_id` means: its longest end that is among them."""
    return next((end for end in ends(path) if end in known), None)


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


def differences(wanted: Iterable[str], known: Mapping | Collection[str]) -> str:
    """Why names of a split may be none of the `known` ids: by how the first of both differ."""

    def plain(name: str) -> str:
        return re.sub(r"[\W_]+", "", without_suffix(name.strip("\"' \t")).lower())

    wanted, by_plain, by_dot = list(wanted), {}, {}
    for other in known:
        by_plain.setdefault(plain(other), other)
        by_dot.setdefault(other, other)
    for name in wanted[:1000]:
        if name.split(".", 1)[0] in by_dot and "." in name:
            return (
                f"it names '{name}', they '{name.split('.', 1)[0]}', as versions of before called "
                "pictures with a dot in their name: make them again with 1_data_preprocessor.py"
            )
        if plain(name) in by_plain:
            other = by_plain[plain(name)]
            if without_suffix(other) != other:
                return f"it names '{name}', they '{other}' with its suffix: take that off"
            if name.lower() == other.lower():
                return f"it names '{name}', they '{other}': capital letters count"
            return f"it names '{name}', they '{other}': they are spelled in different ways"
        if "\t" in name or "\t" in next(iter(known), ""):
            return "a tab stands where a space or the end of the line should"
        if name[:1] in "[{\"'":
            return f"its first name is '{name:.40}': is it JSON, or quoted?"
    other = next(iter(known), "")
    return f"the first it names is '{(wanted or [''])[0]:.60}', the first of them '{other:.60}'"
