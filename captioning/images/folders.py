"""Which files in a folder are pictures: one way to find them for every script."""

import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

from captioning.cli import UserError

SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif",
            ".tiff"}  # fmt: skip


# How files of these kinds begin: what tells a picture whose name has no suffix.
_BEGINNING = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|RIFF....WEBP|GIF8[79]a|BM....\0\0\0\0|II\*\0|MM\0\*",
    re.DOTALL,
)


BEGINNING = 16  # bytes that tell


def is_hidden(name: str) -> bool:
    """Whether a path has a part that no user put there: a hidden file or folder, or a Mac's."""
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def is_picture(name: str, beginning: Callable[[], bytes]) -> bool:
    """Whether a file is one of the kinds that are read: by its suffix, else by its content.

    `beginning` reads the first `BEGINNING` bytes, which only names without a suffix need.
    """
    suffix = PurePosixPath(name).suffix.lower()
    # What follows a dot in `frame.0001` or `photo of 3.5.2012` is no suffix.
    if suffix and not suffix[1:].isdecimal():
        return suffix in SUFFIXES
    return _BEGINNING.match(beginning()) is not None


def _beginning(path: str | os.PathLike) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return b""
        with open(path, "rb") as file:
            return file.read(BEGINNING)
    except OSError:
        return b""


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


def walk_images(folder: str | os.PathLike, *, skip_closed: bool = False) -> Iterator[Path]:
    """Picture files in a folder and its sub-folders, a folder's own first, sorted by name.

    They are known by their suffix, and where they have none by their content. Links are followed;
    a folder that several lead to is visited once. What is hidden is left out.

    Args:
        skip_closed: leave out sub-folders that may not be read, instead of a `PermissionError`.
    """
    root = Path(folder)
    waiting, visited = [root], set()
    while waiting:
        current = waiting.pop()
        place = os.stat(current)
        if (place.st_dev, place.st_ino) in visited:
            continue
        visited.add((place.st_dev, place.st_ino))
        try:
            with os.scandir(current) as listing:
                listed = (entry for entry in listing if not is_hidden(entry.name))
                entries = sorted(listed, key=lambda entry: entry.name)
        except PermissionError:
            if not skip_closed or current == root:
                raise
            continue
        yield from (
            Path(entry)
            for entry in entries
            if not _is_folder(entry) and is_picture(entry.name, partial(_beginning, entry))
        )
        waiting += [Path(entry) for entry in reversed(entries) if _is_folder(entry)]


def list_images(paths: Sequence[str | os.PathLike]) -> list[Path]:
    """Picture files among `paths`; of a folder, those in it and its sub-folders.

    Raises:
        UserError: a path does not exist, or a folder holds no picture.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = list(walk_images(path))
            if not inside:
                raise UserError(f"{path}: holds no picture ({', '.join(sorted(SUFFIXES))})")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise UserError(f"{path}: no such file or folder")
    return found
