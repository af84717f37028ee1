"""A training run in one folder: what is kept of it as it goes, and how it goes on after a kill.

Every training here is one: pretext stages, stage 2, fine-tuning and self-critical training. Keras'
own callbacks each do a part and not all of it. `BackupAndRestore` saves after so many batches but
not minutes, knows no history and goes on under other settings without a word; `CSVLogger` writes a
row twice after a kill; `ModelCheckpoint` keeps the optimizer, twice the model's size, with the best
model; `TerminateOnNaN` does not say what to do.
"""

import csv
import io
import json
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from captioning.cli import UserError
from captioning.files import atomic_path, write_text

LARGEST = 1e12  # of a weight or a moment in a run that has not diverged


class Run:
    """The progress of a model's training: steps, which make rows of a history, and a state.

    The state holds every variable of the model and its optimizer, and so weights, target network
    and queue, random generators and moments; a resumed run goes on bit for bit. It is written last,
    so that a kill costs what came after it and never leaves the files at odds.

    Args:
        model: compiled.
        output: the folder; it takes `history.csv`.
        settings: what the state depends on (JSON); a resumed run must have the same.
        columns: of the history.
        means: of what `after_step` is given, kept of a row; the first must stay a number.
        may_change: settings that a resumed run may set anew.
        by, sign: the best row is the one with the least of this column, with `sign` -1 the most.
        unit: what the bar counts.
        advice: what a user does about a loss that is no number.
        state: the file that `--resume` goes on from; default: `output`/state.npz.
        save_minutes: how often the state is saved within a row; default: never.
        stop_minutes: of training, after which it stops.
        writes: False for the processes of a job that only compute.
    """

    def __init__(
        self,
        model: keras.Model,
        output: Path,
        settings: dict[str, Any],
        *,
        columns: Sequence[str],
        means: Sequence[str] = ("loss",),
        may_change: Collection[str] = (),
        by: str = "val_loss",
        sign: int = 1,
        unit: str = "picture",
        advice: str = "lower --learning-rate and go on with --resume",
        state: Path | None = None,
        save_minutes: float = math.inf,
        stop_minutes: float | None = None,
        writes: bool = True,
    ) -> None:
        self.model, self.output, self.settings = model, output, settings
        self.columns, self.means, self.may_change = columns, means, may_change
        self.by, self.sign = by, sign
        self.unit, self.advice, self.writes = unit, advice, writes
        self.state_path = state or output / "state.npz"
        self.save_seconds = 60 * save_minutes
        self.stop_seconds = 60 * stop_minutes if stop_minutes else math.inf
        self.stop_at: float | None = None  # from the first row on
        self.saved_at = time.monotonic()
        self.step = 0
        self.history: list[dict[str, Any]] = []
        self.part = self._nothing()  # of the row in the making
        # Else Keras does it in the first step, whose graph TensorFlow then makes a second time.
        model.optimizer.build(model.trainable_variables)

    def _nothing(self) -> dict[str, float]:
        return {**dict.fromkeys(self.means, 0.0), "steps": 0, "seconds": 0.0}

    @property
    def stopped(self) -> bool:
        """Whether `stop_minutes` have passed."""
        return self.stop_at is not None and time.monotonic() >= self.stop_at

    # ---- steps and rows ----------------------------------------------------------------------

    def begin_row(self, name: str, steps: int, total: int, done: int = 0) -> None:
        """Begin a row of so many steps, or go on with it; its bar counts from `done` to `total`."""
        self.before = dict(self.part)  # what an interrupted run had done of this row
        self.row_length, self.began = steps, time.monotonic()
        if self.stop_at is None:
            self.stop_at = self.began + self.stop_seconds
        self.bar = tqdm(
            total=total, initial=done, unit=self.unit, desc=name, disable=not self.writes
        )

    @contextmanager
    def row(self, name: str, steps: int, total: int) -> Iterator[None]:
        """`begin_row` for a loop of one's own; the bar ends with the loop, or with its error."""
        self.begin_row(name, steps, total)
        with self.bar:  # so that what is said of the error has a line of its own
            yield

    def after_step(self, steps: int, means: Mapping[str, float], count: int) -> bool:
        """Account for a step that took `count` units, the row's `steps`th since `begin_row`.

        `means` are those of the steps since then. The state is saved if it is time.

        Returns:
            Whether `stop_minutes` have passed.

        Raises:
            UserError: the loss is no longer a number. The last good state stays.
        """
        self.step += 1
        before, part = self.before, self.part
        part["steps"] = before["steps"] + steps
        for name in self.means:
            whole = before[name] * before["steps"] + float(means[name]) * steps
            part[name] = whole / part["steps"]
        now = time.monotonic()
        part["seconds"] = before["seconds"] + now - self.began
        self.check_number(part[self.means[0]], self.means[0].removeprefix("token_"))
        self.bar.update(count)
        shown = {name.removeprefix("token_"): f"{part[name]:.3f}" for name in self.means}
        self.bar.set_postfix(shown, refresh=False)
        stops = self.stopped
        due = stops or now - self.saved_at >= self.save_seconds
        if due and part["steps"] < self.row_length:
            self.save_state()
        return stops

    def check_number(self, value: float, what: str) -> None:
        """Stop a run that has diverged.

        Raises:
            UserError: the value, a `what`, is not finite.
        """
        if not math.isfinite(value):
            self.bar.close()
            raise UserError(f"the {what} is {value} after {self.step} steps; {self.advice}")

    def fit(
        self,
        data: Any,
        name: str,
        *,
        steps: int,
        count: int | Callable[[int], int],
        total: int | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        **options: Any,
    ) -> bool:
        """Train what is left of a row of `steps` steps by Keras' `fit`; False: time was up first.

        A step takes `count` units, or those that it gives for the step's number; the row `total`.
        """
        done = 0 if callable(count) else self.part["steps"] * count
        self.begin_row(name, steps, total or steps * count, done)
        keeper = _AfterStep(self, count if callable(count) else lambda _: count)
        try:
            self.model.fit(data, verbose=0, callbacks=[keeper, *callbacks], **options)
        except BaseException:
            self.bar.close()  # as `row` does
            raise
        if self.part["steps"] < steps:
            self.bar.close()
            return False
        return True

    @property
    def best(self) -> dict[str, Any] | None:
        """The best row so far, the first of equals."""
        return best_row(self.history, self.by, self.sign)

    def end_row(self, row: dict[str, Any], keep: Callable[[], None] | None = None) -> None:
        """Add a row to the history, and write history and state.

        If it is the best so far, `keep` is called before that, and keeps what the row is of.
        """
        self.bar.close()
        if keep and best_row([*self.history, row], self.by, self.sign) is row:
            keep()
        self.history.append(row)
        self.part = self._nothing()
        if self.writes:
            write_history(self.output / "history.csv", self.history, self.columns)
        self.save_state()

    # ---- the state ---------------------------------------------------------------------------

    def save_state(self) -> None:
        """Write `state_path`, atomically.

        Raises:
            UserError: a variable is not finite, or so large that the next step will not be; the
                state of before stays.
        """
        if not self.writes:
            return
        if hasattr(self.model, "jax_state_sync"):  # during `fit`, JAX has the variables elsewhere
            self.model.jax_state_sync()
        arrays = [keras.ops.convert_to_numpy(v.value) for v in _variables(self.model)]
        if not all((np.abs(array) < LARGEST).all() for array in arrays if array.dtype.kind == "f"):
            raise UserError(
                f"the weights grow without bound or are no longer numbers after {self.step} steps; "
                f"{self.advice}"
            )
        record = {"settings": self.settings, "step": self.step,
                  "history": self.history, "part": self.part}  # fmt: skip
        named = {str(number): array for number, array in enumerate(arrays)}
        with atomic_path(self.state_path) as temporary:
            np.savez(temporary, record=json.dumps(record), **named)
        self.saved_at = time.monotonic()

    def start(self, *, resume: bool) -> None:
        """Go on with the run whose state is here, if there is one; or forget an earlier one's.

        Raises:
            UserError: as `resume`.
        """
        if resume and self.state_path.is_file():
            self.resume()
        elif self.writes:
            self.state_path.unlink(missing_ok=True)

    def resume(self) -> None:
        """Go on from `state_path`, in the middle of a row if it was saved there.

        Raises:
            UserError: the state is damaged, of another model, or of a run with other settings.
        """
        path = self.state_path
        record, arrays = _read_state(path)
        before = record["settings"]
        if not self.settings.keys() <= before.keys():
            raise UserError(
                f"{path}: was left by an older version, whose runs cannot go on; what it has kept "
                "is in the folder all the same. Start again in another one"
            )
        changed = [
            _change(name, before[name], value)
            for name, value in self.settings.items()
            if name not in self.may_change and before[name] != value
        ]
        if changed:
            raise UserError(f"{path}: {'; '.join(changed)}; give the same settings to --resume")
        variables = _variables(self.model)
        if [array.shape for array in arrays] != [tuple(v.shape) for v in variables]:
            raise UserError(f"{path}: belongs to another model; start again without --resume")
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)
        self.history = record["history"]
        self.part, self.step = record["part"], record["step"]


class _AfterStep(keras.callbacks.Callback):
    """Tells a run of every step that Keras has done, and Keras when time is up."""

    def __init__(self, run: Run, count: Callable[[int], int]) -> None:
        super().__init__()
        self.run, self.count = run, count

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        if self.run.after_step(batch + 1, logs, self.count(batch)):
            self.run.model.stop_training = True


def _change(name: str, before: Any, now: Any) -> str:
    """How a setting differs; digests say nothing to a reader."""
    if name.endswith("_sha256") or isinstance(now, dict):
        name = name.removesuffix("_sha256").removesuffix("_of")
        return f"it had other {name.replace('_', ' ')}"
    return f"{name} was {before}, not {now}"


def _variables(model: keras.Model) -> list[keras.Variable]:
    return [*model.variables, *model.optimizer.variables]


def _read_state(path: Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    try:
        with np.load(path) as file:
            record = json.loads(str(file["record"]))
            arrays = [file[str(number)] for number in range(len(file.files) - 1)]
        if not {"settings", "history", "part", "step"} <= record.keys():
            raise ValueError("its record lacks something")
    except Exception as error:  # zipfile, numpy and json each raise their own
        raise UserError(
            f"{path}: not the state of a run, or damaged; remove it, or start again without "
            f"--resume ({error})"
        ) from error
    return record, arrays


def best_row(
    history: Sequence[dict[str, Any]], by: str = "val_loss", sign: int = 1
) -> dict[str, Any] | None:
    """The row with the least of a column, with `sign` -1 the largest; the first of equals."""
    return min(history, key=lambda row: sign * row[by], default=None)


def write_history(path: Path, history: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write a row an epoch as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_text(path, text.getvalue())
