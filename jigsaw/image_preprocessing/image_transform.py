"""Pictures to puzzles: nine tiles of each, in the order of a permutation, ready for the network.

Noroozi and Favaro (arXiv 1603.09246, sections 3.2 and 4.2) do all that is done here to keep the
network from solving puzzles without looking at what is in them: gaps between the tiles, so that
edges do not continue; shifted colour channels, against chromatic aberration; some pictures grey.
The network normalises every tile by itself, against gradients of light.
"""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from captioning.images.puzzles import Puzzle

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601, as Pillow turns pictures grey
SLAB = 1 << 19  # bytes that are worked on at a time: they stay in the processor's cache


def default_sizes(
    image_size: int,
    tiles: int,
    crop: int | None = None,
    cell: int | None = None,
    tile: int | None = None,
) -> dict[str, int]:
    """Sizes of a `Puzzle`, those not given in the paper's proportions: 225, 75, 64 of 256."""
    grid = math.isqrt(tiles)
    if cell is None:
        cell = crop // grid if crop else int(image_size * 225 / 256 / grid + 0.5)
    return {
        "image_size": image_size,
        "crop_size": crop or grid * cell,
        "cell_size": cell,
        "tile_size": tile or int(cell * 64 / 75 + 0.5),
    }


class JigsawCreator(Puzzle):
    """Cuts batches of pictures into puzzles.

    A crop at a random place is divided into square cells, and each cell gives a tile from a random
    place within it. The colour channels are each taken from up to `channel_shift` pixels beside,
    but for pictures without colour. `permutations` are (N, tiles), and `grey_share`, 0 to 1, of the
    pictures are turned grey.
    """

    def __init__(self, permutations: np.ndarray, *, grey_share: float = 0.3, **sizes: int) -> None:
        self.permutations = np.asarray(permutations)
        super().__init__(self.permutations.shape[1], **sizes)
        self.grey_share = grey_share

    def cut(self, images: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Tiles (B, tiles, t, t, 3), uint8, and permutation numbers (B,), int32.

        `images` are uint8 (B, S, S, 3). The tile at place i of a puzzle is that of the cell
        `permutations[number, i]`, cells being counted in reading order.
        """
        count, shift = len(images), self.channel_shift
        turned_grey = random.random(count) < self.grey_share
        numbers = random.integers(len(self.permutations), size=count, dtype=np.int32)
        room = self.image_size - self.crop_size - shift
        crop = random.integers(shift, room, (count, 1, 2), endpoint=True)
        free = self.cell_size - self.tile_size
        jitter = random.integers(0, free, (count, self.tiles, 2), endpoint=True)
        shifts = random.integers(-shift, shift, (count, 1, 3, 2), endpoint=True)
        shifts[turned_grey | ~_colourful(images)] = 0
        cells = self.corners()[self.permutations[numbers]]
        tiles = self._take(images, (cells + crop + jitter)[:, :, None] + shifts)
        for number in np.flatnonzero(turned_grey):
            _turn_grey(tiles[number])
        return tiles, numbers

    def _take(self, images: np.ndarray, corners: np.ndarray) -> np.ndarray:
        """Tiles (B, tiles, t, t, 3) whose channels have these corners (B, tiles, 3, 2)."""
        size = self.tile_size
        # A view (B, top, left, size, size, 3) of every tile that there could be; rows of a tile
        # are copied whole, and of each copy only the bytes of its channel are kept. Gathering a
        # channel alone, at every third byte, takes several times as long.
        windows = sliding_window_view(images, (size, size, 3), axis=(1, 2, 3))[:, :, :, 0]
        kept = np.tile(np.eye(3, dtype=np.uint8) * 255, size * size).reshape(3, size, size, 3)
        tiles = np.zeros((len(images), self.tiles, size, size, 3), np.uint8)
        row = np.arange(len(images))[:, None]
        step = max(1, SLAB // tiles[:1].nbytes)
        for first in range(0, len(images), step):
            slab = slice(first, first + step)
            for channel in range(3):
                top, left = np.moveaxis(corners[slab, :, channel], -1, 0)
                copied = windows[row[slab], top, left]
                copied &= kept[channel]
                tiles[slab] |= copied
        return tiles


def _turn_grey(pixels: np.ndarray) -> None:
    """Make all channels of uint8 (..., 3) alike, in place."""
    colours = pixels.reshape(-1, 3)
    grey = colours.astype(np.float32) @ np.tile(LUMA[:, None], 3)
    grey += 0.5  # so that what is cut off is rounded
    np.copyto(colours, grey, casting="unsafe")


def _colourful(images: np.ndarray) -> np.ndarray:
    """Which of the pictures have a pixel that is not grey, bool (B,)."""
    colourful = (np.ptp(images[:, ::16, ::16], axis=-1) > 0).any(axis=(1, 2))
    for number in np.flatnonzero(~colourful):  # those that look grey are looked at whole
        colourful[number] = (np.ptp(images[number], axis=-1) > 0).any()
    return colourful
