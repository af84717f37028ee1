"""A run of the puzzle solver: what is kept of it as it goes, and how it goes on after a kill."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from captioning.cli import UserError
from captioning.encoders.jigsaw_solver import JigsawSolver, copy_of
from captioning.encoders.weights import save_encoder
from captioning.files import atomic_path, write_json
from captioning.training.plots import plot_curves
from captioning.training.state import check_settings, load_state, read_record, save_state
from captioning.training.teacher_forcing import best_row, write_history
from jigsaw.DataGenerator import DataGenerator
from jigsaw.image_preprocessing.image_transform import normalise
from jigsaw.puzzle_picture import draw_puzzles
from jigsaw.schedule import exhausted, rate_after

COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds")
METRICS = ("loss", "accuracy")


def compile_solver(solver: JigsawSolver, optimizer: keras.optimizers.Optimizer | None) -> None:
    """Cross-entropy and accuracy; without an optimizer it can only be evaluated."""
    solver.compile(
        optimizer=optimizer or "sgd",
        loss=keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
        # XLA is slower than oneDNN at convolutions on a CPU.
        jit_compile=keras.backend.backend() != "tensorflow",
    )


class Run:
    """One run in one folder: state to resume from, history, plot, the best solver and its trunk.

    Args:
        solver: compiled with a `WarmUpAdam`.
        train, val: puzzles.
        settings: what the state depends on (JSON); a resumed run must have the same.
        recipe: goes into the trunk's weights file.
    """

    def __init__(
        self,
        solver: JigsawSolver,
        train: DataGenerator,
        val: DataGenerator,
        output: Path,
        settings: dict[str, Any],
        recipe: dict[str, Any],
        *,
        epochs: int,
        learning_rate: float,
    ) -> None:
        self.solver, self.puzzles, self.val, self.output = solver, train, val, output
        self.settings, self.recipe = settings, recipe
        self.epochs, self.learning_rate = epochs, learning_rate
        self.steps = len(train)  # of an epoch
        self.history: list[dict[str, Any]] = []
        self.part = _nothing()  # of the epoch that is not finished
        encoder = solver.settings["encoder"]
        self.solver_path = output / f"{encoder}-jigsaw.keras"
        self.trunk_path = output / f"{encoder}-jigsaw.weights.h5"

    @property
    def state_path(self) -> Path:
        """What `--resume` goes on from."""
        return self.output / "state.npz"

    def resume(self) -> None:
        """Go on from `state_path`, in the middle of an epoch if it was saved there.

        Raises:
            UserError: the state is damaged, or of other permutations or settings.
        """
        record = read_record(self.state_path)
        if record.get("permutations") != self.solver.permutations.tolist():
            raise UserError(
                f"{self.state_path}: was trained on other permutations; give --permutations and "
                "--max-hamming-set as before"
            )
        check_settings(self.state_path, record["settings"], self.settings)
        load_state(self.state_path, self.solver)
        self.history, self.part = record["history"], record["part"]

    def train(self, *, save_minutes: float, stop_minutes: float | None = None) -> None:
        """Train until progress ends, to the last epoch, or for `stop_minutes`.

        The state is saved after every epoch and whenever `save_minutes` have passed.

        Raises:
            UserError: the loss or the weights are no longer numbers. The last good state stays.
        """
        stop_at = time.monotonic() + stop_minutes * 60 if stop_minutes else math.inf
        while len(self.history) < self.epochs and not exhausted(self._val_losses()):
            rate = rate_after(self._val_losses(), self.learning_rate)
            self.solver.optimizer.learning_rate = rate
            if self.part["steps"] < self.steps:
                self._fit(_Keeper(self, save_minutes, stop_at))
            if self.part["steps"] < self.steps:  # out of time
                break
            self._finish_epoch(rate)
            if time.monotonic() >= stop_at:
                break

    def save_state(self) -> None:
        """Write `state_path`.

        Raises:
            UserError: the weights are no longer numbers; the state of before stays.
        """
        record = {"settings": self.settings, "permutations": self.solver.permutations.tolist(),
                  "history": self.history, "part": self.part}  # fmt: skip
        try:
            save_state(self.state_path, self.solver, record)
        except FloatingPointError as error:
            raise UserError(f"{error}; lower --learning-rate and go on with --resume") from error

    def _val_losses(self) -> list[float]:
        return [row["val_loss"] for row in self.history]

    def _fit(self, keeper: "_Keeper") -> None:
        epoch = len(self.history)
        self.puzzles.start_epoch(epoch, self.part["steps"])
        self.solver.fit(
            self.puzzles, initial_epoch=epoch, epochs=epoch + 1, shuffle=False, verbose=0,
            callbacks=[keeper],
        )  # fmt: skip

    def _finish_epoch(self, rate: float) -> None:
        """Validate; keep the history, the best solver and, last, what a resumed run goes by."""
        began = time.monotonic()
        val = self.solver.evaluate(self.val, verbose=0, return_dict=True)
        row = {
            "epoch": len(self.history) + 1,
            **{name: self.part[name] for name in METRICS},
            **{f"val_{name}": float(val[name]) for name in METRICS},
            "learning_rate": rate,
            "seconds": round(self.part["seconds"] + time.monotonic() - began, 1),
        }
        self.history.append(row)
        self.part = _nothing()
        tqdm.write(summary(row))
        if best_row(self.history) is row:
            self._keep_best(row)
        write_history(self.output / "history.csv", self.history, COLUMNS)
        plot_history(self.output / "history.png", self.history, len(self.solver.permutations))
        self.save_state()

    def _keep_best(self, row: dict[str, Any]) -> None:
        best = copy_of(self.solver)
        with atomic_path(self.solver_path) as temporary:
            best.save(temporary)
        recipe = {
            **self.recipe,
            "epochs_trained": row["epoch"],
            "val_accuracy": row["val_accuracy"],
            "hours": round(sum(row["seconds"] for row in self.history) / 3600, 2),
        }
        save_encoder(best.trunk, self.trunk_path, recipe)


def _nothing() -> dict[str, float]:
    return {"loss": 0.0, "accuracy": 0.0, "steps": 0, "seconds": 0.0}


class _Keeper(keras.callbacks.Callback):
    """Saves the state now and then within an epoch, and stops at a loss that is no number."""

    def __init__(self, run: Run, save_minutes: float, stop_at: float) -> None:
        super().__init__()
        self.run, self.save_every, self.stop_at = run, save_minutes * 60, stop_at

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        # Keras has told the puzzles by now that an epoch had ended.
        self.before = dict(self.run.part)  # what an interrupted run had done of this epoch
        self.run.puzzles.start_epoch(epoch, self.before["steps"])
        self.began = self.saved_at = time.monotonic()
        size = self.run.puzzles.batch_size
        self.bar = tqdm(total=self.run.steps * size, initial=self.before["steps"] * size,
                        unit="puzzle", desc=f"epoch {epoch + 1}")  # fmt: skip

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        part = self._count(batch + 1, logs)
        if not math.isfinite(part["loss"]):
            self.bar.close()
            raise UserError(
                f"the loss is {part['loss']} in epoch {len(self.run.history) + 1}; lower "
                "--learning-rate and go on with --resume"
            )
        self.bar.update(self.run.puzzles.batch_size)
        self.bar.set_postfix({name: f"{part[name]:.3f}" for name in METRICS}, refresh=False)
        now = time.monotonic()
        ended = part["steps"] == self.run.steps
        if not ended and (now >= self.stop_at or now - self.saved_at >= self.save_every):
            _ = self.model  # under JAX, this fetches the variables from the training loop
            self.run.save_state()
            self.saved_at = now
            self.model.stop_training = now >= self.stop_at

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        self.bar.close()

    def _count(self, steps: int, logs: dict[str, float]) -> dict[str, float]:
        """Means over the epoch so far, with the part before an interruption."""
        before, part = self.before, self.run.part
        total = before["steps"] + steps
        for name in METRICS:
            part[name] = (before[name] * before["steps"] + float(logs[name]) * steps) / total
        part["steps"] = total
        part["seconds"] = before["seconds"] + time.monotonic() - self.began
        return part


def test(solver: JigsawSolver, puzzles: DataGenerator, output: Path) -> dict[str, Any]:
    """Accuracy on puzzles of other pictures, beside chance; also written to `test.json`."""
    found = solver.evaluate(puzzles, verbose=0, return_dict=True)
    result = {
        "accuracy": float(found["accuracy"]), "loss": float(found["loss"]),
        "chance": 1 / len(solver.permutations), "puzzles": len(puzzles.rows),
    }  # fmt: skip
    write_json(output / "test.json", result)
    return result


def draw_some(solver: JigsawSolver, puzzles: DataGenerator, path: Path, count: int) -> None:
    """A picture of at most `count` puzzles of the first batch that are solved, and as many not."""
    tiles, numbers = puzzles.cut(0)
    predicted = solver.predict_on_batch(normalise(tiles)).argmax(axis=-1)
    right = predicted == numbers
    shown = np.r_[np.flatnonzero(right)[:count], np.flatnonzero(~right)[:count]]
    draw_puzzles(path, tiles[shown], predicted[shown], solver.permutations, right[shown])


def summary(row: dict[str, Any]) -> str:
    """One line on an epoch."""
    return (
        f"epoch {row['epoch']}: loss {row['loss']:.3f}, accuracy {row['accuracy']:.3f}; validation "
        f"loss {row['val_loss']:.3f}, accuracy {row['val_accuracy']:.3f}"
    )


def plot_history(path: Path, history: Sequence[dict[str, Any]], permutations: int) -> None:
    """Accuracy and validation loss by epoch; a line marks the best epoch."""
    curves = {
        "training (dropout on)": [row["accuracy"] for row in history],
        "validation": [row["val_accuracy"] for row in history],
        f"chance, 1 of {permutations}": [1 / permutations for _ in history],
    }
    losses = [row["val_loss"] for row in history]
    plot_curves(
        path, [row["epoch"] for row in history], curves, y_label="share of puzzles solved",
        mark=int(np.argmin(losses)), right={"validation loss": losses},
    )  # fmt: skip
