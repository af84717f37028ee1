"""A pretext run: what is saved of it besides the state."""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import keras
from tqdm import tqdm

from captioning.encoders.networks.batch_norm import estimate_statistics
from captioning.encoders.weights import save_encoder
from captioning.training.plots import plot_curves
from captioning.training.run import Run
from contrastive.augment import Augmentation
from contrastive.presets import View

COLUMNS = "pictures_seen loss spread probe learning_rate pictures_per_second seconds".split()
# What a resumed run may set anew, because no variable depends on it: after a loss that diverged, to
# move the end of the cosine, or for larger views. BYOL's momentum goes by the length by default.
MAY_CHANGE = (
    "learning_rate weight_decay temperature momentum steps image_size source_weights".split()
)
SAMPLE, SAMPLE_BATCH = 2000, 100  # pictures for batch statistics, and at a time


class PretextRun(Run):
    """A run with history, plot and the encoder's weights, which are written after every row.

    Args:
        batches: `data.batches`, but for its batch size, `step` and `portion`.
        settings: of a `Run`; among them `encoder`, `method`, `pictures`, their number, `batch_size`
            and `steps`, the run's length.
        recipe: goes into the encoder's weights file. Its `image_size` is that of the pictures that
            features are taken of.
        row_steps: steps between two rows of the history; default: a pass over the pictures.
        probe: measures the encoder, a number; every `probe_every` rows and at the end.
        portion: which part of every batch this process computes.
        options: `save_minutes` and `stop_minutes` of a `Run`.
    """

    def __init__(
        self,
        model: keras.Model,
        batches: Callable[..., Iterator],
        output: Path,
        settings: dict[str, Any],
        recipe: dict[str, Any],
        row_steps: int | None = None,
        probe: Callable[[keras.Model], float] | None = None,
        probe_every: int = 5,
        portion: tuple[int, int] = (0, 1),
        **options: float | None,
    ) -> None:
        advice = "lower --learning-rate (or raise --temperature) and go on with --resume"
        means, writes = ("loss", "spread"), portion[0] == 0
        options |= {"columns": COLUMNS, "means": means, "may_change": MAY_CHANGE, "writes": writes}
        super().__init__(model, output, settings, advice=advice, **options)
        self.batches, self.portion, self.recipe = batches, portion, recipe
        self.probe, self.probe_every = probe, probe_every
        self.batch_size, self.steps = settings["batch_size"], settings["steps"]
        self.row_steps = row_steps or settings["pictures"] // self.batch_size
        self.weights_path = output / f"{settings['encoder']}-{settings['method']}.weights.h5"

    def train(self) -> None:
        """Train to the last step, or until time is up."""
        self.save_results()  # of a run that was killed after its last row's state and before these
        while self.step < self.steps and not self.stopped:
            # The first row may be begun already, the last may be short.
            left = max(1, min(self.row_steps - self.part["steps"], self.steps - self.step))
            self.rows_left = (self.steps - self.step - left) / (self.part["steps"] + left)
            data = self.batches(self.batch_size, step=self.step, portion=self.portion)
            counts = [self.batch_size] * (self.part["steps"] + left)
            if self.fit(data, f"row {len(self.history) + 1}", counts, steps_per_epoch=left):
                self._finish_row()
            self.save_results()

    def _finish_row(self) -> None:
        part, seconds = self.part, max(self.part["seconds"], 1e-9)
        last = self.step == self.steps
        if last:  # in a longer run nothing is lost: training goes by each batch's own statistics
            # Of about 2,000 whole pictures, as features are taken of them: not crops.
            whole = Augmentation(View(self.recipe["image_size"]))
            size = min(SAMPLE_BATCH, self.settings["pictures"])
            some = islice(self.batches(size), min(SAMPLE, self.settings["pictures"]) // size)
            estimate_statistics(self.model.encoder, (whole(pixels) for (pixels,) in some))
        due = last or (len(self.history) + 1) % self.probe_every == 0
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
            numbers = f"loss {row['loss']:.4f}, spread {row['spread']:.3f}{probe}"
            tqdm.write(f"{row['pictures_seen']} images seen: {numbers}")

    def save_results(self) -> None:
        """Write the history's plot and the encoder with its recipe."""
        if not self.writes or not self.history:
            return
        labels = {"x": "pictures_seen", "x_label": "images seen", "y_label": "pretext loss"}
        labels["title"] = f"{self.settings['method']}: loss by images seen"
        path, right = self.output / "history.png", {"probe": "probe"}
        plot_curves(path, self.history, {"loss": "loss"}, right=right, **labels)
        # A row in the making counts where a run has stopped in it.
        rows = [*self.history, self.part] if self.part["steps"] else self.history
        before = self.recipe.get("pictures_seen_before", 0)
        progress = {
            "pictures_seen": before + self.step * self.batch_size,
            "loss": rows[-1]["loss"],
            "hours": round(sum(row["seconds"] for row in rows) / 3600, 2),
        }
        save_encoder(self.model.encoder, self.weights_path, self.recipe | progress)
