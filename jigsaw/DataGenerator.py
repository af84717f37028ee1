"""Puzzles for training and measuring, cut from a split of an HDF5 file as they are needed."""

import os
from pathlib import Path

import h5py
import keras
import numpy as np

from captioning.cli import UserError
from jigsaw.image_preprocessing.image_transform import JigsawCreator, normalise
from jigsaw.picture_sets import open_split


class DataGenerator(keras.utils.PyDataset):
    """Batches of puzzles: tiles (B, tiles, t, t, 3), float32, and permutation numbers (B,).

    A puzzle follows from `seed`, the epoch and the batch's number alone, whoever cuts it. With
    `shuffle`, every epoch has another order and other puzzles, and leaves out pictures that fill
    no batch; without, all epochs are alike, and the last batch may be smaller. Each worker process
    opens the file itself.

    Args:
        path: HDF5 file of `jigsaw/to_hdf5.py`.
        split: "train", "val" or "test".
        creator: cuts the puzzles.
        batch_size: puzzles.
        limit: number of pictures to use, drawn at random.
        workers: threads (with `use_multiprocessing`, processes) that cut batches ahead.

    Raises:
        UserError: no such split, or pictures of another size than the creator's.
    """

    def __init__(
        self,
        path: str | Path,
        split: str,
        creator: JigsawCreator,
        *,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        limit: int | None = None,
        workers: int = 1,
        **kwargs,
    ) -> None:
        # A batch may take tens of megabytes: few wait.
        super().__init__(workers=workers, max_queue_size=2 * workers, **kwargs)
        self.path, self.split, self.creator = Path(path), split, creator
        self.batch_size, self.seed, self.shuffle = batch_size, seed, shuffle
        self._opened: tuple[int, h5py.Dataset] | None = None
        count, side = self.pictures.shape[:2]
        if side != creator.picture_size:
            raise UserError(
                f"{path}: the {split} pictures have {side} px, not {creator.picture_size} as the "
                "puzzles are cut from; make the file again with jigsaw/to_hdf5.py"
            )
        rows = np.random.default_rng(seed).permutation(count)[:limit] if limit else range(count)
        self.rows = np.sort(rows)
        self.start_epoch(0)

    @property
    def pictures(self) -> h5py.Dataset:
        """The split's pictures, in a file that this process has opened."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = os.getpid(), open_split(self.path, self.split)
        return self._opened[1]

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_opened": None}

    def start_epoch(self, epoch: int, first: int = 0) -> None:
        """Go to an epoch, counted from 0, and to its batch `first`, which becomes number 0.

        Without `shuffle`, all epochs are the one with number 0.
        """
        self.epoch, self.first = epoch if self.shuffle else 0, first
        self.order = self.rows
        if self.shuffle:
            self.order = np.random.default_rng((self.seed, self.epoch)).permutation(self.rows)

    def on_epoch_end(self) -> None:
        """Called by Keras: after an epoch, but also before the first one of `fit`."""
        self.start_epoch(self.epoch + 1)

    def __len__(self) -> int:
        whole, rest = divmod(len(self.rows), self.batch_size)
        return (whole if self.shuffle else whole + (rest > 0)) - self.first

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        tiles, numbers = self.cut(number)
        return normalise(tiles), numbers

    def cut(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """A batch before normalisation: uint8 tiles."""
        number += self.first
        first = number * self.batch_size
        # Sorted, because a file is read faster from front to back.
        rows = np.sort(self.order[first : first + self.batch_size])
        data = self.pictures
        batch = np.empty((len(rows), *data.shape[1:]), np.uint8)
        for place, row in enumerate(rows):  # h5py takes 100 times as long for data[rows]
            batch[place] = data[row]
        random = np.random.default_rng((self.seed, self.epoch, number))
        return self.creator.cut(batch, random)
