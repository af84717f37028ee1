"""The HDF5 file of square pictures: made, and read again.

It holds `train_img`, `val_img` and `test_img`, uint8 (N, size, size, 3), a picture a chunk, and
`train_names`, `val_names` and `test_names`, the pictures' names inside their source.
"""

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

import h5py
import numpy as np
from PIL import Image
from tqdm import tqdm

from captioning.cli import UserError, check_most_read
from captioning.files import atomic_path, existing_file
from captioning.images.reading import UnreadableImage
from captioning.images.sources import Item, Source, decode
from captioning.untrusted.hdf5 import open_hdf5

SPLITS = ("train", "val", "test")
DIGESTED = 64  # pictures of each split, whose bytes are read to tell files apart


def convert(
    source: Source,
    output: Path,
    *,
    size: int,
    splits: Sequence[float],
    seed: int,
    limit: int | None = None,
    workers: int | None = None,
) -> tuple[dict[str, int], list[str]]:
    """Write the pictures of `source` to `output`; return the rows by split, and what was broken.

    Which split a picture goes to follows from `seed` and its number, and its crop from `seed` and
    its name.

    Raises:
        UserError: more pictures were unreadable than read.
    """
    total = min(source.count, limit or source.count)
    split_of = assign_splits(total, splits, seed)
    squares = decode(islice(source.items, total), size, partial(random_square, seed), workers)
    names: list[list[bytes]] = [[] for _ in SPLITS]
    unreadable: list[str] = []
    # Without a cache, because HDF5 crashes if it finds the disk full when it empties that.
    with atomic_path(output) as temporary, h5py.File(temporary, "w", rdcc_nbytes=0) as file:
        shape = (size, size, 3)
        growing = {"maxshape": (None, *shape), "chunks": (1, *shape), "dtype": np.uint8}
        data = [
            file.create_dataset(f"{split}_img", (count, *shape), **growing)
            for split, count in zip(SPLITS, np.bincount(split_of, minlength=3), strict=True)
        ]
        bar = tqdm(squares, desc=output.name, total=total, unit="image")
        for number, (item, square) in enumerate(bar):
            if isinstance(square, UnreadableImage):
                unreadable.append(str(square))
                continue
            split = split_of[number]
            data[split][len(names[split])] = square
            # A name that is not UTF-8, of a file from elsewhere, has its odd bytes spelled out.
            names[split].append(item.member.encode("utf-8", "backslashreplace"))
        check_most_read(unreadable, total)
        for split, images, listed in zip(SPLITS, data, names, strict=True):
            images.resize(len(listed), axis=0)  # without the rows of broken pictures
            file.create_dataset(f"{split}_names", data=listed, dtype=h5py.string_dtype())
    return dict(zip(SPLITS, map(len, names), strict=True)), unreadable


def assign_splits(total: int, shares: Sequence[float], seed: int) -> np.ndarray:
    """The number of the split of each of `total` pictures, in shares as exact as they can be."""
    ends = np.rint(np.cumsum(shares) * total).astype(int)
    split_of = np.searchsorted(ends[:-1], np.arange(total), side="right")
    return np.random.default_rng(seed).permutation(split_of)


def random_square(seed: int, item: Item, image: Image.Image, size: int) -> Image.Image:
    """A random square along the longer side, by seed and name, resized by Lanczos' filter."""
    name = f"{seed} {item.member}".encode("utf-8", "surrogateescape")
    position = random.Random(name).random()
    side = min(image.size)
    left, top = (round(position * (length - side)) for length in image.size)
    box = (left, top, left + side, top + side)
    return image.resize((size, size), Image.Resampling.LANCZOS, box)


@contextmanager
def open_splits(path: str | Path) -> Iterator[dict[str, h5py.Dataset]]:
    """The pictures of each split, uint8 (N, size, size, 3), while the file is open.

    Raises:
        UserError: no such file, no HDF5 or one that is cut short, or no such pictures in it.
    """
    hint = "make it with jigsaw/to_hdf5.py"
    path = existing_file(path, "HDF5 file of pictures", hint)
    with open_hdf5(path) as file:
        images = {split: file.get(f"{split}_img") for split in SPLITS}
        for split, data in images.items():
            size = getattr(images["train"], "shape", ())[1:2]
            shape, kind = getattr(data, "shape", ())[1:], getattr(data, "dtype", None)
            if shape != (*size, *size, 3) or kind != np.uint8:
                form = "uint8 (N, size, size, 3) with one size for all"
                raise UserError(f"{path}: '{split}_img' is missing, or is not {form}; {hint}")
        yield images


def digest(images: Mapping[str, h5py.Dataset]) -> str:
    """What tells a file of other pictures, or of other splits, from this one: some rows of each."""
    sha256 = hashlib.sha256()
    for split, data in images.items():
        sha256.update(f"{split} {data.shape}".encode())
        for row in range(0, len(data), -(-len(data) // DIGESTED) or 1):
            sha256.update(data[row].tobytes())
    return sha256.hexdigest()
