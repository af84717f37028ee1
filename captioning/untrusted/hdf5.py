"""A look at an HDF5 file from a stranger before anything in it is read.

HDF5 can point out of itself: to a data set in another file, to a stretch of any file on the disk,
to parts of other files put together. And it can claim a size that it does not hold, which is set
aside in memory when the data set is read (in Keras: CVE-2026-1669 and CVE-2026-0897).
"""

import math
from pathlib import Path

import h5py

from captioning.cli import UserError, in_file

# A data set may unpack to so many times its bytes in the file, or to these: compressed features
# shrink to a tenth at best.
_LARGEST_EXPANSION, _SMALL = 100, 1 << 24
_LARGEST_PIECE = 1 << 28  # bytes: a picture of 89 megapixels, which is the largest that is read


def open_hdf5(path: str | Path, *, sizes: bool = True) -> h5py.File:
    """Open a file for reading after a look at it; see `check_hdf5`.

    Raises:
        UserError: damaged, no HDF5 file, being written, or refused.
    """
    # What another program is writing must not be taken for damaged, and made again.
    what = "cannot be read as HDF5: damaged, or it is open in another program; then wait for that"
    with in_file(path, what):
        file = h5py.File(path, "r")
        check_hdf5(file, sizes=sizes)
    return file


def check_hdf5(file: h5py.File, *, sizes: bool = True) -> None:
    """Raise a `UserError` for a file that points out of itself, or claims more than it holds.

    Without `sizes` for files that are read row by row, and may be half filled: there only a row
    and a chunk, which HDF5 reads at once, may not be larger than the largest picture.
    """
    links = []
    file.visititems_links(lambda name, link: links.append((name, link)))
    for name, link in links:
        if not isinstance(link, h5py.HardLink):
            raise UserError(f"refused, because '{name}' in it is a link to somewhere else")
        data = file[name]
        if not isinstance(data, h5py.Dataset):
            continue
        if data.external or data.is_virtual:
            raise UserError(f"refused, because the numbers of '{name}' lie in other files")
        if not sizes:
            piece = max(math.prod(data.shape[1:]), math.prod(data.chunks or ()))
            if piece * data.dtype.itemsize > _LARGEST_PIECE:
                raise UserError(f"refused, because a row of '{name}' is too large")
            continue
        claimed, held = data.nbytes, data.id.get_storage_size()
        if claimed > max(_LARGEST_EXPANSION * held, _SMALL):
            raise UserError(f"refused, because '{name}' claims {claimed} bytes and holds {held}")
