"""Stage 2's training: teacher forcing, resumable by the epoch."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
from tqdm import tqdm

from captioning.cli import printable
from captioning.decoders.base import Decoder
from captioning.decoders.search import generate
from captioning.files import atomic_path, write_json
from captioning.training.batches import CaptionBatches
from captioning.training.optimizers import plateau_rate
from captioning.training.recipes import settings_path
from captioning.training.run import Run

LOOKED_AT, SHOWN = 100, 3  # development images that are captioned after an epoch, and printed


def caption_run(
    model: keras.Model, output: Path, settings: dict[str, Any], writes: bool = True
) -> Run:
    """A run of stage 2 for a compiled decoder; `settings` and `writes` are those of a `Run`."""
    state = output / "checkpoints" / "state.npz"
    state.parent.mkdir(parents=True, exist_ok=True)
    return Run(
        model,
        output,
        settings,
        means=("token_loss",),
        unit="caption",
        advice="lower --learning-rate and start again, or --resume from the epoch before",
        state=state,
        writes=writes,
    )


def train(
    run: Run,
    train_batches: CaptionBatches,
    dev_batches: CaptionBatches,
    *,
    epochs: int,
    patience: int = 0,
    plateau_from: float | None = None,
    record: Mapping[str, Any] | None = None,
) -> None:
    """Train as `Run.train` does, and save the best model twice, of which one has a name of its own.

    `plateau_from` is a learning rate that falls by `plateau_rate`, instead of the optimizer's own;
    `record` is what stage 4 is to know of the model, saved beside it.

    Raises:
        UserError: as `Run.train`, or features cannot be read.
    """
    model, output = run.model, run.output

    def train_epoch(epoch: int) -> None:
        if plateau_from is not None:
            losses = [row["val_loss"] for row in run.history]
            model.optimizer.learning_rate = plateau_rate(plateau_from, losses)
        # The state of dropout follows from seed and epoch, as the order of the captions does.
        states = [v for v in model.variables if v.path.endswith("seed_generator_state")]
        for number, state in enumerate(states):
            state.assign([(train_batches.seed * len(states) + number) % 2**32, epoch])
        train_batches.start_epoch(epoch + 1)
        captions = [len(chosen) for _, chosen in train_batches.batches]
        options = {"initial_epoch": epoch, "epochs": epoch + 1, "shuffle": False}
        run.fit(train_batches, f"epoch {epoch + 1}", captions, **options)

    def validate() -> dict[str, float]:
        value = float(model.evaluate(dev_batches, verbose=0, return_dict=True)["token_loss"])
        # A job's processes would search each for itself.
        if math.isfinite(value) and dev_batches.world.devices == 1:
            show_captions(model, dev_batches)
        return {"val_loss": value}

    def save(row: Mapping[str, float]) -> None:
        # A copy that was never compiled, so without the optimizer's moments, and in float32, so
        # that it captions alike everywhere. Making one takes all processes of a job.
        plain = model.copy_with(dtype="float32")
        if not run.writes:
            return
        name = model_name(row)
        with atomic_path(output / name) as temporary:
            plain.save(temporary)
        with atomic_path(output / "checkpoints" / "best_model.keras") as temporary:
            plain.save(temporary)
            write_json(settings_path(output), record)
        for other in output.glob("model-ep*-loss*-val_loss*.keras"):
            if other.name != name:
                other.unlink()

    try:
        run.train(epochs, train_epoch, validate, save, patience=patience)
    except Exception as error:
        for batches in (train_batches, dev_batches):
            if batches.failure is not None:
                raise batches.failure from error
        raise


def show_captions(model: Decoder, batches: CaptionBatches) -> None:
    """Print greedy captions of the first images, always the same, and how many are distinct.

    The same caption for every image means that the decoder does not look at its features.
    """
    ids = list(dict.fromkeys(batches.image_ids))[:LOOKED_AT]
    captions = [hypothesis.caption for hypothesis in generate(model, batches.features.of(ids))]
    with tqdm.external_write_mode():
        for image_id, caption in zip(ids[:SHOWN], captions, strict=False):
            print(f"  {printable(image_id)}: {caption}")
        print(f"  {len(set(captions))} of {len(ids)} development captions are distinct")


def model_name(row: Mapping[str, float]) -> str:
    """The original pipeline's file name for the model of an epoch."""
    return "model-ep{epoch:03d}-loss{loss:.3f}-val_loss{val_loss:.3f}.keras".format(**row)
