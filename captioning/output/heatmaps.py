"""Where a grid decoder looks: a picture with a heat map under each word of its caption."""

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from captioning.encoders.encoder import Encoder
from captioning.images.reading import UnreadableImage, load_rgb
from captioning.output.captions import Captioned
from captioning.output.sheets import cell, save_sheet, thumbnail

CELL, COLUMNS = 224, 6  # pixels, and pictures in a row
WARM = np.array([255.0, 110.0, 0.0])


def attend(model: keras.Model, encoder: Encoder, path: str | Path, caption: str) -> np.ndarray:
    """How a model of grids weighed the grid's vectors for each word of a picture's `caption`.

    For the Transformer that is the mean over the heads of its last block.

    Returns:
        A map (h, w) for each word, which sums to 1.

    Raises:
        UnreadableImage: the file gives no picture.
    """
    pixels = load_rgb(path, encoder.preprocessing.size, encoder.preprocessing.square)
    features = encoder.encode_few(pixels[None], grid=True)
    tokens = np.array([model.vocabulary.encode(caption)])
    weights = model.attention({"features": features, "tokens": tokens[:, :-1]})
    side = math.isqrt(model.positions)
    return keras.ops.convert_to_numpy(weights)[0, : len(caption.split())].reshape(-1, side, side)


def draw(
    model: keras.Model, encoder: Encoder, results: Sequence[Captioned], output: str | Path
) -> None:
    """Write one PNG: each picture and its caption, then the picture once a word, lit by its map.

    The brightest spot is always the map's largest weight, which is written beside the word; where
    the map is even, the picture is lit evenly. A picture that has gone meanwhile is left grey.
    """
    rows = []
    for path, caption, *_ in results:
        image = thumbnail(path, CELL)
        cells = [cell(image, [(caption, "black"), (path.name, "dimgray")], CELL)]
        with contextlib.suppress(UnreadableImage):
            maps = attend(model, encoder, path, caption)
            for word, weights in zip(caption.split(), maps, strict=True):
                texts = [(f"{word}  {weights.max():.2f}", "black")]
                cells.append(cell(lit(image, weights), texts, CELL))
        rows += [cells[first : first + COLUMNS] for first in range(0, len(cells), COLUMNS)]
    save_sheet(rows, output)


def lit(image: Image.Image, weights: np.ndarray) -> Image.Image:
    """The picture, bright and warm where `weights` (h, w) are large, and dark elsewhere."""
    heat = Image.fromarray((weights / weights.max()).astype(np.float32))
    heat = np.asarray(heat.resize(image.size, Image.Resampling.BICUBIC)).clip(0, 1)[..., None]
    pixels = np.asarray(image, np.float32) * (0.35 + 0.65 * heat)
    return Image.fromarray(((1 - 0.3 * heat) * pixels + 0.3 * heat * WARM).round().astype(np.uint8))
