"""Stage 2's training: teacher forcing, resumable by the epoch."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from captioning.cli import UserError
from captioning.files import atomic_path
from captioning.training.batches import CaptionBatches
from captioning.training.optimizers import plateau_rate
from captioning.training.run import Run

COLUMNS = ("epoch", "loss", "val_loss", "seconds")


class CaptionRun(Run):
    """A run whose best model is kept by the original's name and in `checkpoints/`.

    Args:
        model: a compiled decoder.
        settings: of a `Run`.
    """

    def __init__(self, model: keras.Model, output: Path, settings: dict[str, Any], **options):
        (output / "checkpoints").mkdir(parents=True, exist_ok=True)
        super().__init__(
            model, output, settings, columns=COLUMNS, means=("token_loss",), unit="caption",
            state=output / "checkpoints" / "state.npz",
            advice="lower --learning-rate and start again, or --resume from the epoch before",
            **options,
        )  # fmt: skip

    def start(self, *, resume: bool) -> None:
        """As `Run.start`; the state of a version of before is refused, or forgotten.

        Raises:
            UserError: as `Run.resume`, or there is such a state.
        """
        forget_old_state(self.output, keep=resume and not self.state_path.is_file())
        super().start(resume=resume)

    def train(
        self,
        train_batches: CaptionBatches,
        dev_batches: CaptionBatches,
        *,
        epochs: int,
        patience: int = 0,
        plateau_from: float | None = None,
    ) -> None:
        """Train to the last epoch.

        Training stops before when the development loss has not improved for `patience` epochs
        (0: never). With `plateau_from` the learning rate is that at first and falls by
        `plateau_rate`; without, it is the optimizer's own affair.

        Raises:
            UserError: the loss is no longer a number, or features cannot be read.
        """
        while len(self.history) < epochs and not self._exhausted(patience):
            epoch = len(self.history)
            if plateau_from is not None:
                losses = [row["val_loss"] for row in self.history]
                self.model.optimizer.learning_rate = plateau_rate(plateau_from, losses)
            try:
                self._fit_epoch(train_batches, epoch)
                val = self.model.evaluate(dev_batches, verbose=0, return_dict=True)
            except Exception as error:
                for batches in (train_batches, dev_batches):
                    if batches.failure is not None:
                        raise batches.failure from error
                raise
            self.check_number(val["token_loss"], "development loss")
            row = {
                "epoch": epoch + 1,
                "loss": self.part["token_loss"],
                "val_loss": float(val["token_loss"]),
                "seconds": round(self.bar.format_dict["elapsed"], 1),
            }
            self.bar.set_postfix(loss=f"{row['loss']:.3f}", val_loss=f"{row['val_loss']:.3f}")
            self.bar.close()
            self.end_row(row, keep=partial(self._keep_best, row, self.best))

    def _fit_epoch(self, batches: CaptionBatches, epoch: int) -> None:
        # The state of dropout follows from seed and epoch, as the order of the captions does.
        states = [v for v in self.model.variables if v.path.endswith("seed_generator_state")]
        for number, state in enumerate(states):
            state.assign([(batches.seed * len(states) + number) % 2**32, epoch])

        def begin(*_: Any) -> None:
            batches.start_epoch(epoch + 1)

        begin()
        captions = [len(chosen) for _, chosen in batches.batches]
        self.fit(
            batches, f"epoch {epoch + 1}", steps=len(batches), count=captions.__getitem__,
            total=sum(captions), initial_epoch=epoch, epochs=epoch + 1, shuffle=False,
            # Again, because Keras has told the batches by then that an epoch had ended.
            callbacks=[keras.callbacks.LambdaCallback(on_epoch_begin=begin)],
        )  # fmt: skip

    def _exhausted(self, patience: int) -> bool:
        """Whether the last `patience` epochs brought nothing."""
        losses = [row["val_loss"] for row in self.history]
        return 0 < patience < len(losses) - int(np.argmin(losses)) if losses else False

    def _keep_best(self, row: Mapping[str, float], before: Mapping[str, float] | None) -> None:
        # A copy that was never compiled: the optimizer's moments are twice the model's size. And
        # in float32, whatever it was trained in, so that it captions alike everywhere.
        plain = self.model.copy_with(dtype="float32")
        for name in (model_name(row), "checkpoints/best_model.keras"):
            with atomic_path(self.output / name) as temporary:
                plain.save(temporary)
        if before is not None and model_name(before) != model_name(row):
            (self.output / model_name(before)).unlink(missing_ok=True)


def forget_old_state(output: Path, *, keep: bool) -> None:
    """Remove what runs of an older version, which kept their state otherwise, went on from.

    Raises:
        UserError: there is such a state, and it is to `keep`.
    """
    old = output / "checkpoints" / "training_state.keras"
    if keep and old.is_file():
        raise UserError(
            f"{old}: was left by an older version, whose runs cannot go on; its best model is in "
            "the folder all the same. Start again without --resume"
        )
    old.unlink(missing_ok=True)


def model_name(row: Mapping[str, float]) -> str:
    """The original pipeline's file name for the model of an epoch."""
    return "model-ep{epoch:03d}-loss{loss:.3f}-val_loss{val_loss:.3f}.keras".format(**row)
