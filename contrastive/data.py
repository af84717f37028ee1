"""Unlabelled pictures from folders, archives and HDF5 files, decoded once to small squares."""

import io
import tarfile
import zipfile
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import h5py
import numpy as np
from PIL import Image
from tqdm import tqdm

from captioning.cli import UserError
from captioning.datasets import image_id
from captioning.hdf5 import check_hdf5
from captioning.images import SUFFIXES, UnreadableImage, decode_rgb

LARGEST_FILE = 200 << 20  # bytes; no photograph is larger, but a hostile archive's member may be


class Pictures(NamedTuple):
    """Pixels (N, S, S, 3), uint8, in memory or mapped from a file; a class a picture, or -1.

    `classes` names them: the folders that the pictures lay in, where there were several.
    """

    pixels: np.ndarray
    labels: np.ndarray
    classes: list[str]
    unreadable: list[str]


class _Item(NamedTuple):
    name: str
    folder: str  # "" at the top of its source
    read: Callable[[], bytes | np.ndarray]


def load_pictures(
    paths: Sequence[str | Path],
    size: int,
    *,
    limit: int | None = None,
    exclude: Collection[str] = (),
    memory_limit: float = 8.0,
    spill: Path | None = None,
) -> Pictures:
    """Decode all pictures of `paths` (folders, zips, tars, HDF5 files) to squares of `size`.

    They stay in memory up to `memory_limit` GiB. Above it they go to the file `spill`, which is
    then mapped: training streams from it, and the system caches what fits.

    A broken picture is left out and named in `unreadable`. `limit` takes the first so many, and
    `exclude` leaves out pictures by their `image_id`.

    Raises:
        UserError: a path is missing or holds no picture, more pictures were unreadable than read,
            or they are too large for memory and there is no `spill`.
    """
    sources = [_open(path, frozenset(exclude)) for path in map(Path, paths)]
    total = sum(count for count, _ in sources)
    total = min(total, limit or total)
    shape = (total, size, size, 3)
    if np.prod(shape, dtype=float) <= memory_limit * 2**30:
        pixels = np.empty(shape, np.uint8)
    elif spill is None:
        raise UserError(f"{total} pictures of {size} px do not fit in {memory_limit} GiB")
    else:
        spill.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.lib.format.open_memmap(spill, "w+", np.uint8, shape)

    folders, unreadable = [], []
    items = (item for _, found in sources for item in found)
    with tqdm(total=total, unit="image", desc="pictures") as bar:
        for item, square in _decode(items, size, total):
            if isinstance(square, UnreadableImage):
                unreadable.append(str(square))
            else:
                pixels[len(folders)] = square
                folders.append(item.folder)
            bar.update()
    if len(unreadable) > len(folders):
        raise UserError(
            f"{len(unreadable)} of {total} pictures could not be read, the first: {unreadable[0]}"
        )
    classes = sorted(set(folders) - {""})
    number = {name: label for label, name in enumerate(classes)}
    labels = np.array([number.get(folder, -1) for folder in folders], np.int32)
    return Pictures(pixels[: len(folders)], labels, classes, unreadable)


def batches(
    pixels: np.ndarray,
    batch_size: int,
    *,
    seed: int,
    step: int = 0,
    share: tuple[int, int] = (0, 1),
) -> Iterator[tuple[np.ndarray]]:
    """Batches (n, S, S, 3) without end, from `step` on; the rest of an epoch is left out.

    The order of an epoch follows from `seed` and its number alone, so a resumed run goes on with
    the batch that a killed one would have seen. Of `share` = (part, parts), each of several
    processes takes its own part of every batch.
    """
    part, parts = share
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


def _decode(
    items: Iterable[_Item], size: int, total: int
) -> Iterator[tuple[_Item, np.ndarray | UnreadableImage]]:
    """The first `total` items with their pixels, in order, decoded some ahead by threads."""

    def square(item: _Item, content: bytes | np.ndarray | UnreadableImage):
        try:
            if isinstance(content, UnreadableImage):
                return content
            if isinstance(content, bytes):
                return decode_rgb(io.BytesIO(content), item.name, size)
            image = Image.fromarray(content).convert("RGB")
            return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))
        except UnreadableImage as error:
            return error

    with ThreadPoolExecutor() as pool:
        waiting: deque = deque()
        try:
            for _, item in zip(range(total), items, strict=False):
                waiting.append((item, pool.submit(square, item, _content(item))))
                if len(waiting) > 64:
                    item, future = waiting.popleft()
                    yield item, future.result()
            for item, future in waiting:
                yield item, future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _content(item: _Item) -> bytes | np.ndarray | UnreadableImage:
    try:
        return item.read()
    except Exception as error:  # a damaged archive fails in its own ways: CRC, zlib, lzma, HDF5
        return UnreadableImage(f"{item.name}: {error}")


# ---- sources: how many pictures, and an iterator over them -----------------------------------


def _open(path: Path, exclude: frozenset[str]) -> tuple[int, Iterable[_Item]]:
    def wanted(name: str) -> bool:
        return _is_picture(name) and image_id(name) not in exclude

    if path.is_dir():
        count, items = _folder(path, wanted)
    elif not path.exists():
        raise UserError(f"{path}: no such file or folder")
    elif zipfile.is_zipfile(path):
        count, items = _zip(path, wanted)
    elif h5py.is_hdf5(path):
        count, items = _hdf5(path)
    elif tarfile.is_tarfile(path):
        count, items = _tar(path, wanted)
    else:
        raise UserError(f"{path}: neither a folder, a zip, a tar nor an HDF5 file of pictures")
    if count == 0:
        raise UserError(f"{path}: holds no picture ({', '.join(sorted(SUFFIXES))})")
    return count, items


def _is_picture(name: str) -> bool:
    path = PurePosixPath(name)
    # "._x.jpg" and __MACOSX/ are what archivers on a Mac add.
    hidden = path.name.startswith(".") or "__MACOSX" in path.parts
    return path.suffix.lower() in SUFFIXES and not hidden


def _parent(name: str) -> str:
    return PurePosixPath(name).parent.name


def _folder(path: Path, wanted: Callable[[str], bool]) -> tuple[int, Iterable[_Item]]:
    files = sorted(p for p in path.rglob("*") if wanted(p.name) and p.is_file())
    items = (_Item(str(p), _parent(p.relative_to(path).as_posix()), p.read_bytes) for p in files)
    return len(files), items


def _zip(path: Path, wanted: Callable[[str], bool]) -> tuple[int, Iterable[_Item]]:
    archive = zipfile.ZipFile(path)
    members = [info for info in archive.infolist() if wanted(info.filename)]

    def read(info: zipfile.ZipInfo) -> bytes:
        if info.file_size > LARGEST_FILE:
            raise ValueError("too large for a photograph")
        return archive.read(info)

    items = (
        _Item(f"{path}: {i.filename}", _parent(i.filename), lambda i=i: read(i)) for i in members
    )
    return len(members), items


def _tar(path: Path, wanted: Callable[[str], bool]) -> tuple[int, Iterable[_Item]]:
    def members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
        return (m for m in archive if m.isfile() and wanted(m.name) and m.size < LARGEST_FILE)

    def items() -> Iterator[_Item]:
        with tarfile.open(path) as archive:
            for m in members(archive):
                yield _Item(
                    f"{path}: {m.name}",
                    _parent(m.name),
                    lambda m=m: archive.extractfile(m).read(),
                )

    try:
        with tarfile.open(path) as archive:
            count = sum(1 for _ in members(archive))
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{path}: a damaged tar ({error})") from error
    return count, items()


def _hdf5(path: Path) -> tuple[int, Iterable[_Item]]:
    """All uint8 data sets (N, H, W, 3) of the file."""
    file = h5py.File(path, "r")
    try:
        check_hdf5(file, sizes=False)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    found: list[h5py.Dataset] = []

    def look(_: str, item) -> None:
        shape = getattr(item, "shape", ())
        if len(shape) == 4 and shape[3] == 3 and item.dtype == np.uint8:
            found.append(item)

    file.visititems(look)
    items = (
        _Item(f"{path}: {data.name}[{row}]", "", lambda data=data, row=row: data[row])
        for data in found
        for row in range(len(data))
    )
    return sum(map(len, found)), items
