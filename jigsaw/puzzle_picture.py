"""What a person looks at: puzzles as the network got them, and as it put them together."""

import math
from pathlib import Path

import numpy as np

from captioning.files import atomic_path

GREEN, RED = "#1e963c", "#c82828"


def put_back(tiles: np.ndarray, permutation: np.ndarray) -> np.ndarray:
    """Tiles (tiles, t, t, 3), each moved to the place that the permutation says it came from."""
    placed = np.empty_like(tiles)
    placed[np.asarray(permutation)] = tiles
    return placed


def draw_puzzles(
    path: Path,
    tiles: np.ndarray,
    predicted: np.ndarray,
    permutations: np.ndarray,
    right: np.ndarray,
) -> None:
    """A column for each puzzle, as a PNG: as it was given, and below as it was put together.

    `tiles` are uint8 (B, tiles, t, t, 3), `predicted` permutation numbers (B,). The frame is green
    where `right` (B,), and red elsewhere.
    """
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        2, len(tiles), figsize=(1.7 * len(tiles), 3.4), squeeze=False, layout="constrained"
    )
    for column, puzzle in enumerate(tiles):
        solved = put_back(puzzle, permutations[predicted[column]])
        for row, board in enumerate((puzzle, solved)):
            axes[row, column].imshow(_board(board))
            axes[row, column].set(xticks=[], yticks=[])
            axes[row, column].spines[:].set_visible(row == 1)
        axes[1, column].spines[:].set(color=GREEN if right[column] else RED, linewidth=4)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100)
    pyplot.close(figure)


def _board(tiles: np.ndarray) -> np.ndarray:
    """Tiles (tiles, t, t, 3) in reading order, with gaps, as one picture."""
    gap = 1 + tiles.shape[1] // 32
    tiles = np.pad(tiles, [(0, 0), (gap, gap), (gap, gap), (0, 0)], constant_values=255)
    grid, side = math.isqrt(len(tiles)), tiles.shape[1]
    rows = tiles.reshape(grid, grid, side, side, 3).swapaxes(1, 2)
    return rows.reshape(grid * side, grid * side, 3)
