"""Puzzles for training and measuring, cut from pictures as they are needed."""

import keras
import numpy as np

from jigsaw.image_preprocessing.image_transform import JigsawCreator


class DataGenerator(keras.utils.PyDataset):
    """Batches of puzzles: tiles (B, tiles, t, t, 3), uint8, and permutation numbers (B,).

    A puzzle follows from `seed`, the epoch and the batch's number alone, whichever thread cuts it.
    With `shuffle`, every epoch, which `start_epoch` begins, has another order and other puzzles,
    and leaves out pictures that fill no batch; without, the last batch may be smaller. `images` are
    uint8 (N, S, S, 3) of the creator's size, in memory or in an open HDF5 file, of which `limit`
    takes so many at random. `workers` are threads that cut batches ahead.
    """

    def __init__(
        self,
        images: np.ndarray,
        creator: JigsawCreator,
        *,
        batch_size: int,
        seed: int = 0,
        shuffle: bool = True,
        limit: int | None = None,
        workers: int = 1,
    ) -> None:
        # A batch may take tens of megabytes: few wait.
        super().__init__(workers=workers, max_queue_size=2 * workers)
        self.images, self.creator = images, creator
        self.batch_size, self.seed, self.shuffle = batch_size, seed, shuffle
        self.rows = np.arange(len(images))
        if limit:
            self.rows = np.sort(np.random.default_rng(seed).permutation(self.rows)[:limit])
        self.start_epoch(0)

    def start_epoch(self, epoch: int, first: int = 0) -> None:
        """Go to an epoch, counted from 0, and to its batch `first`, which becomes number 0."""
        self.epoch, self.first = epoch, first
        self.order = self.rows
        if self.shuffle:
            self.order = np.random.default_rng((self.seed, self.epoch)).permutation(self.rows)

    def __len__(self) -> int:
        rows = len(self.rows) if self.shuffle else len(self.rows) + self.batch_size - 1
        return rows // self.batch_size - self.first

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        number += self.first
        first = number * self.batch_size
        # Sorted, because a file is read faster from front to back.
        rows = np.sort(self.order[first : first + self.batch_size])
        # h5py takes 100 times as long for images[rows].
        batch = np.stack([self.images[row] for row in rows])
        return self.creator.cut(batch, np.random.default_rng((self.seed, self.epoch, number)))
