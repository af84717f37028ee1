"""Unlabelled pictures, decoded once to small squares, and batches of them."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from captioning.cli import UserError
from captioning.images.reading import UnreadableImage
from captioning.images.sources import decode, open_sources


class Pictures(NamedTuple):
    """Pixels (N, S, S, 3), uint8, in memory or mapped from a file; a class a picture, or -1.

    `classes` names them: the folders that the pictures lay in, where there were several.
    `digest` tells other pictures, or others in between, from these.
    """

    pixels: np.ndarray
    labels: np.ndarray
    classes: list[str]
    unreadable: list[str]
    digest: str


def load_pictures(
    paths: Sequence[str | Path],
    size: int,
    *,
    limit: int | None = None,
    exclude: Iterable[str] = (),
    memory_limit: float = 8.0,
    spill: Path | None = None,
) -> Pictures:
    """Decode all pictures of `paths` (folders, zips, tars, HDF5 files) to squares of `size`.

    They stay in memory up to `memory_limit` GiB. Above it they go to the file `spill`, which is
    then mapped: training streams from it, and the system caches what fits.

    A broken picture is left out and named in `unreadable`. `limit` takes the first so many, and
    `exclude` leaves out those that it names.

    Raises:
        UserError: a path is missing or holds no picture, more pictures were unreadable than read,
            they are too large for memory and there is no `spill`, or `exclude` names pictures and
            an HDF5 file does not.
    """
    source = open_sources(paths, exclude)
    total = min(source.count, limit or source.count)
    shape = (total, size, size, 3)
    if np.prod(shape, dtype=float) <= memory_limit * 2**30:
        pixels = np.empty(shape, np.uint8)
    elif spill is None:
        raise UserError(f"{total} pictures of {size} px do not fit in {memory_limit} GiB")
    else:
        spill.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.lib.format.open_memmap(spill, "w+", np.uint8, shape)
        _take_room(spill)

    folders, unreadable, digest = [], [], hashlib.sha256()
    with tqdm(total=total, unit="image", desc="pictures") as bar:
        for item, square in decode(islice(source.items, total), size):
            if isinstance(square, UnreadableImage):
                unreadable.append(str(square))
            else:
                pixels[len(folders)] = square
                digest.update(square[::8].tobytes())  # every eighth row tells pictures apart
                folders.append(item.folder)
            bar.update()
    if len(unreadable) > len(folders):
        raise UserError(
            f"{len(unreadable)} of {total} pictures could not be read, the first: {unreadable[0]}"
        )
    classes = sorted(set(folders) - {""})
    number = {name: label for label, name in enumerate(classes)}
    labels = np.array([number.get(folder, -1) for folder in folders], np.int32)
    return Pictures(pixels[: len(folders)], labels, classes, unreadable, digest.hexdigest())


def _take_room(path: Path) -> None:
    """Have the disk give a sparse file all of its room now.

    A mapped file that finds the disk full later ends the process, and no error is raised.
    """
    if not hasattr(os, "posix_fallocate"):  # not on macOS and Windows
        return
    with open(path, "r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            path.unlink()
            raise OSError(error.errno, error.strerror, str(path)) from error


def batches(
    pixels: np.ndarray,
    batch_size: int,
    *,
    seed: int,
    step: int = 0,
    portion: tuple[int, int] = (0, 1),
) -> Iterator[tuple[np.ndarray]]:
    """Batches (n, S, S, 3) without end, from `step` on; the rest of an epoch is left out.

    The order of an epoch follows from `seed` and its number alone, so a resumed run goes on with
    the batch that a killed one would have seen. Of `portion` = (part, parts), each of several
    processes takes its own part of every batch.
    """
    part, parts = portion
    steps = len(pixels) // batch_size
    order, ordered = None, -1
    while True:
        epoch, batch = divmod(step, steps)
        if epoch != ordered:
            order, ordered = np.random.default_rng((seed, epoch)).permutation(len(pixels)), epoch
        # Sorted, because a mapped file is read faster from front to back.
        chosen = np.sort(order[batch * batch_size : (batch + 1) * batch_size])
        mine = chosen[part * batch_size // parts : (part + 1) * batch_size // parts]
        yield (pixels[mine],)
        step += 1
