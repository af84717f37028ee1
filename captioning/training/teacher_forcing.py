"""Stage 2: teacher forcing, resumable by the epoch."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from captioning.cli import UserError
from captioning.files import atomic_path, existing_file, write_json, write_text
from captioning.training.batches import CaptionBatches
from captioning.training.optimizers import plateau_rate
from captioning.training.recipes import settings_path

HISTORY_COLUMNS = ("epoch", "loss", "val_loss", "seconds")


def train(
    model: keras.Model,
    train_batches: CaptionBatches,
    dev_batches: CaptionBatches,
    *,
    epochs: int,
    patience: int,
    output_dir: Path,
    history: list[dict[str, float]],
    plateau_from: float | None = None,
) -> list[dict[str, float]]:
    """Train a compiled decoder; return the history, a row an epoch.

    `history` holds the epochs already trained (none, or those of the run that `model` resumes).
    Training stops before `epochs` when the development loss has not improved for `patience`
    epochs (0: never). With `plateau_from` the learning rate is that at first and falls by
    `plateau_rate`; without, it is the optimizer's own affair.

    Raises:
        UserError: the loss is no longer a number.
    """
    (output_dir / "checkpoints").mkdir(parents=True, exist_ok=True)
    keeper = _Keeper(train_batches, output_dir, patience, history, plateau_from)
    if keeper.exhausted():
        return keeper.history
    try:
        model.fit(
            train_batches,
            validation_data=dev_batches,
            epochs=epochs,
            initial_epoch=len(history),
            shuffle=False,  # CaptionBatches shuffles, by seed and epoch
            verbose=0,
            callbacks=[keeper],
        )
    except Exception as error:
        for batches in (train_batches, dev_batches):
            if batches.failure is not None:
                raise batches.failure from error
        raise
    return keeper.history


class _Keeper(keras.callbacks.Callback):
    """After every epoch keeps the history, the best model and the state to resume from.

    They are written in this order, each atomically. The state comes last and is what a resumed
    run goes by, so that a kill in between costs an epoch and never leaves the three at odds.
    """

    def __init__(
        self,
        batches: CaptionBatches,
        output_dir: Path,
        patience: int,
        history: Sequence[dict[str, float]],
        plateau_from: float | None,
    ) -> None:
        super().__init__()
        self.batches, self.output_dir, self.patience = batches, output_dir, patience
        self.history, self.plateau_from = list(history), plateau_from

    def exhausted(self) -> bool:
        """Whether the last `patience` epochs brought nothing."""
        losses = [row["val_loss"] for row in self.history]
        return 0 < self.patience < len(losses) - int(np.argmin(losses)) if losses else False

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        # Keras does not save the state of dropout: let it follow from seed and epoch, too.
        states = [v for v in self.model.variables if v.path.endswith("seed_generator_state")]
        for number, state in enumerate(states):
            state.assign([(self.batches.seed * len(states) + number) % 2**32, epoch])
        if self.plateau_from is not None:
            losses = [row["val_loss"] for row in self.history]
            self.model.optimizer.learning_rate = plateau_rate(self.plateau_from, losses)
        captions = sum(len(rows) for rows, _ in self.batches.groups)
        self.bar = tqdm(total=captions, unit="caption", desc=f"epoch {epoch + 1}")

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        if not math.isfinite(logs["token_loss"]):
            self.bar.close()
            raise UserError(
                f"the loss is {logs['token_loss']} in epoch {len(self.history) + 1}; "
                "lower --learning-rate and start again, or --resume from the epoch before"
            )
        self.bar.update(len(self.batches.batches[batch][1]))
        self.bar.set_postfix(loss=f"{logs['token_loss']:.3f}", refresh=False)

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        row = {
            "epoch": epoch + 1,
            "loss": float(logs["token_loss"]),
            "val_loss": float(logs["val_token_loss"]),
            "seconds": round(self.bar.format_dict["elapsed"], 1),
        }
        self.bar.set_postfix(loss=f"{row['loss']:.3f}", val_loss=f"{row['val_loss']:.3f}")
        self.bar.close()
        best_before = best_row(self.history)
        self.history.append(row)
        write_history(self.output_dir / "history.csv", self.history)
        if best_row(self.history) is row:
            self._keep_best(row, best_before)
        with atomic_path(state_path(self.output_dir)) as temporary:
            self.model.save(temporary)
        if self.exhausted():
            self.model.stop_training = True

    def _keep_best(self, row: dict, before: dict | None) -> None:
        # A copy that was never compiled: the optimizer's moments are twice the model's size. And
        # in float32, whatever it was trained in, so that it captions alike everywhere.
        plain = self.model.copy_with(dtype="float32")
        for name in (model_name(row), "checkpoints/best_model.keras"):
            with atomic_path(self.output_dir / name) as temporary:
                plain.save(temporary)
        if before is not None and model_name(before) != model_name(row):
            (self.output_dir / model_name(before)).unlink(missing_ok=True)


def state_path(output_dir: Path) -> Path:
    """Where the model with its optimizer is kept after every epoch."""
    return output_dir / "checkpoints" / "training_state.keras"


def model_name(row: Mapping[str, float]) -> str:
    """The original pipeline's file name for the model of an epoch."""
    return "model-ep{epoch:03d}-loss{loss:.3f}-val_loss{val_loss:.3f}.keras".format(**row)


def best_row(history: Sequence[dict[str, float]]) -> dict[str, float] | None:
    """The epoch with the lowest development loss; the first of equals."""
    return min(history, key=lambda row: row["val_loss"], default=None)


def write_history(
    path: Path, history: Sequence[Mapping[str, Any]], columns: Sequence[str] = HISTORY_COLUMNS
) -> None:
    """Write a row an epoch as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_text(path, text.getvalue())


def read_history(
    path: Path, epochs: int, columns: Sequence[str] = HISTORY_COLUMNS
) -> list[dict[str, float]]:
    """The first `epochs` rows of a history that `write_history` wrote.

    Raises:
        UserError: the file holds fewer rows, or no such rows.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = [
                {name: (int if name == "epoch" else float)(row[name]) for name in columns}
                for row in csv.DictReader(file)
            ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not the history of the run to resume ({error})") from error
    if len(rows) < epochs:
        raise UserError(f"{path}: holds {len(rows)} epochs, but the saved state is at {epochs}")
    return rows[:epochs]


def begin_run(output_dir: Path, settings: Mapping[str, object]) -> None:
    """Record what a run's state depends on, and drop the state of an earlier run."""
    state_path(output_dir).unlink(missing_ok=True)
    write_json(settings_path(output_dir), settings)


def resumable(output_dir: Path, settings: Mapping[str, object]) -> bool:
    """Whether `output_dir` has the state of a run that `settings` may go on with.

    Raises:
        UserError: it has one with other settings, which its optimizer and order depend on.
    """
    if not state_path(output_dir).is_file():
        return False
    path = settings_path(output_dir)
    try:
        before = dict(json.loads(existing_file(path, "record of the run to resume").read_bytes()))
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: not the record of a run; start again without --resume") from error
    changed = [
        f"{k} was {before.get(k)}, not {v}" for k, v in settings.items() if before.get(k) != v
    ]
    if changed:
        raise UserError(f"{path}: {'; '.join(changed)}; give the same settings to --resume")
    return True
