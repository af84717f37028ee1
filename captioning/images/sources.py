"""Pictures in folders, archives and HDF5 files: how many there are, and each in its turn."""

import gzip
import lzma
import os
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import h5py
import numpy as np
from PIL import Image

from captioning.cli import UserError
from captioning.images.folders import is_image, no_image, open_file, tell_heic, walk_images
from captioning.images.names import Excluded
from captioning.images.prefetch import GROUP, prefetch
from captioning.images.reading import UnreadableImage, load_rgb, squash
from captioning.untrusted.hdf5 import open_hdf5

_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
LARGEST_FILE = 200 << 20  # bytes; no photograph is larger, but a hostile archive's member may be


class Item(NamedTuple):
    """A picture that can be read until the next item is asked for."""

    name: str  # for messages
    member: str  # its name inside its source
    read: Callable[[], bytes | np.ndarray]


class Source(NamedTuple):
    """Pictures of one or more paths, in an order that is always the same."""

    count: int
    items: Iterator[Item]


def open_sources(paths: Iterable[str | Path], exclude: Iterable[str] = ()) -> Source:
    """The pictures of all `paths`: folders, zips, tars, and HDF5 files of uint8 (N, H, W, 3).

    Folders are searched with all that is in them. Pictures that `exclude` names are left out, and
    how many is said on stderr; see `names.Excluded`. An archive is open while it is counted, and
    again while its items are asked for: of however many, never more than one.

    Raises:
        UserError: a path is missing, is none of these, is damaged or holds no picture.
    """
    excluded = Excluded(exclude)
    kinds = [(path, _kind(path)) for path in map(Path, paths)]
    counts = [_count(path, items_of, excluded) for path, items_of in kinds]
    for (path, items_of), count in zip(kinds, counts, strict=True) if excluded else ():
        every = _count(path, items_of, Excluded())
        print(f"{path}: {every - count} of {every} pictures left out (--exclude)", file=sys.stderr)
    items = (item for path, items_of in kinds for item in items_of(path, excluded))
    return Source(sum(counts), items)


def decode(
    items: Iterable[Item],
    size: int,
    to_square: Callable[[Item, Image.Image, int], Image.Image] = lambda _, *of: squash(*of),
    workers: int | None = None,
) -> Iterator[tuple[Item, np.ndarray | UnreadableImage]]:
    """Each item with its pixels, uint8 (size, size, 3), in order, decoded some ahead by threads.

    `to_square` makes an item's picture a square of so many pixels a side.
    """

    def read(item: Item) -> tuple[Item, bytes | np.ndarray | UnreadableImage]:
        try:
            return item, item.read()
        except Exception as error:  # damaged archives fail in their own ways: CRC, zlib, lzma, HDF5
            return item, UnreadableImage(f"{item.name}: {error}")

    def square(job: tuple[Item, bytes | np.ndarray | UnreadableImage]):
        item, content = job
        try:
            if isinstance(content, bytes):
                content = load_rgb(item.name, size, partial(to_square, item), content)
            elif isinstance(content, np.ndarray):
                content = np.asarray(to_square(item, Image.fromarray(content), size))
        except UnreadableImage as error:
            content = error
        return item, content

    # Read in one thread, because a tar gives its members one after the other.
    depth = 2 * GROUP * (workers or os.cpu_count())
    return prefetch(square, map(read, items), depth=depth, workers=workers)


def _kind(path: Path) -> Callable[[Path, Excluded], Iterator[Item]]:
    """What gives the items of a path."""
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    for is_kind, items_of in (
        (Path.is_dir, _in_folder),
        (zipfile.is_zipfile, _in_zip),
        (h5py.is_hdf5, _in_hdf5),
        (tarfile.is_tarfile, _in_tar),
    ):
        if is_kind(path):
            return items_of
    raise UserError(f"{path}: neither a folder, a zip, a tar nor an HDF5 file of pictures")


def _count(path: Path, items_of: Callable, excluded: Excluded) -> int:
    try:
        count = sum(1 for _ in items_of(path, excluded))
    except (*_DAMAGED, NotImplementedError, ValueError, EOFError) as error:
        raise UserError(f"{path}: a damaged archive ({error})") from error
    if count == 0:
        raise no_image(path)
    return count


def _in_folder(path: Path, excluded: Excluded) -> Iterator[Item]:
    for file in walk_images(path):
        if str(file) not in excluded:
            yield Item(str(file), file.relative_to(path).as_posix(), partial(_content, file))


def _content(path: Path) -> bytes:
    with open_file(path) as file:
        return file.read()


def _in_zip(path: Path, excluded: Excluded) -> Iterator[Item]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                opened = partial(archive.open, info)
                yield from _member(path, info.filename, info.file_size, opened, excluded)
        tell_heic(path, archive.namelist())


class _Header(tarfile.TarInfo):
    """A member's header. One that is damaged is an error, not the end of the archive."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> tarfile.TarInfo:
        try:
            return super().fromtarfile(archive)
        except (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError) as error:
            raise tarfile.ReadError(str(error)) from error


def _in_tar(path: Path, excluded: Excluded) -> Iterator[Item]:
    with tarfile.open(path, tarinfo=_Header) as archive:
        for info in archive:
            if info.isfile():
                opened = partial(archive.extractfile, info)
                yield from _member(path, info.name, info.size, opened, excluded)
        tell_heic(path, archive.getnames())


def _member(
    path: Path, name: str, size: int, opened: Callable[[], BinaryIO], excluded: Excluded
) -> Iterator[Item]:
    """The member of an archive, if it is a picture that is wanted."""

    def read() -> bytes:
        if size > LARGEST_FILE:
            raise ValueError("too large for a photograph")
        return opened().read()

    if is_image(name, opened) and name not in excluded:
        yield Item(f"{path}: {name}", name, read)


def _in_hdf5(path: Path, excluded: Excluded) -> Iterator[Item]:
    """All uint8 data sets (N, H, W, 3) of the file, less the pictures that are excluded.

    The names of those in `x_img` are in `x_names`, as `jigsaw/to_hdf5.py` writes them.
    """
    with open_hdf5(path, sizes=False) as file:
        sets: list[str] = []
        file.visit(sets.append)
        for name in sets:
            data = file[name]
            shape = getattr(data, "shape", ())
            if len(shape) == 4 and shape[3] == 3 and data.dtype == np.uint8:
                numbers = [f"{name.replace('/', '.')}[{row}]" for row in range(len(data))]
                members = _names(path, data, needed=bool(excluded)) or numbers
                for row, member in enumerate(members):
                    if member not in excluded:
                        yield Item(f"{path}: {member}", member, partial(data.__getitem__, row))


def _names(path: Path, data: h5py.Dataset, *, needed: bool) -> list[str] | None:
    """What the file calls the pictures in `data`. `UserError`: nothing, although it is `needed`."""
    names = data.file.get(f"{data.name.removesuffix('_img')}_names")
    if isinstance(names, h5py.Dataset) and names.shape == (len(data),):
        try:
            return list(names.asstr()[:])
        except (TypeError, ValueError) as error:  # numbers, or bytes that are no UTF-8
            reason = f"'{names.name[1:]}' holds no names ({error})"
    else:
        reason = (
            f"does not name the pictures in '{data.name[1:]}', so that none can be left "
            "out (--exclude); make it with jigsaw/to_hdf5.py, of the other pictures alone"
        )
    if needed:
        raise UserError(f"{path}: {reason}")
    return None
