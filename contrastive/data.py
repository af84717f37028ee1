"""Unlabelled pictures, decoded once to small squares, and batches of them."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from tqdm import tqdm

from captioning.cli import UserError
from captioning.files import write_text
from captioning.images.reading import UnreadableImage, squash
from captioning.images.sources import decode, open_sources

SAMPLE, SAMPLE_BATCH = 2000, 100  # pictures that say enough of all, and how many at a time


class Pictures(NamedTuple):
    """Pixels (N, S, S, 3), uint8, in memory or mapped from a file; a class a picture, or -1.

    `classes` names them: the folders that the pictures lay in, where there were several.
    `sources` has the number of the path that each is from, `digest` tells other pictures, or
    others in between, from these.
    """

    pixels: np.ndarray
    labels: np.ndarray
    sources: np.ndarray
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
    reuse: bool = False,
) -> Pictures:
    """Decode all pictures of `paths` (folders, zips, tars, HDF5 files) to squares of `size`.

    They stay in memory up to `memory_limit` GiB. Above it they go to the file `spill`, which is
    then mapped: training streams from it, and the system caches what fits. A record is kept beside
    it, and with `reuse` nothing is decoded that is there already, of the same unchanged paths.

    A broken picture is left out and named in `unreadable`. `limit` takes the first so many, and
    `exclude` leaves out those that it names.

    Raises:
        UserError: a path is missing or holds no picture, more pictures were unreadable than read,
            they are too large for memory and there is no `spill`, or `exclude` names pictures and
            an HDF5 file does not.
    """
    opened = [open_sources([path], exclude) for path in paths]
    items = chain.from_iterable(source.items for source in opened)
    number_of_source = np.repeat(np.arange(len(opened)), [source.count for source in opened])
    total = min(len(number_of_source), limit or len(number_of_source))
    shape = (total, size, size, 3)
    if np.prod(shape, dtype=float) <= memory_limit * 2**30:
        pixels = np.empty(shape, np.uint8)
    elif spill is None:
        raise UserError(f"{total} pictures of {size} px do not fit in {memory_limit} GiB")
    else:
        times = [[str(Path(path).absolute()), os.stat(path).st_mtime_ns] for path in paths]
        wanted = {"paths": times, "size": size, "count": total, "exclude": sorted(exclude)}
        if reuse and (kept := _kept(spill, wanted)):
            return kept
        spill.parent.mkdir(parents=True, exist_ok=True)
        record_of(spill).unlink(missing_ok=True)
        pixels = np.lib.format.open_memmap(spill, "w+", np.uint8, shape)
        _take_room(spill)

    folders, sources, unreadable, digest = [], [], [], hashlib.sha256()
    with tqdm(total=total, unit="image", desc="pictures") as bar:
        decoded = decode(islice(items, total), size)
        for source, (item, square) in zip(number_of_source, decoded, strict=False):
            if isinstance(square, UnreadableImage):
                unreadable.append(str(square))
            else:
                pixels[len(folders)] = square
                digest.update(square[::8].tobytes())  # every eighth row tells pictures apart
                folders.append(item.folder)
                sources.append(source)
            bar.update()
    if len(unreadable) > len(folders):
        raise UserError(
            f"{len(unreadable)} of {total} pictures could not be read, the first: {unreadable[0]}"
        )
    classes = sorted(set(folders) - {""})
    number = {name: label for label, name in enumerate(classes)}
    labels = np.array([number.get(folder, -1) for folder in folders], np.int32)
    others = (labels, np.array(sources), classes, unreadable, digest.hexdigest())
    if isinstance(pixels, np.memmap):
        pixels.flush()
        listed = dict(zip(Pictures._fields[1:], others, strict=True))
        listed |= {name: listed[name].tolist() for name in ("labels", "sources")}
        write_text(record_of(spill), json.dumps({"wanted": wanted, **listed}))
    return Pictures(pixels[: len(folders)], *others)


def record_of(spill: Path) -> Path:
    """The file that says what is in `spill`, and is written when that is complete."""
    return spill.with_suffix(".json")


def _kept(spill: Path, wanted: dict[str, Any]) -> Pictures | None:
    """The pictures that an earlier run has decoded, if they are those that are wanted."""
    try:
        record = json.loads(record_of(spill).read_text(encoding="utf-8"))
        if record.pop("wanted") != wanted:
            return None
        record |= {name: np.array(record[name], np.int32) for name in ("labels", "sources")}
        return Pictures(np.load(spill, mmap_mode="r")[: len(record["labels"])], **record)
    except (OSError, ValueError, LookupError, TypeError):  # none, or damaged
        return None


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


def whole_pictures(
    pixels: np.ndarray, size: int, *, seed: int, weights: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """A sample of `SAMPLE` uint8 pictures as squares of `size`, in batches (n, size, size, 3).

    It is drawn as an epoch is, see `epoch_order`.
    """
    rows = epoch_order(len(pixels), seed, 0, weights)[:SAMPLE]
    for chosen in np.array_split(rows, max(1, len(rows) // SAMPLE_BATCH)):
        pictures = [Image.fromarray(pixels[row]) for row in chosen]
        yield np.stack([np.asarray(squash(picture, size)) for picture in pictures])


def epoch_order(count: int, seed: int, epoch: int, weights: np.ndarray | None = None) -> np.ndarray:
    """The rows (count,) of an epoch in their order, which follows from the seed and its number.

    Each once; with `weights` (count,) a row comes so many times as often as one of weight 1, on
    average over the epochs, and in each as often as that rounded down or up.
    """
    random = np.random.default_rng((seed, epoch))
    order = random.permutation(count)
    if weights is None:
        return order
    # Systematic sampling: rows lie side by side, as wide as their weights, under an even comb.
    ends = np.cumsum(weights[order])
    teeth = (np.arange(count) + random.uniform()) * (ends[-1] / count)
    drawn = np.searchsorted(ends, teeth, side="right").clip(max=count - 1)
    return random.permutation(order[drawn])


def batches(
    pixels: np.ndarray,
    batch_size: int,
    *,
    seed: int,
    step: int = 0,
    portion: tuple[int, int] = (0, 1),
    weights: np.ndarray | None = None,
) -> Iterator[tuple[np.ndarray]]:
    """Batches (n, S, S, 3) without end, from `step` on; the rest of an epoch is left out.

    The order of an epoch is that of `epoch_order`, so a resumed run goes on with the batch that a
    killed one would have seen. Of `portion` = (part, parts), each of several processes takes its
    own part of every batch.
    """
    part, parts = portion
    steps = len(pixels) // batch_size
    order, ordered = None, -1
    while True:
        epoch, batch = divmod(step, steps)
        if epoch != ordered:
            order, ordered = epoch_order(len(pixels), seed, epoch, weights), epoch
        # Sorted, because a mapped file is read faster from front to back.
        chosen = np.sort(order[batch * batch_size : (batch + 1) * batch_size])
        mine = chosen[part * batch_size // parts : (part + 1) * batch_size // parts]
        yield (pixels[mine],)
        step += 1
