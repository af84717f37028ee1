"""Pictures in folders, archives and HDF5 files: how many there are, and each in its turn."""

import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import h5py
import numpy as np
from PIL import Image

from captioning.cli import UserError
from captioning.images.ahead import GROUP, ahead
from captioning.images.folders import BEGINNING, SUFFIXES, is_hidden, is_picture, walk_images
from captioning.images.names import Excluded
from captioning.images.reading import UnreadableImage, decode_rgb, squash
from captioning.untrusted.hdf5 import open_hdf5

LARGEST_FILE = 200 << 20  # bytes; no photograph is larger, but a hostile archive's member may be


class Item(NamedTuple):
    """A picture not yet read."""

    name: str  # for messages
    member: str  # its name inside its source
    read: Callable[[], bytes | np.ndarray]

    @property
    def folder(self) -> str:
        """The folder that it lies in, empty at the top of its source."""
        return PurePosixPath(self.member).parent.name


class Source(NamedTuple):
    """Pictures of one path, in an order that is always the same."""

    count: int
    items: Iterable[Item]


def open_sources(paths: Iterable[str | Path], exclude: Iterable[str] = ()) -> Source:
    """The pictures of all `paths`: folders, zips, tars, and HDF5 files of uint8 (N, H, W, 3).

    Folders are searched with all that is in them. Pictures that `exclude` names are left out; see
    `names.Excluded`.

    Raises:
        UserError: a path is missing, is none of these, is damaged or holds no picture.
    """
    exclude = Excluded(exclude)
    sources = [_open(path, exclude) for path in map(Path, paths)]
    items = (item for source in sources for item in source.items)
    return Source(sum(source.count for source in sources), items)


def decode(
    items: Iterable[Item],
    size: int,
    to_square: Callable[[Item], Callable[[Image.Image, int], Image.Image]] = lambda _: squash,
    workers: int | None = None,
) -> Iterator[tuple[Item, np.ndarray | UnreadableImage]]:
    """Each item with its pixels, uint8 (size, size, 3), in order, decoded some ahead by threads.

    `to_square` gives the function that makes an item's picture a square.
    """

    def square(job: tuple[Item, bytes | np.ndarray | UnreadableImage]):
        item, content = job
        try:
            if isinstance(content, bytes):
                content = decode_rgb(io.BytesIO(content), item.name, size, to_square(item))
            elif isinstance(content, np.ndarray):
                content = np.asarray(to_square(item)(Image.fromarray(content), size))
        except UnreadableImage as error:
            content = error
        return item, content

    # Read in one thread, because a tar gives its members one after the other.
    jobs = ((item, _content(item)) for item in items)
    depth = 2 * GROUP * (workers or os.cpu_count())
    return ahead(square, jobs, depth=depth, workers=workers)


def _content(item: Item) -> bytes | np.ndarray | UnreadableImage:
    try:
        return item.read()
    except Exception as error:  # a damaged archive fails in its own ways: CRC, zlib, lzma, HDF5
        return UnreadableImage(f"{item.name}: {error}")


# ---- the kinds of source ---------------------------------------------------------------------


def _open(path: Path, exclude: Excluded) -> Source:
    def wanted(name: str, beginning: Callable[[], bytes]) -> bool:
        hidden = is_hidden(name)
        return not hidden and is_picture(name, beginning) and name not in exclude

    if path.is_dir():
        source = _folder(path, exclude)
    elif not path.exists():
        raise UserError(f"{path}: no such file or folder")
    elif zipfile.is_zipfile(path):
        source = _zip(path, wanted)
    elif h5py.is_hdf5(path):
        source = _hdf5(path, exclude)
    elif tarfile.is_tarfile(path):
        source = _tar(path, wanted)
    else:
        raise UserError(f"{path}: neither a folder, a zip, a tar nor an HDF5 file of pictures")
    if source.count == 0:
        raise UserError(f"{path}: holds no picture ({', '.join(sorted(SUFFIXES))})")
    return source


def _folder(path: Path, exclude: Excluded) -> Source:
    files = [file for file in walk_images(path) if str(file) not in exclude]
    items = (Item(str(p), p.relative_to(path).as_posix(), p.read_bytes) for p in files)
    return Source(len(files), items)


def _check_size(size: int) -> None:
    if size > LARGEST_FILE:
        raise ValueError("too large for a photograph")


def _zip(path: Path, wanted: Callable[[str, Callable[[], bytes]], bool]) -> Source:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise UserError(f"{path}: a damaged zip ({error})") from error

    def beginning(info: zipfile.ZipInfo) -> bytes:
        try:
            with archive.open(info) as member:
                return member.read(BEGINNING)
        except Exception:  # damaged, encrypted, or of a method that is not known
            return b""

    members = [
        info
        for info in archive.infolist()
        if not info.is_dir() and wanted(info.filename, partial(beginning, info))
    ]

    def read(info: zipfile.ZipInfo) -> bytes:
        _check_size(info.file_size)
        return archive.read(info)

    items = (Item(f"{path}: {i.filename}", i.filename, lambda i=i: read(i)) for i in members)
    return Source(len(members), items)


def _tar(path: Path, wanted: Callable[[str, Callable[[], bytes]], bool]) -> Source:
    def members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
        for m in archive:
            if m.isfile():
                member = archive.extractfile(m)
                if wanted(m.name, lambda member=member: member.read(BEGINNING)):
                    yield m

    def read(archive: tarfile.TarFile, m: tarfile.TarInfo) -> bytes:
        _check_size(m.size)
        return archive.extractfile(m).read()

    def items() -> Iterator[Item]:
        with tarfile.open(path) as archive:
            for m in members(archive):
                name = f"{path}: {m.name}"
                yield Item(name, m.name, lambda m=m: read(archive, m))

    try:
        with tarfile.open(path) as archive:
            count = sum(1 for _ in members(archive))
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{path}: a damaged tar ({error})") from error
    return Source(count, items())


def _hdf5(path: Path, exclude: Excluded) -> Source:
    """All uint8 data sets (N, H, W, 3) of the file, less the pictures named in `exclude`.

    The names of those in `x_img` are in `x_names`, as `jigsaw/to_hdf5.py` writes them.
    """
    file = open_hdf5(path, sizes=False)
    found: list[tuple[h5py.Dataset, Sequence[int]]] = []

    def look(_: str, item) -> None:
        shape = getattr(item, "shape", ())
        if len(shape) == 4 and shape[3] == 3 and item.dtype == np.uint8:
            found.append((item, _rows(path, file, item, exclude)))

    file.visititems(look)
    items = (
        Item(f"{path}: {member}", member, lambda data=data, row=row: data[row])
        for data, rows in found
        for row in rows
        for member in [f"{data.name[1:].replace('/', '.')}[{row}]"]
    )
    return Source(sum(len(rows) for _, rows in found), items)


def _rows(path: Path, file: h5py.File, data: h5py.Dataset, exclude: Excluded) -> Sequence[int]:
    """The rows of pictures that are not in `exclude`."""
    if not exclude:
        return range(len(data))
    names = file.get(f"{data.name.removesuffix('_img')}_names")
    if not isinstance(names, h5py.Dataset) or names.shape != (len(data),):
        raise UserError(
            f"{path}: does not name the pictures in '{data.name[1:]}', so that none can be left "
            "out (--exclude); make it with jigsaw/to_hdf5.py, of the other pictures alone"
        )
    try:
        listed = names.asstr()[:]
    except (TypeError, ValueError) as error:  # numbers, or bytes that are no UTF-8
        raise UserError(f"{path}: '{names.name[1:]}' holds no names ({error})") from error
    return [row for row, name in enumerate(listed) if name not in exclude]
