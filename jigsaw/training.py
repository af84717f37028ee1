"""A run of the puzzle solver: how its learning rate goes, its epochs, and what is kept of it."""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from captioning.encoders.jigsaw_solver import JigsawSolver, copy_of
from captioning.encoders.networks.batch_norm import estimate_statistics
from captioning.encoders.table import build_network, preprocessing_of
from captioning.encoders.weights import save_encoder
from captioning.files import atomic_path
from captioning.training.optimizers import learning_rate_schedule, plateau_rate
from captioning.training.plots import drawing, plot_curves
from captioning.training.run import Run
from jigsaw.DataGenerator import DataGenerator

COLUMNS = ("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds")
METRICS = ("loss", "accuracy")
PLATEAU, PATIENCE = 3, 6  # epochs without progress until the rate falls, and until the end
SAMPLE, SAMPLE_BATCH = 1000, 50  # whole pictures for batch statistics, at a time
FALL = 0.1  # what the rate is multiplied by on a plateau
GREEN, RED = "#1e963c", "#c82828"  # frames of puzzles that are solved, and that are not


class WarmUpAdam(keras.optimizers.Adam):
    """Adam whose learning rate, which may be set anew, rises linearly over the first steps.

    At the full rate from the first step, the loss often stays at ln(N) for hundreds of steps, or
    for good: the dense layers grow large before the trunk has anything to tell them.
    """

    def __init__(self, learning_rate: float, warmup_steps: int) -> None:
        super().__init__(learning_rate)
        self.warmup_steps = warmup_steps

    def update_step(self, gradient, variable, learning_rate) -> None:
        progress = (ops.cast(self.iterations, "float32") + 1) / self.warmup_steps
        rate = learning_rate * ops.cast(ops.minimum(progress, 1.0), learning_rate.dtype)
        super().update_step(gradient, variable, rate)


def make_optimizer(schedule: str, peak: float, warmup_steps: int, steps: int) -> keras.Optimizer:
    """Adam whose rate rises over `warmup_steps`, under "cosine" over half of `steps` at most.

    Then it falls to 0 at the end of `steps` ("cosine"), or stays until it is lowered ("plateau").
    """
    if schedule == "plateau":
        return WarmUpAdam(peak, warmup_steps)
    warmup = min(0.5, warmup_steps / steps)
    return keras.optimizers.Adam(learning_rate_schedule(peak, steps, warmup))


def compile_solver(solver: JigsawSolver, optimizer: keras.Optimizer | str = "sgd") -> None:
    """Cross-entropy and accuracy; without an optimizer it can only be evaluated."""
    solver.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(),
        metrics=["accuracy"],
        # XLA is slower than oneDNN at convolutions on a CPU.
        jit_compile=keras.backend.backend() != "tensorflow",
    )
    if keras.backend.backend() == "jax":
        # Else `fit` and `evaluate` build loss and metrics from puzzles that workers have cut ahead,
        # and take some of them twice and others never.
        tiles = np.zeros((2, solver.tile_count, solver.tile_size, solver.tile_size, 3), np.uint8)
        solver.test_on_batch(tiles, np.zeros(2, np.int32))
        solver.reset_metrics()


class JigsawRun(Run):
    """A run with history, plot, and the solver of its best epoch with that one's trunk.

    Of its `settings`, `epochs`, `learning_rate` and `schedule` count here: with "cosine" all epochs
    are trained, with "plateau" until nothing is gained; then a resumed run may have other epochs
    and another rate. `options` are `save_minutes` and `stop_minutes` of a `Run`.
    """

    def __init__(
        self,
        solver: JigsawSolver,
        puzzles: Mapping[str, DataGenerator],
        output: Path,
        settings: Mapping[str, Any],
        **options: float | None,
    ) -> None:
        digest = hashlib.sha256(solver.permutations.tobytes()).hexdigest()
        settings = {**settings, "permutations_sha256": digest}
        self.plateau = settings["schedule"] == "plateau"
        may_change = {"dataset", "epochs", "learning_rate"} if self.plateau else {"dataset"}
        options |= {"columns": COLUMNS, "means": METRICS, "unit": "puzzle"}
        super().__init__(solver, output, settings, may_change=may_change, **options)
        self.puzzles = puzzles
        self.solver_path = output / f"{settings['encoder']}-jigsaw.keras"
        self.trunk_path = output / f"{settings['encoder']}-jigsaw.weights.h5"

    def train(self) -> None:
        """Train to the last epoch, until time is up or, with "plateau", until progress ends."""
        puzzles = self.puzzles["train"]

        def train_epoch(epoch: int) -> bool:
            if self.plateau:
                losses = [row["val_loss"] for row in self.history]
                peak = self.settings["learning_rate"]
                self.model.optimizer.learning_rate = plateau_rate(peak, losses, FALL, PLATEAU)
            done = self.part["steps"]
            puzzles.start_epoch(epoch, done)
            counts = [puzzles.batch_size] * (done + len(puzzles))
            return self.fit(puzzles, f"epoch {epoch + 1}", counts, shuffle=False)

        patience = PATIENCE if self.plateau else 0
        epochs = self.settings["epochs"]
        super().train(epochs, train_epoch, self._validate, self._keep_best, patience=patience)

    def _validate(self) -> dict[str, float]:
        val = self.model.evaluate(self.puzzles["val"], verbose=0, return_dict=True)
        # The rate as the user gave it, not as float32 has it; with "cosine", that of the last step.
        rate = float(f"{float(self.model.optimizer.learning_rate):.6g}")
        return {**{f"val_{name}": float(val[name]) for name in METRICS}, "learning_rate": rate}

    def end_row(self, row: dict[str, Any], keep: Callable[[], None] | None = None) -> None:
        """Add a row to the history, as `Run` does, and draw it."""
        super().end_row(row, keep)
        plot_history(self.output / "history.png", self.history, len(self.model.permutations))

    def _keep_best(self, row: dict[str, Any]) -> None:
        best, encoder = copy_of(self.model), self.settings["encoder"]
        with atomic_path(self.solver_path) as temporary:
            best.save(temporary)
        recipe = {
            **self.settings,
            "method": "jigsaw",
            "tiles": best.tile_count,
            "permutations": len(best.permutations),
            "preprocessing": str(preprocessing_of(encoder).resized(self.settings["image_size"])),
            "epochs_trained": row["epoch"],
            "val_accuracy": row["val_accuracy"],
            "hours": round(sum(row["seconds"] for row in [*self.history, row]) / 3600, 2),
        }
        # Of whole pictures, with the usual scaling, it tells more than of such normalised as tiles
        # are, whose light and colour are lost (measured in docs/lab-notes/jigsaw.md).
        trunk = build_network(encoder, dtype=best.settings["precision"])
        trunk.set_weights(best.trunk.get_weights())
        estimate_statistics(trunk, self._whole_pictures())
        save_encoder(trunk, self.trunk_path, recipe)

    def _whole_pictures(self) -> Iterator[Any]:
        """Some of the training pictures, in batches."""
        puzzles = self.puzzles["train"]
        rows = puzzles.rows[:: -(-len(puzzles.rows) // SAMPLE)]
        for some in np.array_split(rows, max(1, len(rows) // SAMPLE_BATCH)):
            yield np.stack([puzzles.images[row] for row in some])


def plot_history(path: Path, history: Sequence[dict[str, Any]], permutations: int) -> None:
    """Accuracy and validation loss by epoch; a line marks the best epoch."""
    rows = [{**row, "chance": 1 / permutations} for row in history]
    curves = {"training (dropout on)": "accuracy", "validation": "val_accuracy"}
    curves[f"chance, 1 of {permutations}"] = "chance"
    options = {"mark": "val_loss", "right": {"validation loss": "val_loss"}}
    labels = {"y_label": "share of puzzles solved", "title": "Jigsaw puzzles solved by epoch"}
    plot_curves(path, rows, curves, **labels, **options)


def draw_puzzles(solver: JigsawSolver, puzzles: DataGenerator, path: Path, count: int = 4) -> None:
    """At most `count` puzzles of the first batch that are solved, and as many that are not.

    Each is a column of a PNG: as it was given, and below as it was put together, in a green frame
    if that is right and in a red one if not.
    """
    tiles, numbers = puzzles[0]
    predicted = solver.predict_on_batch(tiles).argmax(axis=-1)
    right = predicted == numbers
    shown = np.r_[np.flatnonzero(right)[:count], np.flatnonzero(~right)[:count]]
    with drawing(path, (1.7 * len(shown), 3.4), 2, len(shown)) as axes:
        for (above, below), number in zip(axes.reshape(2, -1).T, shown, strict=True):
            # Where a tile came from is where it goes back to.
            solved = tiles[number][np.argsort(solver.permutations[predicted[number]])]
            for board, pieces in ((above, tiles[number]), (below, solved)):
                board.imshow(side_by_side(pieces))
                board.set(xticks=[], yticks=[])
            above.spines[:].set_visible(False)
            below.spines[:].set(color=GREEN if right[number] else RED, linewidth=4)


def side_by_side(tiles: np.ndarray) -> np.ndarray:
    """Tiles (tiles, t, t, 3) in reading order, with gaps, as one picture."""
    tiles = np.pad(tiles, [(0, 0), (1, 1), (1, 1), (0, 0)], constant_values=255)
    grid, side = math.isqrt(len(tiles)), tiles.shape[1]
    rows = tiles.reshape(grid, grid, side, side, 3).swapaxes(1, 2)
    return rows.reshape(grid * side, grid * side, 3)
