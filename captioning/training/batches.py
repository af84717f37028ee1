"""Captions in batches of equal length, with the features of their pictures."""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import keras
import numpy as np

from captioning.cli import UserError
from captioning.distribution import World
from captioning.features.reading import Features
from captioning.features.stored_rows import JoinedRows
from captioning.text import Vocabulary


class CaptionBatches(keras.utils.PyDataset):
    """Captions in batches of equal length: one LSTM pass a caption and no padding.

    Every batch has about as many words as `batch_size` captions of average length: more short
    captions, fewer long ones. So every word weighs alike, and memory is reused.

    An item is `({"features": (B, D), "tokens": (B, T)}, next words (B, T))`; of grids, the features
    are (B, L, D), and only those of the batch are read from their file. The order of an
    epoch follows from the seed and the epoch's number alone, so a resumed run sees the same;
    without a seed the order is that of the data, shortest captions first.

    Where there are `views`, features of the same images seen otherwise, every caption's image is
    drawn from `features` and these anew in every epoch; what a view lacks is of `features`. With
    `keep_unknown` words outside the vocabulary are 0, which the decoder reads and does not learn
    to say; without, they are dropped.

    With several devices a batch is filled up to a multiple of them with captions whose next words
    are all 0, which count nothing; an item is the part of this process.
    """

    def __init__(
        self,
        features: Features,
        captions: Mapping[str, Sequence[str]],
        image_ids: Iterable[str],
        vocabulary: Vocabulary,
        *,
        batch_size: int,
        seed: int | None = None,
        world: World = World(),  # noqa: B008 - it cannot be changed
        views: Sequence[Features] = (),
        keep_unknown: bool = False,
    ) -> None:
        # With one worker Keras has TensorFlow tune its queue, whose tuner then sleeps for up to as
        # long as the epoch took before it lets go of it.
        super().__init__(workers=2)
        self.features, self.batch_size = features, batch_size
        self.seed, self.world = seed, world
        all_views = [features, *views]
        self.matrix = JoinedRows([view.matrix for view in all_views])
        # Where in it each row of `features` is, by the view; what a view lacks is of `features`.
        begins, here = self.matrix.begins[:-1].tolist(), features.row.items()
        self.view_rows = np.array(
            [
                [begin + view.row[name] if name in view else row for name, row in here]
                for begin, view in zip(begins, all_views, strict=True)
            ],
            np.int32,
        )
        self.image_ids = list(image_ids)
        self.failure: Exception | None = None  # of reading; TensorFlow hides it in one of its own
        # Arrays from the start: lists of lists of a million captions take five times the room.
        by_length: dict[int, tuple[array, array]] = defaultdict(lambda: (array("i"), array("i")))
        for image_id in self.image_ids:
            for caption in captions[image_id]:
                tokens = vocabulary.encode(caption, keep_unknown)
                rows, words = by_length[len(tokens)]
                rows.append(features.row[image_id])
                words.extend(tokens)
        self.groups = [
            (np.array(rows), np.array(words).reshape(-1, length))
            for length, (rows, words) in sorted(by_length.items())
        ]
        self.words = sum(tokens[:, 1:].size for _, tokens in self.groups)
        self.start_epoch(0)

    def start_epoch(self, epoch: int) -> None:
        """Cut every group into batches; with a seed, shuffle captions and batches first."""
        self.epoch = epoch
        random = None if self.seed is None else np.random.default_rng((self.seed, epoch))
        words = self.batch_size * self.words / sum(len(rows) for rows, _ in self.groups)
        self.batches = []
        for group, (rows, tokens) in enumerate(self.groups):
            order = np.arange(len(rows)) if random is None else random.permutation(len(rows))
            size = max(1, round(words / (tokens.shape[1] - 1)))
            for first in range(0, len(order), size):
                self.batches.append((group, order[first : first + size]))
        if random is not None:
            random.shuffle(self.batches)
        # Keras takes the dimensions that its first two batches share for fixed.
        groups = [group for group, _ in self.batches]
        other = next((n for n, group in enumerate(groups) if group != groups[0]), 0)
        if other:
            self.batches[1], self.batches[other] = self.batches[other], self.batches[1]

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int):
        group, chosen = self.batches[number]
        rows, tokens = self.groups[group]
        random = np.random.default_rng((self.seed or 0, self.epoch, number))
        view_numbers = random.integers(len(self.view_rows), size=len(chosen))
        rank, size, devices = self.world
        filled = np.arange(len(chosen) + -len(chosen) % devices)  # up to a multiple of devices
        here = filled[rank * len(filled) // size : (rank + 1) * len(filled) // size]
        real = here < len(chosen)
        here = np.where(real, here, 0)
        tokens = tokens[chosen[here]]
        try:
            features = self.matrix[self.view_rows[view_numbers[here], rows[chosen[here]]]]
        except (UserError, OSError) as error:
            self.failure = error
            raise
        return {"features": features, "tokens": tokens[:, :-1]}, tokens[:, 1:] * real[:, None]
