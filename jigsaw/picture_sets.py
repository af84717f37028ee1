"""The HDF5 file of square pictures: made so that a killed run can go on, and read again.

It holds `train_img`, `val_img` and `test_img`, uint8 (N, size, size, 3), a picture a chunk, and
`train_names`, `val_names` and `test_names`, the pictures' names inside their source.
"""

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image
from tqdm import tqdm

from captioning.cli import UserError
from captioning.files import atomic_path, existing_file, write_json
from captioning.images.reading import UnreadableImage
from captioning.images.sources import Item, Source, decode
from captioning.untrusted.hdf5 import open_hdf5

SPLITS = ("train", "val", "test")
PART = 256  # pictures that are written together: what a killed run loses at most
DIGESTED = 64  # pictures of each split, whose bytes are read to tell files apart


# ---- writing ---------------------------------------------------------------------------------


def convert(
    source: Source,
    output: Path,
    *,
    size: int,
    splits: Sequence[float],
    seed: int,
    limit: int | None = None,
    compression: str | None = None,
    workers: int | None = None,
    resume: bool = False,
) -> tuple[dict[str, int], list[str]]:
    """Write the pictures of `source` to `output`; return the rows by split, and what was broken.

    Which split a picture goes to follows from `seed` and its number, and its crop from `seed` and
    its name: a resumed run ends with the rows of an unbroken one.

    Raises:
        UserError: more pictures were unreadable than read, or `resume` finds a run with other
            settings or pictures.
    """
    total = min(source.count, limit or source.count)
    split_of = assign_splits(total, splits, seed)
    settings = {"pictures": total, "size": size, "splits": list(splits), "seed": seed}
    draft = _Draft(Path(f"{output}.parts"), settings)
    if not (resume and draft.resume()):
        draft.begin(np.bincount(split_of, minlength=len(SPLITS)).tolist())

    items = islice(source.items, total)
    draft.check_done(islice(items, draft.done))
    squares = decode(items, size, random_square(seed), workers)
    with tqdm(total=total, initial=draft.done, unit="image", desc=output.name) as bar:
        while part := list(islice(squares, PART)):
            draft.add(part, split_of)
            bar.update(len(part))
    if 2 * len(draft.unreadable) > total:
        raise UserError(
            f"{len(draft.unreadable)} of {total} pictures could not be read, "
            f"the first: {draft.unreadable[0][1]}"
        )
    draft.finish(output, split_of, compression)
    return dict(zip(SPLITS, draft.rows, strict=True)), [text for _, text in draft.unreadable]


def assign_splits(total: int, shares: Sequence[float], seed: int) -> np.ndarray:
    """The number of the split of each of `total` pictures, in shares as exact as they can be."""
    ends = np.rint(np.cumsum(shares) * total).astype(int)
    split_of = np.searchsorted(ends[:-1], np.arange(total), side="right")
    return np.random.default_rng(seed).permutation(split_of)


def random_square(seed: int) -> Callable[[Item], Callable[[Image.Image, int], Image.Image]]:
    """For each item a random square along the longer side, resized by Lanczos' filter."""

    def to_square(item: Item) -> Callable[[Image.Image, int], Image.Image]:
        place = random.Random(f"{seed} {item.member}".encode("utf-8", "surrogateescape")).random()

        def crop(image: Image.Image, size: int) -> Image.Image:
            side = min(image.size)
            left, top = (round(place * (length - side)) for length in image.size)
            box = (left, top, left + side, top + side)
            return image.resize((size, size), Image.Resampling.LANCZOS, box)

        return crop

    return to_square


class _Draft:
    """The file in the making, and a record of how far it is.

    All chunks are allocated when it is created, so that from then on it is a valid HDF5 file:
    writing pixels changes nothing but pixels, and a kill in between damages nothing. What lies
    beyond the record is written again.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.folder, self.settings = folder, settings
        self.pictures, self.record = folder / "pictures.hdf5", folder / "progress.json"
        self.done = 0
        self.rows = [0] * len(SPLITS)
        self.unreadable: list[tuple[int, str]] = []  # number and message
        self.names: list[str] = []  # of all pictures done, broken ones too
        self.digest = hashlib.sha256()  # of these names

    def begin(self, capacity: Sequence[int]) -> None:
        """A new file with room for `capacity` pictures a split."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        side = self.settings["size"]
        with h5py.File(self.pictures, "w") as file:
            for split, count in zip(SPLITS, capacity, strict=True):
                layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
                layout.set_chunk((1, side, side, 3))
                layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
                layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
                space = h5py.h5s.create_simple((count, side, side, 3))
                name = f"{split}_img".encode()
                h5py.h5d.create(file.id, name, h5py.h5t.NATIVE_UINT8, space, layout)
        self._save()

    def resume(self) -> bool:
        """Take up the record of a killed run, if there is one to go on with."""
        try:
            record = json.loads(self.record.read_text(encoding="utf-8"))
            before, closing, digest = record["settings"], record["closing"], record["digest"]
            done, rows = record["done"], record["rows"]
            unreadable = [tuple(entry) for entry in record["unreadable"]]
        except (OSError, ValueError, KeyError, TypeError):
            return False
        changed = [
            f"{name} was {before.get(name)}, not {value}"
            for name, value in self.settings.items()
            if before.get(name) != value
        ]
        if changed:
            raise UserError(
                f"{self.folder}: {'; '.join(changed)}; give the same settings to --resume"
            )
        if closing:  # killed in the moment of adding the names, when the file is not valid
            return False
        open_hdf5(self.pictures).close()
        self.done, self.rows, self.unreadable = done, rows, unreadable
        self.expected_digest = digest
        return True

    def check_done(self, items: Iterable[Item]) -> None:
        """Refuse to go on with other pictures than those done so far."""
        self._count(items)
        if self.names and self.digest.hexdigest() != self.expected_digest:
            raise UserError(
                f"{self.folder}: was begun with other pictures; start again without --resume"
            )

    def add(self, part: list[tuple[Item, np.ndarray | UnreadableImage]], split_of) -> None:
        """Write the pictures that come next, and then that they are written."""
        with h5py.File(self.pictures, "r+") as file:
            data = [file[f"{split}_img"].id for split in SPLITS]
            for number, (_, square) in enumerate(part, start=self.done):
                if isinstance(square, UnreadableImage):
                    self.unreadable.append((number, str(square)))
                    continue
                split = split_of[number]
                # Half the time of data[row] = square, which is worked out for any selection.
                data[split].write_direct_chunk((self.rows[split], 0, 0, 0), square)
                self.rows[split] += 1
        self.done += len(part)
        self._count(item for item, _ in part)
        self._save()

    def finish(self, output: Path, split_of: np.ndarray, compression: str | None) -> None:
        """Add the names, cut off rows that broken pictures left empty, and move to `output`."""
        broken = {number for number, _ in self.unreadable}
        names: dict[str, list[str]] = {split: [] for split in SPLITS}
        for number, name in enumerate(self.names):
            if number not in broken:
                names[SPLITS[split_of[number]]].append(name)
        if compression:
            with atomic_path(output) as temporary:
                self._compress(temporary, compression)
                self._add_names(temporary, names)
        else:
            self._save(closing=True)
            with h5py.File(self.pictures, "r+") as file:
                for split, count in zip(SPLITS, self.rows, strict=True):
                    file[f"{split}_img"].resize(count, axis=0)
            self._add_names(self.pictures, names)
            os.replace(self.pictures, output)
        shutil.rmtree(self.folder)

    def _compress(self, path: Path, compression: str) -> None:
        with h5py.File(self.pictures, "r") as draft, h5py.File(path, "w") as file:
            for split, count in zip(SPLITS, self.rows, strict=True):
                data = draft[f"{split}_img"]
                shape = data.shape[1:]
                copy = file.create_dataset(
                    data.name, (count, *shape), np.uint8, maxshape=(None, *shape),
                    chunks=data.chunks, compression=compression,
                )  # fmt: skip
                for first in range(0, count, PART):
                    copy[first : first + PART] = data[first : min(first + PART, count)]

    def _add_names(self, path: Path, names: dict[str, list[str]]) -> None:
        with h5py.File(path, "r+") as file:
            file.attrs["settings"] = json.dumps(self.settings)
            for split, listed in names.items():
                # A name that is not UTF-8, of a file from elsewhere, has its odd bytes spelled out.
                listed = [name.encode("utf-8", "backslashreplace").decode() for name in listed]
                file.create_dataset(f"{split}_names", data=listed, dtype=h5py.string_dtype())

    def _count(self, items: Iterable[Item]) -> None:
        for item in items:
            self.names.append(item.member)
            self.digest.update(item.member.encode(errors="surrogateescape") + b"\n")

    def _save(self, closing: bool = False) -> None:
        write_json(self.record, {
            "settings": self.settings, "done": self.done, "rows": self.rows, "closing": closing,
            "unreadable": self.unreadable, "digest": self.digest.hexdigest(),
        })  # fmt: skip


# ---- reading ---------------------------------------------------------------------------------


def open_split(path: str | Path, split: str) -> h5py.Dataset:
    """The pictures of a split, uint8 (N, size, size, 3), in a file opened for it.

    Raises:
        UserError: no such file, no HDF5 or one that is cut short, or no such pictures in it.
    """
    path = existing_file(path, "HDF5 file of pictures", "make it with jigsaw/to_hdf5.py")
    data = open_hdf5(path).get(f"{split}_img")
    if not isinstance(data, h5py.Dataset):
        raise UserError(f"{path}: has no '{split}_img'; make it with jigsaw/to_hdf5.py")
    shape = data.shape
    if len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3 or data.dtype != np.uint8:
        raise UserError(
            f"{path}: '{split}_img' is {data.dtype} {shape}, not uint8 (N, size, size, 3)"
        )
    return data


def digest(path: str | Path) -> str:
    """What tells a file of other pictures, or of other splits, from this one: some rows of each.

    Raises:
        UserError: as `open_split`.
    """
    found = hashlib.sha256()
    for split in SPLITS:
        pictures = open_split(path, split)
        found.update(f"{split} {pictures.shape}".encode())
        for row in range(0, len(pictures), -(-len(pictures) // DIGESTED) or 1):
            found.update(pictures[row].tobytes())
    return found.hexdigest()
