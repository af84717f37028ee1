"""A training run in one folder: what is saved of it as it goes, and how it goes on after a kill.

Keras' callbacks do not do all of it: `BackupAndRestore` saves after batches and not minutes, and
goes on under other settings without a word; `CSVLogger` writes a row twice after a kill;
`ModelCheckpoint` keeps the optimizer, twice the model's size, with the model.
"""

import json
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from captioning.cli import UserError, in_file
from captioning.files import atomic_path, write_text
from captioning.training.optimizers import is_exhausted

Row = dict[str, Any]  # of the history

COLUMNS = ("epoch", "loss", "val_loss", "seconds")
RECORD = ("settings", "step", "history", "part")  # of the state, beside the variables
LARGEST = 1e12  # of a moment, or of a statistic, in a run that has not diverged
LARGEST_KERNEL = float(np.finfo(np.float16).max)  # which are shipped in half precision


@dataclass(eq=False)
class Run:
    """The progress of a model's training: steps, which make rows of a history, and a state.

    The state holds every variable of the model and its optimizer, and so weights, target network
    and queue, random generators and moments; a resumed run goes on bit for bit. It is written last,
    so that a kill costs what came after it and never leaves the files at odds.
    """

    model: keras.Model  # compiled
    output: Path  # the folder; it takes `history.csv`
    settings: dict[str, Any]  # what the state depends on (JSON); the same when resumed
    _: KW_ONLY
    columns: Sequence[str] = COLUMNS  # of the history
    means: Sequence[str] = ("loss",)  # kept of a row; the first must stay a number
    may_change: Collection[str] = ()  # settings that a resumed run may set anew
    by: str = "val_loss"  # the column that the best row has the least of
    unit: str = "image"  # what the bar counts
    advice: str = "lower --learning-rate and go on with --resume"  # if the loss is no number
    state: Path | None = None  # the file to go on from; default: `output`/state.npz
    save_minutes: float = math.inf  # how often the state is saved within a row
    stop_minutes: float | None = None  # of training, after which it stops
    writes: bool = True  # False for the processes of a job that only compute

    def __post_init__(self) -> None:
        self.state_path = self.state or self.output / "state.npz"
        self.save_seconds = 60 * self.save_minutes
        self.stop_at = math.inf  # until the first row begins
        self.saved_at = time.monotonic()
        self.step = 0
        self.rows_left = 0.0  # after the one in the making, for the time left that the bar shows
        self.history: list[Row] = []
        self.part = self._nothing()  # of the row in the making
        # Else Keras does it in the first step, whose graph TensorFlow then makes a second time.
        self.model.optimizer.build(self.model.trainable_variables)

    def _nothing(self) -> dict[str, float]:
        return {**dict.fromkeys(self.means, 0.0), "steps": 0, "seconds": 0.0}

    @property
    def stopped(self) -> bool:
        """Whether `stop_minutes` have passed."""
        return time.monotonic() >= self.stop_at

    @property
    def best(self) -> Row | None:
        """The best row so far, the first of equals."""
        return min(self.history, key=lambda row: row[self.by], default=None)

    def train(
        self,
        epochs: int,
        train_epoch: Callable[[int], bool | None],
        validate: Callable[[], Row],
        save: Callable[[Row], None],
        *,
        patience: int = 0,
    ) -> None:
        """Train to the last epoch, or until `patience` epochs have brought nothing; 0: never.

        `train_epoch` trains an epoch, by its number from 0, as a row (`fit`, or `row`); False ends
        the training there. `validate` gives further columns of the row, `by` among them, and `save`
        writes the model, by the row, if it is the best.

        Raises:
            UserError: the loss or the weights are no longer finite. What was saved before stays.
        """
        for epoch in range(len(self.history), epochs):
            if is_exhausted([row[self.by] for row in self.history], patience):
                break
            self.rows_left = epochs - epoch - 1
            if self.stopped or train_epoch(epoch) is False:
                break
            began = time.monotonic()
            found = validate()
            self.check_number(found[self.by], self.by)
            row = {
                "epoch": epoch + 1,
                **{_short(name): self.part[name] for name in self.means},
                **found,
                "seconds": round(self.part["seconds"] + time.monotonic() - began, 1),
            }
            self._show(row)
            self.end_row(row, lambda: save(row))  # noqa: B023 - it is called at once

    @contextmanager
    def row(self, name: str, steps: int, total: int, done: int = 0) -> Iterator[None]:
        """A row of so many steps, or what is left of it; its bar counts from `done` to `total`."""
        self.before = dict(self.part)  # what an interrupted run had done of this row
        self.row_length, self.began = steps, time.monotonic()
        self.stop_at = min(self.stop_at, self.began + 60 * (self.stop_minutes or math.inf))
        options = {"total": total, "initial": done, "unit": self.unit, "desc": name}
        self.bar = tqdm(**options, disable=not self.writes)
        try:
            yield
        except BaseException:
            self.bar.close()  # so that what is said of the error has a line of its own
            raise

    def after_step(self, steps: int, means: Mapping[str, float], count: int) -> bool:
        """Account for a step that took `count` units, the row's `steps`th since it was begun.

        `means` are those of the steps since then. The state is saved if it is time. It gives
        whether `stop_minutes` have passed.

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
        self.check_number(part[self.means[0]], _short(self.means[0]))
        self.bar.update(count)
        self._show({_short(name): part[name] for name in self.means}, refresh=False)
        stops = self.stopped
        due = stops or now - self.saved_at >= self.save_seconds
        if due and part["steps"] < self.row_length:
            self.save_state()
        return stops

    def _show(self, numbers: Mapping[str, float], refresh: bool = True) -> None:
        if self.bar.disable:
            return
        shown = {k: f"{v:.3f}" for k, v in numbers.items() if k not in ("epoch", "seconds")}
        done, total = self.bar.n - self.bar.initial, self.bar.total
        if done and self.rows_left:
            rate = done / (time.monotonic() - self.began)
            left = (total - self.bar.n + self.rows_left * total) / rate
            shown["whole_run_left"] = tqdm.format_interval(left)
        self.bar.set_postfix(shown, refresh=refresh)

    def check_number(self, value: float, what: str) -> None:
        """Stop a run that has diverged.

        Raises:
            UserError: the value, a `what`, is not finite.
        """
        if not math.isfinite(value):
            self.bar.close()
            raise UserError(f"the {what} is {value} after {self.step} steps; {self.advice}")

    def fit(self, data: Any, name: str, counts: Sequence[int], **options: Any) -> bool:
        """Train what is left of a row by Keras' `fit`; False: time was up first.

        `counts` are the units of every step of the row.
        """
        done = self.part["steps"]

        def after(batch: int, logs: Mapping[str, float]) -> None:
            if self.after_step(batch + 1, logs, counts[done + batch]):
                self.model.stop_training = True

        callback = keras.callbacks.LambdaCallback(on_train_batch_end=after)
        with self.row(name, len(counts), sum(counts), sum(counts[:done])):
            self.model.fit(data, verbose=0, callbacks=[callback], **options)
        complete = self.part["steps"] == len(counts)
        if not complete:
            self.bar.close()
        return complete

    def end_row(self, row: Row, keep: Callable[[], None] | None = None) -> None:
        """Add a row to the history, and write history and state.

        If it is the best so far, `keep` is called before that, and keeps what the row is of.

        Raises:
            UserError: as `_arrays`, before anything is written.
        """
        self.bar.close()
        self._arrays()
        if keep and (not self.history or row[self.by] < self.best[self.by]):
            keep()
        self.history.append(row)
        self.part = self._nothing()
        if self.writes:
            rows = [self.columns, *([row[name] for name in self.columns] for row in self.history)]
            text = "".join(",".join(map(str, row)) + "\n" for row in rows)
            write_text(self.output / "history.csv", text)
        self.save_state()

    def _arrays(self) -> list[np.ndarray]:
        """The values of all variables, finite in the precision of whatever is written of them.

        Raises:
            UserError: one is not finite, so large that the next step will not be, or a kernel that
                half precision does not hold.
        """
        if hasattr(self.model, "jax_state_sync"):  # during `fit`, JAX has the variables elsewhere
            self.model.jax_state_sync()
        arrays = [keras.ops.convert_to_numpy(v.value) for v in _variables(self.model)]
        for number, array in enumerate(arrays):
            is_kernel = array.ndim > 1 and number < len(self.model.variables)
            largest = LARGEST_KERNEL if is_kernel else LARGEST
            if array.dtype.kind == "f" and not (np.abs(array) <= largest).all():
                raise UserError(
                    f"after {self.step} steps the weights are not finite, or grow without bound; "
                    f"they are not saved, what was saved before stays; {self.advice}"
                )
        return arrays

    def save_state(self) -> None:
        """Write `state_path`, atomically.

        Raises:
            UserError: as `_arrays`; the state of before stays.
        """
        if not self.writes:
            return
        record = {name: getattr(self, name) for name in RECORD}
        named = {str(number): array for number, array in enumerate(self._arrays())}
        with atomic_path(self.state_path) as temporary:
            np.savez(temporary, record=json.dumps(record), **named)
        self.saved_at = time.monotonic()

    def start(self, *, resume: bool) -> None:
        """Go on from `state_path`, if there is one, in the middle of a row if it was saved there.

        Without `resume`, forget an earlier run's.

        Raises:
            UserError: the state is damaged, of another model, or of a run with other settings.
        """
        path = self.state_path
        if not (resume and path.is_file()):
            if self.writes:
                path.unlink(missing_ok=True)
            return
        record, arrays = _read_state(path)
        before = record["settings"]
        changed = [
            _change(name, before.get(name), value)
            for name, value in self.settings.items()
            if name not in self.may_change and before.get(name) != value
        ]
        if changed:
            raise UserError(f"{path}: {'; '.join(changed)}; give the same settings to --resume")
        variables = _variables(self.model)
        if [array.shape for array in arrays] != [tuple(v.shape) for v in variables]:
            raise UserError(f"{path}: belongs to another model; start again without --resume")
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)
        self.history, self.part, self.step = record["history"], record["part"], record["step"]


def _short(name: str) -> str:
    """A metric's name in the history and on the bar."""
    return name.removeprefix("token_")


def _change(name: str, before: Any, now: Any) -> str:
    """How a setting differs; digests say nothing to a reader."""
    if name.endswith("_sha256") or isinstance(now, dict):
        name = name.removesuffix("_sha256").removesuffix("_of")
        return f"it had other {name.replace('_', ' ')}"
    return f"{name} was {before}, not {now}"


def _variables(model: keras.Model) -> list[keras.Variable]:
    return [*model.variables, *model.optimizer.variables]


def _read_state(path: Path) -> tuple[dict[str, Any], list[np.ndarray]]:
    hint = "remove it, or start again without --resume"
    with in_file(path, f"not the state of a run, or damaged; {hint}"), np.load(path) as file:
        record = json.loads(str(file["record"]))
        arrays = [file[str(number)] for number in range(len(file.files) - 1)]
        return {name: record[name] for name in RECORD}, arrays
