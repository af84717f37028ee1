"""Arrays that stay in their files: what is asked for of them is read, and nothing else."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from captioning.cli import UserError


class StoredRows:
    """An array (N, ...) that lies in one piece of a file; indexing its first axis reads rows.

    The file is mapped into memory anew for each reading: the pages of a map that stays count as
    the program's memory, and files that stay open are few.

    `offset` is where in the file the array begins, in bytes, `shape` and `stored` (its data type)
    are as it lies there; `dtype` is that of the rows that are given out.
    """

    def __init__(
        self, path: str | Path, offset: int, shape: tuple[int, ...], stored, dtype=None
    ) -> None:
        self.path, self.offset, self.shape = Path(path), offset, tuple(shape)
        self.stored, self.dtype = np.dtype(stored), np.dtype(dtype or stored)
        self.ndim = len(self.shape)
        self._file = self._identity()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, which) -> np.ndarray:
        """Rows by a number, a slice of numbers or an array of them.

        Raises:
            UserError: the file is another one now.
        """
        numbers = np.arange(len(self))[which]
        if self._identity() != self._file:
            raise UserError(f"{self.path}: was replaced or cut while it was read; start again")
        mapped = np.memmap(self.path, self.stored, "r", self.offset, self.shape)
        rows = mapped[np.ravel(numbers)].astype(self.dtype, copy=False)
        return rows.reshape(*numbers.shape, *self.shape[1:])

    def _identity(self) -> tuple[int, int, int]:
        file = os.stat(self.path)
        return file.st_dev, file.st_ino, file.st_size


class JoinedRows:
    """Arrays (n, ...) one behind the other, as one array (N, ...)."""

    def __init__(self, parts: Sequence[StoredRows | np.ndarray]) -> None:
        self.parts = list(parts)
        self.begins = np.cumsum([0, *map(len, parts)])
        self.shape = (int(self.begins[-1]), *parts[0].shape[1:])
        self.dtype, self.ndim = parts[0].dtype, parts[0].ndim

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, which) -> np.ndarray:
        """Rows by a number, a slice of numbers or an array of them."""
        numbers = np.arange(len(self))[which]
        rows = np.empty((*numbers.shape, *self.shape[1:]), self.dtype)
        part_of = np.searchsorted(self.begins, numbers, side="right") - 1
        for part in np.unique(part_of):
            here = part_of == part
            rows[here] = self.parts[part][numbers[here] - self.begins[part]]
        return rows
