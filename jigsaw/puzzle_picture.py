"""What a person looks at: puzzles as the network got them, and as it put them together."""

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from captioning.files import atomic_path

GREEN, RED = (30, 150, 60), (200, 40, 40)
GAP, FRAME = 2, 4  # pixels


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
    size = max(1, 160 // math.isqrt(tiles.shape[1]))
    boards = []
    for puzzle, number in zip(tiles, predicted, strict=True):
        solved = put_back(puzzle, permutations[number])
        boards.append((_board(puzzle, size), _board(solved, size)))
    side = boards[0][0].width
    step = side + 2 * FRAME + 8
    sheet = Image.new("RGB", (step * len(boards), 2 * step), "white")
    draw = ImageDraw.Draw(sheet)
    for column, (given, solved) in enumerate(boards):
        left = column * step + 4
        sheet.paste(given, (left + FRAME, 4 + FRAME))
        top = step + 4
        colour = GREEN if right[column] else RED
        draw.rectangle((left, top, left + side + 2 * FRAME - 1, top + side + 2 * FRAME - 1), colour)
        sheet.paste(solved, (left + FRAME, top + FRAME))
    with atomic_path(path) as temporary:
        sheet.save(temporary)


def _board(tiles: np.ndarray, size: int) -> Image.Image:
    """Tiles in reading order, each of `size` pixels."""
    grid = math.isqrt(len(tiles))
    board = Image.new("RGB", (grid * (size + GAP) - GAP,) * 2, "white")
    for place, tile in enumerate(tiles):
        row, column = divmod(place, grid)
        image = Image.fromarray(tile).resize((size, size), Image.Resampling.BICUBIC)
        board.paste(image, (column * (size + GAP), row * (size + GAP)))
    return board
