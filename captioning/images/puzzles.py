"""Where the tiles of a puzzle lie in its picture."""

import math

import numpy as np

from captioning.cli import UserError


class Puzzle:
    """A crop of the picture is divided into cells, each of which gives a tile.

    Args:
        tiles: of a puzzle, whose number is a square: 4, 9, 16, ...
        image_size, crop_size, cell_size, tile_size: sides in pixels, each within the one before.
        channel_shift: how far from the crop colours are taken, at most.

    Raises:
        UserError: the sizes do not fit into each other.
    """

    def __init__(
        self,
        tiles: int,
        *,
        image_size: int = 256,
        crop_size: int = 225,
        cell_size: int = 75,
        tile_size: int = 64,
        channel_shift: int = 2,
    ) -> None:
        self.tiles, self.grid = tiles, math.isqrt(tiles)
        self.image_size, self.crop_size = image_size, crop_size
        self.cell_size, self.tile_size = cell_size, tile_size
        self.channel_shift = channel_shift
        if self.grid**2 != tiles:
            raise UserError(f"{tiles} tiles make no square puzzle; take 4, 9 or 16")
        within = self.grid * cell_size <= crop_size <= image_size - 2 * channel_shift
        if not (1 <= tile_size <= cell_size and within):
            raise UserError(
                f"sizes do not fit into each other: tiles of {tile_size} px, {self.grid} cells of "
                f"{cell_size} px, a crop of {crop_size} px, pictures of {image_size} px less "
                f"{channel_shift} on each side, by which colours are shifted"
            )

    def corners(self) -> np.ndarray:
        """Top and left of each cell (tiles, 2) in its crop."""
        rows, columns = np.divmod(np.arange(self.tiles), self.grid)
        return self.cell_size * np.stack([rows, columns], axis=1)

    def centre_corners(self) -> np.ndarray:
        """Top and left of each tile (tiles, 2), in the middle of its cell and of the picture."""
        margin = (self.image_size - self.grid * self.cell_size) // 2
        return self.corners() + margin + (self.cell_size - self.tile_size) // 2
