"""Where the tiles of a puzzle lie in its picture."""

import math
from dataclasses import dataclass

import numpy as np

from captioning.cli import UserError


@dataclass
class Puzzle:
    """A crop of the picture is divided into cells, each of which gives a tile.

    Args:
        tiles: of a puzzle, whose number is a square: 4, 9, 16, ...
        image_size, crop_size, cell_size, tile_size: sides in pixels, each within the one before.
        channel_shift: how far from the crop colours are taken, at most.

    Raises:
        UserError: the sizes do not fit into each other.
    """

    tiles: int
    image_size: int = 256
    crop_size: int = 225
    cell_size: int = 75
    tile_size: int = 64
    channel_shift: int = 2

    def __post_init__(self) -> None:
        self.grid = math.isqrt(self.tiles)
        if self.grid**2 != self.tiles:
            raise UserError(f"{self.tiles} tiles make no square puzzle; take 4, 9 or 16")
        room = self.image_size - 2 * self.channel_shift
        within = self.grid * self.cell_size <= self.crop_size <= room
        if not (1 <= self.tile_size <= self.cell_size and within):
            raise UserError(
                f"sizes do not fit into each other: tiles of {self.tile_size} px, {self.grid} "
                f"cells of {self.cell_size} px, a crop of {self.crop_size} px, pictures of "
                f"{self.image_size} px less {self.channel_shift} on each side, by which colours "
                "are shifted"
            )

    def corners(self) -> np.ndarray:
        """Top and left of each cell (tiles, 2) in its crop."""
        rows, columns = np.divmod(np.arange(self.tiles), self.grid)
        return self.cell_size * np.stack([rows, columns], axis=1)

    def centre_corners(self) -> np.ndarray:
        """Top and left of each tile (tiles, 2), in the middle of its cell and of the picture."""
        margin = (self.image_size - self.grid * self.cell_size) // 2
        return self.corners() + margin + (self.cell_size - self.tile_size) // 2
