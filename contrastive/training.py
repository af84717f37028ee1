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
from captioning.encoders import save_encoder
from captioning.report import plot_curves
from captioning.state import check_settings, load_state, read_record, save_state
from captioning.training import write_history
from contrastive.data import batches

COLUMNS = ("epoch", "loss", "spread", "probe", "learning_rate", "pictures_per_second", "seconds")
# What a resumed run may set anew: no variable depends on it, and a loss that diverged asks for it.
MAY_CHANGE = ("learning_rate", "weight_decay", "temperature")
DIVERGED = "lower --learning-rate (or raise --temperature) and go on with --resume"


class Run:
    """One run in one folder: `state.npz` to resume from, history, plot and the encoder's weights.

    Args:
        model: compiled.
        pixels: uint8 pictures (N, S, S, 3).
        settings: what the state depends on (JSON); a resumed run must have the same.
        recipe: goes into the encoder's weights file.
        weights_name: of that file.
        probe: measures the encoder, a number, or None.
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
        probe: Callable[[keras.Model], float] | None = None,
        probe_every: int = 5,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.model, self.pixels, self.output = model, pixels, output
        self.settings, self.recipe, self.weights_name = settings, recipe, weights_name
        self.probe, self.probe_every, self.share = probe, probe_every, share
        self.batch_size, self.epochs = settings["batch_size"], settings["epochs"]
        self.steps = len(pixels) // self.batch_size  # of an epoch
        self.step = 0
        self.history: list[dict[str, Any]] = []
        self.part = {"loss": 0.0, "spread": 0.0, "steps": 0, "seconds": 0.0}  # of this epoch

    @property
    def state_path(self) -> Path:
        """What `--resume` goes on from."""
        return self.output / "state.npz"

    @property
    def writes(self) -> bool:
        """Whether this process, of several, is the one that writes."""
        return self.share[0] == 0

    def resume(self) -> None:
        """Go on from `state_path`, in the middle of an epoch if it was saved there.

        Raises:
            UserError: the state is damaged or another run's.
        """
        record = read_record(self.state_path)
        check_settings(self.state_path, record["settings"], self.settings, MAY_CHANGE)
        load_state(self.state_path, self.model)
        self.step, self.history, self.part = record["step"], record["history"], record["part"]

    def train(self, *, save_minutes: float, stop_minutes: float | None = None) -> None:
        """Train to the last epoch, or for `stop_minutes`.

        The state is saved after every epoch and whenever `save_minutes` have passed.

        Raises:
            UserError: the loss or the weights are no longer numbers. The last good state stays.
        """
        keeper = _Keeper(self, save_minutes, stop_minutes)
        epoch, done = divmod(self.step, self.steps)
        # A run that was saved in mid-epoch first completes that one.
        for initial, last, steps in (
            (epoch, epoch + 1, self.steps - done),
            (epoch + 1, self.epochs, self.steps),
        ):
            if initial < min(last, self.epochs) and not keeper.stopped:
                stream = batches(
                    self.pixels, self.batch_size, seed=self.settings["seed"], step=self.step,
                    share=self.share,
                )  # fmt: skip
                self.model.fit(
                    stream, initial_epoch=initial, epochs=last, steps_per_epoch=steps,
                    callbacks=[keeper], verbose=0,
                )  # fmt: skip
        # Again, for a run that was killed after its last epoch's state and before these.
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
            [row["epoch"] for row in self.history],
            {"loss": [row["loss"] for row in self.history]},
            y_label="pretext loss",
            right={"probe": [row["probe"] for row in self.history]},
        )
        recipe = {
            **self.recipe,
            "epochs_trained": self.step // self.steps,
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
        self.before = dict(self.run.part)  # what an interrupted run had done of this epoch
        self.began = time.monotonic()
        self.bar = tqdm(
            total=self.run.steps * self.run.batch_size,
            initial=self.before["steps"] * self.run.batch_size,
            unit="picture", desc=f"epoch {epoch + 1}", disable=not self.run.writes,
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
        ends_epoch = self.run.part["steps"] == self.run.steps
        self.stopped = now >= self.stop_at
        if not ends_epoch and (self.stopped or now - self.saved_at >= self.save_every):
            self._save()
            self.model.stop_training = self.stopped

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        run, part = self.run, self.run.part
        if part["steps"] < run.steps:  # stopped half-way, and saved
            self.bar.close()
            return
        seconds = max(part["seconds"], 1e-9)
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row = {
            "epoch": epoch + 1, "loss": part["loss"], "spread": part["spread"], "probe": "",
            "learning_rate": rate, "seconds": round(seconds, 1),
            "pictures_per_second": round(part["steps"] * run.batch_size / seconds, 1),
        }  # fmt: skip
        last = epoch + 1 == run.epochs
        if run.probe and (last or (epoch + 1) % run.probe_every == 0):
            row["probe"] = run.probe(self.model.encoder)
            self.bar.set_postfix(loss=f"{row['loss']:.3f}", probe=f"{row['probe']:.3f}")
        self.bar.close()
        run.history.append(row)
        run.part = {"loss": 0.0, "spread": 0.0, "steps": 0, "seconds": 0.0}
        self._save()
        self.model.stop_training = self.stopped

    def _count(self, steps: int, logs: dict[str, float]) -> None:
        """Means over the epoch so far, with the part before an interruption."""
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
    """One line on the last epoch."""
    row = history[-1]
    probe = f", probe {row['probe']:.3f}" if row["probe"] != "" else ""
    return f"epoch {row['epoch']}: loss {row['loss']:.4f}, spread {row['spread']:.3f}{probe}"
