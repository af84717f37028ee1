"""Unlabelled pictures, decoded once to small squares, and batches of them."""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from captioning.cli import check_most_read
from captioning.files import atomic_path, write_text
from captioning.images.reading import UnreadableImage
from captioning.images.sources import decode, open_sources


class Pictures(NamedTuple):
    """Decoded pictures, and where they are from."""

    pixels: np.ndarray  # (N, S, S, 3), uint8, in memory or mapped from a file
    sources: np.ndarray  # the number of the path that each is from
    unreadable: list[str]  # a message for each that was left out
    digest: str  # tells other pictures, or others in between, from these


def load_images(
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

    They stay in memory up to `memory_limit` GiB. Above it they go to the file `spill`, if one is
    given, which is then mapped. A record is kept beside it, and with `reuse` nothing is decoded
    that is there already, of the same unchanged paths.

    A broken picture is left out and named in `unreadable`. `limit` takes the first so many, and
    `exclude` leaves out those that it names.

    Raises:
        UserError: a path is missing or holds no picture, more pictures were unreadable than read,
            or `exclude` names pictures and an HDF5 file does not.
    """
    opened = [open_sources([path], exclude) for path in paths]
    items = chain.from_iterable(source.items for source in opened)
    source_of = np.repeat(np.arange(len(opened)), [source.count for source in opened])[:limit]
    shape = (len(source_of), size, size, 3)
    spills = spill is not None and math.prod(shape) > memory_limit * 2**30
    if spills:
        paths = [[str(Path(path).absolute()), os.stat(path).st_mtime_ns] for path in paths]
        wanted = {"paths": paths, "shape": [*shape], "exclude": sorted(exclude)}
        if reuse and (saved := _saved(spill, wanted)):
            return saved
        record_of(spill).unlink(missing_ok=True)

    sources, unreadable, digest = [], [], hashlib.sha256()
    decoded = decode(islice(items, shape[0]), size)
    bar = tqdm(decoded, total=shape[0], unit="image", desc="images")
    with ExitStack() as stack:
        if spills:
            file = stack.enter_context(open(stack.enter_context(atomic_path(spill)), "wb"))
        else:
            pixels = np.empty(shape, np.uint8)
        for source, (_, square) in zip(source_of.tolist(), bar, strict=True):
            if isinstance(square, UnreadableImage):
                unreadable.append(str(square))
                continue
            if spills:
                file.write(square.tobytes())
            else:
                pixels[len(sources)] = square
            digest.update(square[::8].tobytes())  # every eighth row tells pictures apart
            sources.append(source)
        check_most_read(unreadable, shape[0])
    if spills:
        record = [wanted, sources, unreadable, digest.hexdigest()]
        write_text(record_of(spill), json.dumps(record))
        return _saved(spill, wanted)
    return Pictures(pixels[: len(sources)], np.array(sources), unreadable, digest.hexdigest())


def record_of(spill: Path) -> Path:
    """Of what is in `spill`, written when that is complete."""
    return spill.with_suffix(".json")


def _saved(spill: Path, wanted: dict[str, Any]) -> Pictures | None:
    """The pictures that `spill` holds, if they are those that are wanted."""
    try:
        origin, sources, unreadable, digest = json.loads(record_of(spill).read_text("utf-8"))
        pixels = np.memmap(spill, np.uint8, "r", shape=(len(sources), *wanted["shape"][1:]))
    except (OSError, ValueError, TypeError):  # none, or damaged
        return None
    return Pictures(pixels, np.array(sources), unreadable, digest) if origin == wanted else None


def epoch_order(rows: int, seed: int, epoch: int, weights: np.ndarray | None = None) -> np.ndarray:
    """The rows (N,) of an epoch in their order, which follows from the seed and its number.

    Each once; with `weights` (N,) a row comes so many times as often as one of weight 1, on
    average over the epochs, and in each as often as that rounded down or up.
    """
    random = np.random.default_rng((seed, epoch))
    order = random.permutation(rows)
    if weights is None:
        return order
    # Systematic sampling: rows lie side by side, as wide as their weights, under an even comb.
    ends = np.cumsum(weights[order])
    teeth = (np.arange(rows) + random.uniform()) * (ends[-1] / rows)
    drawn = np.searchsorted(ends, teeth, side="right").clip(max=rows - 1)
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
    first_epoch, first_batch = divmod(step, len(pixels) // batch_size)
    for epoch in count(first_epoch):
        order = epoch_order(len(pixels), seed, epoch, weights)
        for batch in range(first_batch, len(pixels) // batch_size):
            # Sorted, because a mapped file is read faster from front to back.
            rows = np.sort(order[batch * batch_size : (batch + 1) * batch_size])
            yield (pixels[rows[part * batch_size // parts : (part + 1) * batch_size // parts]],)
        first_batch = 0
