"""A process that stays: names of pictures as they come, and a line of JSON for each."""

import contextlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from captioning.cli import UserError
from captioning.images.folders import walk_images

LOOK = 0.2  # seconds between two looks into a folder
STEADY = 0.6  # seconds that a file stays as it is before it is taken for whole

State = tuple[int, int, int]  # what changes when a file is written to or replaced


def snapshot(folder: Path) -> dict[Path, State]:
    """The picture files in a folder and its sub-folders, and the state of each.

    Raises:
        UserError: there is no such folder.
    """
    states = {}
    try:
        for path in walk_images(folder, skip_closed=True):
            with contextlib.suppress(OSError):  # gone, or a link to nothing or to itself
                file = path.stat()
                states[path] = (file.st_ino, file.st_size, file.st_mtime_ns)
    except (FileNotFoundError, NotADirectoryError) as error:
        if not folder.is_dir():
            raise UserError(f"{folder}: is no folder, or not any more") from error
        # Else a sub-folder has gone meanwhile; the next look sees the rest.
    return states


def appearing(folder: Path, known: dict[Path, State]) -> Iterator[str]:
    """Yield the names of pictures that appear in a folder or change there, without end.

    Half a file is not read: its size and time have to stay as they are for `STEADY` seconds.

    Args:
        known: the pictures that do not count, as `snapshot` gives them.

    Raises:
        UserError: the folder is gone.
    """
    known = dict(known)
    since: dict[tuple[Path, State], float] = {}  # when each was first seen as it is
    while True:
        now = time.monotonic()
        new = snapshot(folder).items() - known.items()
        since = {file: since.get(file, now) for file in sorted(new)}
        for (path, state), first in since.items():
            if now - first >= STEADY:
                known[path] = state
                yield str(path)
        time.sleep(LOOK)


def named(stream: BinaryIO) -> Iterator[str]:
    """Yield the names that stand on the lines of a stream, as they come; empty lines are none."""
    for line in stream:
        if name := os.fsdecode(line.rstrip(b"\r\n")):
            yield name


def answer(captioner, names: Iterable[str]) -> None:
    """Print a line of JSON for each name at once: the caption, or what is wrong with the file."""
    from captioning.images.reading import UnreadableImage

    for name in names:
        [result] = captioner.stream([Path(name)], few=0)
        found = {"error": str(result)} if isinstance(result, UnreadableImage) else result.all[0]
        print(json.dumps({"file": name} | found), flush=True)
