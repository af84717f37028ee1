"""A pretext run: what is kept of it besides the state."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from captioning.encoders.networks.batch_norm import estimate_statistics
from captioning.encoders.weights import save_encoder
from captioning.training.plots import plot_curves
from captioning.training.run import Run
from contrastive.data import batches, whole_pictures

COLUMNS = (
    "pictures_seen", "loss", "spread", "probe", "learning_rate", "pictures_per_second", "seconds",
)  # fmt: skip
# What a resumed run may set anew: no variable depends on it, and a loss that diverged asks for it.
# The rate falls along a cosine over `steps`, whose end may be moved while the run is under way.
# BYOL's momentum goes by the length, where none is given.
# Small views first, then larger ones, see more pictures in the same time than large ones alone.
# What the last pictures are of decides what an encoder knows best.
MAY_CHANGE = (
    "learning_rate", "weight_decay", "temperature", "momentum", "steps", "image_size",
    "source_weights",
)  # fmt: skip


class PretextRun(Run):
    """A run with history, plot and the encoder's weights, which are written after every row.

    Args:
        model: compiled.
        pixels: uint8 pictures (N, S, S, 3).
        settings: of a `Run`; among them `steps`, its length, `batch_size` and `seed`.
        recipe: goes into the encoder's weights file. Its `image_size` is that of the pictures that
            features are taken of. Its `pictures_seen_before`, if there is such, were seen by the
            encoder that the run began from.
        weights_name: of that file.
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
        weights_name: str,
        row_steps: int | None = None,
        probe: Callable[[keras.Model], float] | None = None,
        probe_every: int = 5,
        portion: tuple[int, int] = (0, 1),
        picture_weights: np.ndarray | None = None,
        **options: float | None,
    ) -> None:
        super().__init__(
            model, output, settings, columns=COLUMNS, means=("loss", "spread"),
            may_change=MAY_CHANGE, writes=portion[0] == 0,
            advice="lower --learning-rate (or raise --temperature) and go on with --resume",
            **options,
        )  # fmt: skip
        self.pixels, self.recipe, self.weights_name = pixels, recipe, weights_name
        self.seen_before = recipe.get("pictures_seen_before", 0)
        self.probe, self.probe_every, self.portion = probe, probe_every, portion
        self.picture_weights = picture_weights
        self.batch_size, self.steps = settings["batch_size"], settings["steps"]
        self.row_steps = row_steps or len(pixels) // self.batch_size

    def train(self) -> None:
        """Train to the last step, or until time is up.

        Raises:
            UserError: the loss or the weights are no longer numbers. The last good state stays.
        """
        row_steps = self.row_steps
        self.save_results()  # of a run that was killed after its last row's state and before these
        while self.step < self.steps and not self.stopped:
            # The first row may be begun already, the last may be short.
            left = max(1, min(row_steps - self.part["steps"], self.steps - self.step))
            stream = batches(
                self.pixels, self.batch_size, seed=self.settings["seed"], step=self.step,
                portion=self.portion, weights=self.picture_weights,
            )  # fmt: skip
            complete = self.fit(
                stream, f"row {len(self.history) + 1}", steps=self.part["steps"] + left,
                count=self.batch_size, epochs=1, steps_per_epoch=left,
            )  # fmt: skip
            if complete:
                self._finish_row()
            self.save_results()

    def _finish_row(self) -> None:
        part, seconds = self.part, max(self.part["seconds"], 1e-9)
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row = {
            "pictures_seen": self.step * self.batch_size,
            "loss": part["loss"], "spread": part["spread"], "probe": "",
            "learning_rate": rate, "seconds": round(seconds, 1),
            "pictures_per_second": round(part["steps"] * self.batch_size / seconds, 1),
        }  # fmt: skip
        last = self.step == self.steps
        if last:
            self.estimate_statistics()
        if self.probe and (last or (len(self.history) + 1) % self.probe_every == 0):
            row["probe"] = self.probe(self.model.encoder)
        self.end_row(row)
        if self.writes:
            tqdm.write(summary(self.history))

    def estimate_statistics(self) -> None:
        """Batch statistics of whole pictures, of which features are taken, instead of crops.

        In training a network goes by each batch's own, so nothing is lost for a longer run.
        """
        sample = whole_pictures(
            self.pixels, self.recipe["image_size"], seed=self.settings["seed"],
            weights=self.picture_weights,
        )  # fmt: skip
        estimate_statistics(self.model.encoder, sample)

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
        recipe = {
            **self.recipe,
            "pictures_seen": self.seen_before + self.step * self.batch_size,
            "loss": rows[-1]["loss"],
            "hours": round(sum(row["seconds"] for row in rows) / 3600, 2),
        }
        save_encoder(self.model.encoder, self.output / self.weights_name, recipe)


def summary(history: Sequence[dict[str, Any]]) -> str:
    """One line on the last row."""
    row = history[-1]
    probe = f", probe {row['probe']:.4f}" if row["probe"] != "" else ""
    seen, loss, spread = row["pictures_seen"], row["loss"], row["spread"]
    return f"{seen} pictures seen: loss {loss:.4f}, spread {spread:.3f}{probe}"
