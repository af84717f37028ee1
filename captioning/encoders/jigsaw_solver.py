"""The network that solves puzzles, and what it gives to captioning: vectors of whole pictures."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from captioning.cli import UserError, in_file
from captioning.encoders.table import build_network
from captioning.files import existing_file
from captioning.images.puzzles import Puzzle
from captioning.untrusted.keras_files import load_keras_file


@keras.saving.register_keras_serializable(package="jigsaw")
class JigsawSolver(keras.Model):
    """Tells in which of several permutations it sees a puzzle's tiles.

    Noroozi and Favaro's context-free network (arXiv 1603.09246, section 3.1): every tile goes
    through the same trunk by itself, so that only the dense layers see tiles beside each other.
    All tiles of a batch are folded into one, for one pass through the trunk.

    Args:
        encoder: name of the trunk; a tile's vector is its pooled output.
        permutations: the set (N, tiles), as rows of numbers. It is kept with the model.
        precision: "float32" or "bfloat16", of the trunk; the dense layers are in float32.
        dropout: share of the dense layers' outputs that training zeroes.
        seed: of the weights and of dropout.
        image_size, crop_size, cell_size, tile_size: of the puzzles, see `Puzzle`.
    """

    def __init__(
        self,
        encoder: str,
        permutations: list[list[int]],
        precision: str = "float32",
        dropout: float = 0.5,
        seed: int = 0,
        *,
        image_size: int,
        crop_size: int,
        cell_size: int,
        tile_size: int,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.permutations = np.array(permutations, np.uint8)
        self.tile_count, self.tile_size = self.permutations.shape[1], tile_size
        self.sizes = {"image_size": image_size, "crop_size": crop_size}
        self.sizes |= {"cell_size": cell_size, "tile_size": tile_size}
        chosen = {"encoder": encoder, "precision": precision, "dropout": dropout, "seed": seed}
        self.settings = {**chosen, **self.sizes}
        # It gives each channel of every tile mean 0 and deviation 1.
        self.trunk = build_network(encoder, dtype=precision, seed=seed, scale=(None, None))
        width = self.tile_count * self.trunk.output["pooled"].shape[-1]
        # The paper's dense layers have no batch normalisation. Without it, and with a softmax that
        # starts away from uniform, the loss with 100 permutations stayed at ln(100).
        first, second = _dense(2048, "dense1"), _dense(1024, "dense2")
        between = layers.Dropout(dropout, seed=seed)
        self.head = keras.Sequential([keras.Input((width,)), *first, between, *second], name="head")
        before = layers.Dropout(dropout, seed=seed + 1)
        count = len(self.permutations)
        last = layers.Dense(count, "softmax", kernel_initializer="zeros", name="permutation")
        self.classifier = keras.Sequential([keras.Input((1024,)), before, last], name="classifier")
        self.built = True

    def features(self, tiles, training: bool = False):
        """Vectors (B, 1024), the last dense layer before the softmax, of tiles."""
        folded = ops.reshape(tiles, (-1, self.tile_size, self.tile_size, 3))
        vectors = self.trunk(folded, training=training)["pooled"]
        width = self.tile_count * vectors.shape[-1]
        return self.head(ops.reshape(vectors, (-1, width)), training=training)

    def call(self, tiles, training: bool = False):
        """Probabilities (B, N) of the permutations, of tiles (B, tiles, t, t, 3), 0 to 255."""
        return self.classifier(self.features(tiles, training), training=training)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        permutations = self.permutations.tolist()
        return {**super().get_config(), **self.settings, "permutations": permutations}


def _dense(units: int, name: str) -> list[layers.Layer]:
    return [
        layers.Dense(units, use_bias=False, kernel_initializer="he_normal", name=name),
        layers.BatchNormalization(momentum=0.9, name=f"{name}_norm"),
        layers.ReLU(),
    ]


def load_solver(path: str | Path, precision: str | None = None) -> JigsawSolver:
    """Load a solver from its `.keras` file, with another `precision` if one is given.

    Nothing in the file is executed.

    Raises:
        UserError: no such file, damaged, or not a solver.
    """
    path = existing_file(path, "puzzle solver", "train one with jigsaw/main.py")
    solver = load_keras_file(path, known={"jigsaw>JigsawSolver"}, kind="puzzle solver")
    with in_file(path):
        if not all(isinstance(size, int) and size <= 4096 for size in solver.sizes.values()):
            raise UserError(f"puzzles of {solver.sizes!r:.99} pixels, which cannot be")
        Puzzle(solver.tile_count, **solver.sizes)
    return copy_of(solver, precision) if precision else solver


def copy_of(solver: JigsawSolver, precision: str | None = None) -> JigsawSolver:
    """A solver with the same weights that was never compiled, so that its file is a third."""
    config = solver.get_config()
    copy = JigsawSolver.from_config({**config, "precision": precision or config["precision"]})
    copy.set_weights(solver.get_weights())
    return copy


def image_network(solver: JigsawSolver) -> keras.Model:
    """Pixels (B, S, S, 3), 0 to 255, to a dictionary of `pooled` (B, 1024).

    The tiles are cut at the centre of their cells, and they lie in their own order, so that a
    picture always has the same vector.
    """
    side, size = solver.sizes["image_size"], solver.tile_size
    pixels = keras.Input((side, side, 3), name="pixels")
    corners = Puzzle(solver.tile_count, **solver.sizes).centre_corners().tolist()
    tiles = [pixels[:, top : top + size, left : left + size] for top, left in corners]
    vectors = solver.features(ops.stack(tiles, axis=1))
    return keras.Model(pixels, {"pooled": vectors}, name="jigsaw")
