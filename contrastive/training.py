"""A pretext run: what is kept of it as it goes, and how it goes on after a kill."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from captioning.cli import UserError
from captioning.encoders.weights import save_encoder
from captioning.training.plots import plot_curves
from captioning.training.state import check_settings, load_state, read_record, save_state
from captioning.training.teacher_forcing import write_history
from contrastive.data import batches

COLUMNS = (
    "pictures_seen", "loss", "spread", "probe", "learning_rate", "pictures_per_second", "seconds",
)  # fmt: skip
# What a resumed run may set anew: no variable depends on it, and a loss that diverged asks for it.
# The rate falls along a cosine over `steps`, whose end may be moved while the run is under way.
# Small views first, then larger ones, see more pictures in the same time than large ones alone.
MAY_CHANGE = ("learning_rate", "weight_decay", "temperature", "steps", "image_size")
NOTHING = {"loss": 0.0, "spread": 0.0, "steps": 0, "seconds": 0.0}
DIVERGED = "lower --learning-rate (or raise --temperature) and go on with --resume"


class Run:
    """One run in one folder: `state.npz` to resume from, history, plot and the encoder's weights.

    Args:
        model: compiled.
        pixels: uint8 pictures (N, S, S, 3).
        settings: what the state depends on (JSON); a resumed run must have the same. Among them
            `steps`, the length of the run, `batch_size` and `seed`.
        recipe: goes into the encoder's weights file.
        weights_name: of that file.
        row_steps: steps between two rows of the history; default: a pass over the pictures.
        probe: measures the encoder, a number, or None; every `probe_every` rows and at the end.
        share: which part of every batch this process computes, see `data.batches`.
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
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.model, self.pixels, self.output = model, pixels, output
        self.settings, self.recipe, self.weights_name = settings, recipe, weights_name
        self.probe, self.probe_every, self.share = probe, probe_every, share
        self.batch_size, self.steps = settings["batch_size"], settings["steps"]
        self.row_steps = row_steps or len(pixels) // self.batch_size
        self.step = 0
        self.history: list[dict[str, Any]] = []
        self.part = dict(NOTHING)  # of the row in the making

    @property
    def state_path(self) -> Path:
        """What `--resume` goes on from."""
        return self.output / "state.npz"

    @property
    def writes(self) -> bool:
        """Whether this process, of several, is the one that writes."""
        return self.share[0] == 0

    def resume(self) -> None:
        """Go on from `state_path`, in the middle of a row if it was saved there.

        Raises:
            UserError: the state is damaged, another run's or of an older version.
        """
        record = read_record(self.state_path)
        if "steps" not in record["settings"]:
            raise UserError(
                f"{self.state_path}: was left by an older version, whose runs cannot go on; its "
                "weights are in the folder all the same. Start again in another --output"
            )
        check_settings(self.state_path, record["settings"], self.settings, MAY_CHANGE)
        load_state(self.state_path, self.model)
        self.step, self.history, self.part = record["step"], record["history"], record["part"]

    def train(self, *, save_minutes: float, stop_minutes: float | None = None) -> None:
        """Train to the last step, or for `stop_minutes`.

        The state is saved after every row of the history and whenever `save_minutes` have passed.

        Raises:
            UserError: the loss or the weights are no longer numbers. The last good state stays.
        """
        keeper = _Keeper(self, save_minutes, stop_minutes)
        while self.step < self.steps and not keeper.stopped:
            # Keras' epochs are the rows. The first may be begun already, the last may be short.
            first = max(1, min(self.row_steps - self.part["steps"], self.steps - self.step))
            whole = 1 if self.part["steps"] else (self.steps - self.step) // self.row_steps
            stream = batches(
                self.pixels, self.batch_size, seed=self.settings["seed"], step=self.step,
                share=self.share,
            )  # fmt: skip
            self.model.fit(
                stream, epochs=max(1, whole), steps_per_epoch=first,
                callbacks=[keeper], verbose=0,
            )  # fmt: skip
        # Again, for a run that was killed after its last row's state and before these.
        self.save_results()

    def save_state(self) -> None:
        """Write `state_path`.

        Raises:
            UserError: the weights are no longer numbers; the state of before stays.
        """
        if not self.writes:
            return
        record = {"settings": self.settings, "step": self.step,
                  "history": self.history, "part": self.part}  # fmt: skip
        try:
            save_state(self.state_path, self.model, record)
        except FloatingPointError as error:
            raise UserError(f"{error} after {self.step} steps; {DIVERGED}") from error

    def save_results(self) -> None:
        """Write the history, its plot and the encoder with its recipe."""
        if not self.writes or not self.history:
            return
        write_history(self.output / "history.csv", self.history, COLUMNS)
        plot_curves(
            self.output / "history.png",
            [row["pictures_seen"] for row in self.history],
            {"loss": [row["loss"] for row in self.history]},
            x_label="pictures seen",
            y_label="pretext loss",
            right={"probe": [row["probe"] for row in self.history]},
        )
        recipe = {
            **self.recipe,
            "pictures_seen": self.step * self.batch_size,
            "loss": self.history[-1]["loss"],
            "hours": round(sum(row["seconds"] for row in self.history) / 3600, 2),
        }
        save_encoder(self.model.encoder, self.output / self.weights_name, recipe)


class _Keeper(keras.callbacks.Callback):
    """Keeps the state, the history and the encoder; stops at a loss that is no number."""

    def __init__(self, run: Run, save_minutes: float, stop_minutes: float | None) -> None:
        super().__init__()
        self.run = run
        self.save_every = save_minutes * 60
        self.stop_at = time.monotonic() + stop_minutes * 60 if stop_minutes else math.inf
        self.saved_at = time.monotonic()
        self.stopped = False

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        run = self.run
        self.before = dict(run.part)  # what an interrupted run had done of this row
        self.began = time.monotonic()
        self.row_steps = min(run.row_steps, run.steps - run.step + run.part["steps"])
        self.bar = tqdm(
            total=self.row_steps * run.batch_size, initial=run.part["steps"] * run.batch_size,
            unit="picture", desc=f"row {len(run.history) + 1}", disable=not run.writes,
        )  # fmt: skip

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        self._count(batch + 1, logs)
        loss = self.run.part["loss"]
        if not math.isfinite(loss):
            self.bar.close()
            raise UserError(f"the loss is {loss} after {self.run.step} steps; {DIVERGED}")
        self.bar.update(self.run.batch_size)
        self.bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        now = time.monotonic()
        ends_row = self.run.part["steps"] >= self.row_steps
        self.stopped = now >= self.stop_at
        if not ends_row and (self.stopped or now - self.saved_at >= self.save_every):
            self._save()
            self.model.stop_training = self.stopped

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        run, part = self.run, self.run.part
        if part["steps"] < self.row_steps:  # stopped half-way, and saved
            self.bar.close()
            return
        seconds = max(part["seconds"], 1e-9)
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row = {
            "pictures_seen": run.step * run.batch_size,
            "loss": part["loss"], "spread": part["spread"], "probe": "",
            "learning_rate": rate, "seconds": round(seconds, 1),
            "pictures_per_second": round(part["steps"] * run.batch_size / seconds, 1),
        }  # fmt: skip
        last = run.step == run.steps
        if run.probe and (last or (len(run.history) + 1) % run.probe_every == 0):
            row["probe"] = run.probe(self.model.encoder)
            self.bar.set_postfix(loss=f"{row['loss']:.3f}", probe=f"{row['probe']:.4f}")
        self.bar.close()
        run.history.append(row)
        run.part = dict(NOTHING)
        self._save()
        self.model.stop_training = self.stopped

    def _count(self, steps: int, logs: dict[str, float]) -> None:
        """Means over the row so far, with the part before an interruption."""
        run, before = self.run, self.before
        run.step += 1
        total = before["steps"] + steps
        for name in ("loss", "spread"):
            mean = (before[name] * before["steps"] + float(logs[name]) * steps) / total
            run.part[name] = mean
        run.part["steps"] = total
        run.part["seconds"] = before["seconds"] + time.monotonic() - self.began

    def _save(self) -> None:
        _ = self.model  # under JAX, this fetches the variables from the training loop
        self.run.save_state()
        self.run.save_results()
        self.saved_at = time.monotonic()


def summary(history: Sequence[dict[str, Any]]) -> str:
    """One line on the last row."""
    row = history[-1]
    probe = f", probe {row['probe']:.4f}" if row["probe"] != "" else ""
    seen, loss, spread = row["pictures_seen"], row["loss"], row["spread"]
    return f"{seen} pictures seen: loss {loss:.4f}, spread {spread:.3f}{probe}"
