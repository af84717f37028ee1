"""A pretext run: what is saved of it besides the state."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from captioning.encoders.networks.batch_norm import estimate_statistics
from captioning.encoders.weights import save_encoder
from captioning.training.plots import plot_curves
from captioning.training.run import Run
from contrastive.augment import Augmentation
from contrastive.data import batches
from contrastive.presets import View

COLUMNS = "pictures_seen loss spread probe learning_rate pictures_per_second seconds".split()
# What a resumed run may set anew: no variable depends on it, and a loss that diverged asks for it.
# The rate falls along a cosine over `steps`, whose end may be moved while the run is under way.
# BYOL's momentum goes by the length, where none is given. Small views first, then larger ones, see
# more pictures in the same time than large ones alone. The last pictures are remembered best.
MAY_CHANGE = (
    "learning_rate weight_decay temperature momentum steps image_size source_weights".split()
)


class PretextRun(Run):
    """A run with history, plot and the encoder's weights, which are written after every row.

    Args:
        model: compiled.
        pixels: uint8 pictures (N, S, S, 3).
        settings: of a `Run`; among them `steps`, its length, `batch_size` and `seed`, `encoder` and
            `method`.
        recipe: goes into the encoder's weights file. Its `image_size` is that of the pictures that
            features are taken of. Its `pictures_seen_before`, if there is such, were seen by the
            encoder that the run began from.
        row_steps: steps between two rows of the history; default: a pass over the pictures.
        probe: measures the encoder, a number, or None; every `probe_every` rows and at the end.
        portion: which part of every batch this process computes, see `data.batches`.
        picture_weights: how often each picture comes (N,), see `data.epoch_order`; default: once.
        options: `save_minutes` and `stop_minutes` of a `Run`.
    """

    def __init__(
        self,
        model: keras.Model,
        pixels: np.ndarray,
        output: Path,
        settings: dict[str, Any],
        recipe: dict[str, Any],
        row_steps: int | None = None,
        probe: Callable[[keras.Model], float] | None = None,
        probe_every: int = 5,
        portion: tuple[int, int] = (0, 1),
        picture_weights: np.ndarray | None = None,
        **options: float | None,
    ) -> None:
        advice = "lower --learning-rate (or raise --temperature) and go on with --resume"
        means, writes = ("loss", "spread"), portion[0] == 0
        options |= {"columns": COLUMNS, "means": means, "may_change": MAY_CHANGE, "writes": writes}
        super().__init__(model, output, settings, advice=advice, **options)
        self.pixels, self.picture_weights, self.portion = pixels, picture_weights, portion
        self.recipe = recipe
        self.weights_path = output / f"{settings['encoder']}-{settings['method']}.weights.h5"
        self.probe, self.probe_every = probe, probe_every
        self.batch_size, self.steps, self.seed = (
            settings[name] for name in ("batch_size", "steps", "seed")
        )
        self.row_steps = row_steps or len(pixels) // self.batch_size

    def train(self) -> None:
        """Train to the last step, or until time is up.

        Raises:
            UserError: the loss or the weights are no longer numbers. The last good state stays.
        """
        self.save_results()  # of a run that was killed after its last row's state and before these
        while self.step < self.steps and not self.stopped:
            # The first row may be begun already, the last may be short.
            left = max(1, min(self.row_steps - self.part["steps"], self.steps - self.step))
            stream = batches(
                self.pixels,
                self.batch_size,
                seed=self.seed,
                step=self.step,
                portion=self.portion,
                weights=self.picture_weights,
            )
            complete = self.fit(
                stream,
                f"row {len(self.history) + 1}",
                steps=self.part["steps"] + left,
                count=self.batch_size,
                epochs=1,
                steps_per_epoch=left,
            )
            if self.step == self.steps:
                self.estimate_statistics()
            if complete:
                self._finish_row()
            self.save_results()

    def estimate_statistics(self) -> None:
        """Batch statistics of 2,000 whole pictures, of which features are taken, not of crops.

        A longer run loses nothing: in training a network goes by each batch's own.
        """
        whole = Augmentation(View(self.recipe["image_size"]))
        size = min(100, len(self.pixels))
        stream = batches(self.pixels, size, seed=self.seed, weights=self.picture_weights)
        sample = islice(stream, min(20, len(self.pixels) // size))
        estimate_statistics(self.model.encoder, (whole(pixels) for (pixels,) in sample))

    def _finish_row(self) -> None:
        part, seconds = self.part, max(self.part["seconds"], 1e-9)
        due = self.step == self.steps or (len(self.history) + 1) % self.probe_every == 0
        row = {
            "pictures_seen": self.step * self.batch_size,
            "loss": part["loss"],
            "spread": part["spread"],
            "probe": self.probe(self.model.encoder) if self.probe and due else "",
            "learning_rate": float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)),
            "seconds": round(seconds, 1),
            "pictures_per_second": round(part["steps"] * self.batch_size / seconds, 1),
        }
        self.end_row(row)
        if self.writes:
            probe = f", probe {row['probe']:.4f}" if row["probe"] != "" else ""
            what = f"loss {row['loss']:.4f}, spread {row['spread']:.3f}{probe}"
            tqdm.write(f"{row['pictures_seen']} pictures seen: {what}")

    def save_results(self) -> None:
        """Write the history's plot and the encoder with its recipe."""
        if not self.writes or not self.history:
            return
        plot_curves(
            self.output / "history.png",
            [row["pictures_seen"] for row in self.history],
            {"loss": [row["loss"] for row in self.history]},
            x_label="pictures seen",
            y_label="pretext loss",
            right={"probe": [row["probe"] for row in self.history]},
        )
        # A row in the making counts where a run has stopped in it.
        rows = [*self.history, self.part] if self.part["steps"] else self.history
        before = self.recipe.get("pictures_seen_before", 0)
        progress = {
            "pictures_seen": before + self.step * self.batch_size,
            "loss": rows[-1]["loss"],
            "hours": round(sum(row["seconds"] for row in rows) / 3600, 2),
        }
        save_encoder(self.model.encoder, self.weights_path, self.recipe | progress)
