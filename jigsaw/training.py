"""A run of the puzzle solver: its epochs, and what is kept of it besides the state."""

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from captioning.encoders.jigsaw_solver import JigsawSolver, copy_of
from captioning.encoders.weights import save_encoder
from captioning.files import atomic_path, write_json
from captioning.training.plots import plot_curves
from captioning.training.run import Run
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
    if keras.backend.backend() == "jax":
        # Else `fit` and `evaluate` build loss and metrics from the first batches of their puzzles,
        # which workers have cut ahead by then, and take some of them twice and others never.
        tiles = np.zeros((2, solver.tile_count, solver.tile_size, solver.tile_size, 3), np.float32)
        solver.test_on_batch(tiles, np.zeros(2, np.int32))
        solver.reset_metrics()


class JigsawRun(Run):
    """A run with history, plot, and the solver of its best epoch with that one's trunk.

    Args:
        solver: compiled with the optimizer that `schedule.make_optimizer` makes of the settings.
        train, val: puzzles.
        settings: of a `Run`, among them `epochs`, `learning_rate` and `schedule`. With "cosine" all
            epochs are trained, with "plateau" until nothing is gained; then a resumed run may have
            other epochs and another rate.
        recipe: goes into the trunk's weights file.
        options: `save_minutes` and `stop_minutes` of a `Run`.
    """

    def __init__(
        self,
        solver: JigsawSolver,
        train: DataGenerator,
        val: DataGenerator,
        output: Path,
        settings: dict[str, Any],
        recipe: dict[str, Any],
        **options: float | None,
    ) -> None:
        digest = hashlib.sha256(solver.permutations.tobytes()).hexdigest()
        settings = {**settings, "permutations_sha256": digest}
        self.plateau = settings["schedule"] == "plateau"
        super().__init__(
            solver,
            output,
            settings,
            columns=COLUMNS,
            means=METRICS,
            may_change=("epochs", "learning_rate") if self.plateau else (),
            unit="puzzle",
            **options,
        )
        self.puzzles, self.val, self.recipe = train, val, recipe
        encoder = solver.settings["encoder"]
        self.solver_path = output / f"{encoder}-jigsaw.keras"
        self.trunk_path = output / f"{encoder}-jigsaw.weights.h5"

    def train(self) -> None:
        """Train to the last epoch, until time is up or, with "plateau", until progress ends.

        Raises:
            UserError: the loss or the weights are no longer numbers. The last good state stays.
        """
        while len(self.history) < self.settings["epochs"] and not self.stopped:
            if self.plateau:
                losses = [row["val_loss"] for row in self.history]
                if exhausted(losses):
                    break
                rate = rate_after(losses, self.settings["learning_rate"])
                self.model.optimizer.learning_rate = rate
            if not self._fit_epoch(len(self.history)):
                break
            self._finish_epoch()

    def _fit_epoch(self, epoch: int) -> bool:
        first = self.part["steps"]

        def begin(*_: Any) -> None:
            self.puzzles.start_epoch(epoch, first)

        begin()
        # Again, because Keras has told the puzzles by then that an epoch had ended.
        again = keras.callbacks.LambdaCallback(on_epoch_begin=begin)
        return self.fit(
            self.puzzles,
            f"epoch {epoch + 1}",
            steps=len(self.puzzles) + first,
            count=self.puzzles.batch_size,
            callbacks=[again],
            initial_epoch=epoch,
            epochs=epoch + 1,
            shuffle=False,
        )

    def _finish_epoch(self) -> None:
        """Validate; keep the best solver and, last, what a resumed run goes by."""
        began = time.monotonic()
        val = self.model.evaluate(self.val, verbose=0, return_dict=True)
        self.check_number(val["loss"], "validation loss")
        row = {
            "epoch": len(self.history) + 1,
            **{name: self.part[name] for name in METRICS},
            **{f"val_{name}": float(val[name]) for name in METRICS},
            # As the user gave it, not as float32 has it; with "cosine", that of the last step.
            "learning_rate": float(f"{float(self.model.optimizer.learning_rate):.6g}"),
            "seconds": round(self.part["seconds"] + time.monotonic() - began, 1),
        }
        history = [*self.history, row]
        plot_history(self.output / "history.png", history, len(self.model.permutations))
        self.end_row(row, keep=lambda: self._keep_best(history))
        tqdm.write(
            f"epoch {row['epoch']}: loss {row['loss']:.3f}, accuracy {row['accuracy']:.3f}; "
            f"validation loss {row['val_loss']:.3f}, accuracy {row['val_accuracy']:.3f}"
        )

    def _keep_best(self, history: Sequence[dict[str, Any]]) -> None:
        best = copy_of(self.model)
        with atomic_path(self.solver_path) as temporary:
            best.save(temporary)
        recipe = {
            **self.recipe,
            # Tiles, which are all that the trunk has seen, are normalised so.
            "preprocessing": f"squash({self.settings['picture_size']})|standardized",
            "epochs_trained": history[-1]["epoch"],
            "val_accuracy": history[-1]["val_accuracy"],
            "hours": round(sum(row["seconds"] for row in history) / 3600, 2),
        }
        save_encoder(best.trunk, self.trunk_path, recipe)


def test(solver: JigsawSolver, puzzles: DataGenerator, output: Path) -> dict[str, Any]:
    """Accuracy on puzzles of other pictures, beside chance; also written to `test.json`."""
    found = solver.evaluate(puzzles, verbose=0, return_dict=True)
    result = {
        "accuracy": float(found["accuracy"]),
        "loss": float(found["loss"]),
        "chance": 1 / len(solver.permutations),
        "puzzles": len(puzzles.rows),
    }
    write_json(output / "test.json", result)
    return result


def draw_some(solver: JigsawSolver, puzzles: DataGenerator, path: Path, count: int) -> None:
    """A picture of at most `count` puzzles of the first batch that are solved, and as many not."""
    tiles, numbers = puzzles.cut(0)
    predicted = solver.predict_on_batch(normalise(tiles)).argmax(axis=-1)
    right = predicted == numbers
    shown = np.r_[np.flatnonzero(right)[:count], np.flatnonzero(~right)[:count]]
    draw_puzzles(path, tiles[shown], predicted[shown], solver.permutations, right[shown])


def plot_history(path: Path, history: Sequence[dict[str, Any]], permutations: int) -> None:
    """Accuracy and validation loss by epoch; a line marks the best epoch."""
    curves = {
        "training (dropout on)": [row["accuracy"] for row in history],
        "validation": [row["val_accuracy"] for row in history],
        f"chance, 1 of {permutations}": [1 / permutations for _ in history],
    }
    losses = [row["val_loss"] for row in history]
    plot_curves(
        path,
        [row["epoch"] for row in history],
        curves,
        y_label="share of puzzles solved",
        mark=int(np.argmin(losses)),
        right={"validation loss": losses},
    )
