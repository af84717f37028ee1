"""Which files in a folder are pictures: one way to find them for every script."""

import contextlib
import functools
import importlib.util
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from captioning.cli import UserError, printable

SUFFIXES = frozenset(".jpg .jpeg .jpe .jfif .png .webp .gif .bmp .dib .tif .tiff".split())
HEIC_ADVICE = "pip install pillow-heif, or save them as JPEG"
HEIC_SUFFIXES = frozenset([".heic", ".heif"])
if importlib.util.find_spec("pillow_heif"):
    SUFFIXES |= HEIC_SUFFIXES
# How files of these kinds begin: what tells a picture whose name has no suffix.
_BEGINNING = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|RIFF....WEBP|GIF8[79]a|BM....\0\0\0\0|II\*\0|MM\0\*",
    re.DOTALL,
)


def is_hidden(name: str) -> bool:
    """Whether a path has a part that no user put there: a hidden file or folder, or a Mac's."""
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)


def is_image(name: str, opened: Callable[[], BinaryIO]) -> bool:
    """Whether a file is one of the kinds that are read: by its suffix, else by its content.

    `opened` opens it, which only names without a suffix need. What is hidden is none.
    """
    if is_hidden(name):
        return False
    suffix = PurePosixPath(name).suffix.lower()
    # What follows a dot in `frame.0001` or `photo of 3.5.2012` is no suffix.
    if suffix and not suffix[1:].isdecimal():
        return suffix in SUFFIXES
    # Damaged or encrypted archives fail in their own ways.
    with contextlib.suppress(Exception), opened() as file:
        return _BEGINNING.match(file.read(16)) is not None
    return False


def open_file(path: str | os.PathLike) -> BinaryIO:
    """A file open for reading.

    Raises:
        OSError: it cannot be opened, or is a pipe or a device, which would have us wait.
    """
    kind = os.stat(path).st_mode
    if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
        raise OSError("is no file")
    return open(path, "rb")


def walk_images(folder: str | os.PathLike, *, skip_closed: bool = False) -> Iterator[Path]:
    """Picture files in a folder and its sub-folders, a folder's own first, sorted by name.

    They are known by their suffix, and where they have none by their content. Links are followed;
    a folder that several lead to is visited once. What is hidden is left out.

    Args:
        skip_closed: leave out sub-folders that may not be read, instead of a `PermissionError`.
    """
    root = Path(folder)
    visited = set()
    others: list[str] = []

    def fail(error: OSError) -> None:
        closed = isinstance(error, PermissionError) and Path(error.filename) != root
        if not (closed and skip_closed):
            raise error

    for current, folders, names in os.walk(root, onerror=fail, followlinks=True):
        status = os.stat(current)
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        for name in sorted(names):
            path = Path(current, name)
            if is_image(name, functools.partial(open_file, path)):
                yield path
            else:
                others.append(name)
    tell_heic(root, others)


@functools.cache  # a folder that is watched is walked again and again
def _tell(message: str) -> None:
    print(message, file=sys.stderr)


def tell_heic(path: str | os.PathLike, names: Iterable[str]) -> None:
    """Say, once, how many HEIC pictures are among the names in a path, unless they are read."""
    unread = HEIC_SUFFIXES - SUFFIXES
    heic = [n for n in names if PurePosixPath(n).suffix.lower() in unread and not is_hidden(n)]
    if heic:
        _tell(
            f"{printable(path)}: {len(heic)} HEIC pictures are not read, such as "
            f"{printable(heic[0])}; {HEIC_ADVICE}"
        )


def no_image(path: str | os.PathLike) -> UserError:
    """The mistake of giving a folder or an archive without pictures."""
    return UserError(f"{path}: holds no picture ({', '.join(sorted(SUFFIXES))})")


def list_images(paths: Sequence[str | os.PathLike]) -> list[Path]:
    """Picture files among `paths`; of a folder, those in it and its sub-folders.

    Raises:
        UserError: a path does not exist, or a folder holds no picture.
    """
    images: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise UserError(f"{path}: no such file or folder")
        inside = list(walk_images(path)) if path.is_dir() else [path]
        if not inside:
            raise no_image(path)
        images += inside
    return images
