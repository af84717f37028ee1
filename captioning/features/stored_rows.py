"""Arrays that stay in their files: what is asked for of them is read, and nothing else."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from captioning.cli import UserError


class StoredRows:
    """An array (N, ...) that lies in one piece of a file; indexing its first axis reads rows.

    Read, not mapped into memory: the pages of a map count as the program's memory, which would
    grow to the size of the file. The system keeps what it has read while there is room for it.

    Args:
        path: the file.
        place: where in it the array begins, in bytes.
        shape, stored: of the array, as it lies there.
        dtype: of the rows that are given out.
    """

    def __init__(
        self, path: str | Path, place: int, shape: tuple[int, ...], stored, dtype=None
    ) -> None:
        self.path, self.place, self.shape = Path(path), place, tuple(shape)
        self.stored = np.dtype(stored)
        self.dtype = np.dtype(dtype or stored)
        self.ndim = len(self.shape)
        self._file = _identity(os.stat(path))
        self._size = int(np.prod(self.shape[1:], dtype=np.int64)) * self.stored.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, which) -> np.ndarray:
        """The rows with a number, a slice of numbers or an array of them.

        Raises:
            UserError: the file has become shorter, or is another one.
        """
        numbers = np.arange(len(self))[which]
        rows = np.empty((*numbers.shape, *self.shape[1:]), self.stored)
        pieces = rows.reshape(numbers.size, -1 if rows.size else 0).view(np.uint8)
        # Opened anew: threads do not meet in it, and a thousand shards are not open at once.
        with open(self.path, "rb", buffering=0) as file:
            for piece, number in zip(pieces, np.ravel(numbers), strict=True):
                file.seek(self.place + int(number) * self._size)
                if file.readinto(piece) != self._size:
                    raise UserError(f"{self.path}: has become shorter while it was read")
            if _identity(os.fstat(file.fileno())) != self._file:
                raise UserError(f"{self.path}: was replaced while it was read; start again")
        return rows.astype(self.dtype, copy=False)


def _identity(file: os.stat_result) -> tuple[int, int, int]:
    return file.st_dev, file.st_ino, file.st_size


class JoinedRows:
    """Arrays (n, ...) one behind the other, as one array (N, ...)."""

    def __init__(self, parts: Sequence[StoredRows]) -> None:
        self.parts = list(parts)
        self.begins = np.cumsum([0, *map(len, parts)])
        self.shape = (int(self.begins[-1]), *parts[0].shape[1:])
        self.dtype, self.ndim = parts[0].dtype, parts[0].ndim

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, which) -> np.ndarray:
        """The rows with a number, a slice of numbers or an array of them."""
        numbers = np.arange(len(self))[which]
        rows = np.empty((numbers.size, *self.shape[1:]), self.dtype)
        homes = np.searchsorted(self.begins, np.ravel(numbers), side="right") - 1
        for home in np.unique(homes):
            here = homes == home
            rows[here] = self.parts[home][np.ravel(numbers)[here] - self.begins[home]]
        return rows.reshape(*numbers.shape, *self.shape[1:])
