"""Where a grid decoder looks: a picture with a heat map under each word of its caption."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from captioning.cli import UserError
from captioning.encoders.encoder import Encoder
from captioning.images.reading import load_rgb, load_thumbnail
from captioning.output.sheets import save_sheet

CELL, GAP, LINE, COLUMNS = 224, 12, 24, 6  # pixels, and pictures in a row
WARM = np.array([255.0, 110.0, 0.0])


class Attended(NamedTuple):
    """A picture's file, the words of its caption, and a map (h, w) for each, which sums to 1."""

    path: Path
    words: list[str]
    maps: np.ndarray


def check_looks(model: keras.Model, model_path: str | Path) -> None:
    """Refuse a model that looks at no grid."""
    if not model.grid:
        raise UserError(
            f"{model_path}: reads one vector a picture and looks nowhere in particular; train a "
            "model with --decoder attention or transformer to see where it looks"
        )


def attend(model: keras.Model, encoder: Encoder, path: str | Path, caption: str) -> Attended:
    """Tell for each word of a picture's `caption` how the model weighed the grid's vectors.

    For the Transformer that is the mean over the heads of its last block.

    Raises:
        UserError: the model looks at no grid, or the file gives no picture (`UnreadableImage`).
    """
    check_looks(model, "this model")
    pixels = load_rgb(path, encoder.preprocessing.size, encoder.preprocessing.square)
    features = encoder.encode_few(pixels[None], grid=True)
    tokens = np.array([model.vocabulary.encode(caption)])
    weights = model.attention({"features": features, "tokens": tokens[:, :-1]})
    words = caption.split()
    side = math.isqrt(model.positions)
    maps = keras.ops.convert_to_numpy(weights)[0, : len(words)].reshape(-1, side, side)
    return Attended(Path(path), words, maps)


def draw(results: Sequence[Attended], output: str | Path) -> None:
    """Write one PNG: each picture and its caption, then the picture once a word, lit by its map.

    The brightest spot is always the map's largest weight, which is written beside the word; where
    the map is even, the picture is lit evenly.
    """
    columns = min(COLUMNS, 1 + max(len(attended.words) for attended in results))
    pictures = [load_thumbnail(attended.path, CELL) for attended in results]
    heights = [LINE + picture.height + GAP for picture in pictures]  # of a row
    rows = [-(-(1 + len(attended.words)) // columns) for attended in results]
    height = sum(LINE + n * row for n, row in zip(rows, heights, strict=True))
    sheet = Image.new("RGB", (columns * (CELL + GAP) + GAP, height), "white")
    canvas, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    top = 0
    for attended, picture, used, row in zip(results, pictures, rows, heights, strict=True):
        canvas.text(
            (GAP, top + 2), f"{attended.path.name}: {' '.join(attended.words)}", "black", font
        )
        cells = [(picture, "")] + [
            (lit(picture, weights), f"{word}  {weights.max():.2f}")
            for word, weights in zip(attended.words, attended.maps, strict=True)
        ]
        for number, (cell, text) in enumerate(cells):
            left = GAP + number % columns * (CELL + GAP)
            down = top + LINE + number // columns * row
            canvas.text((left, down + 2), text, "black", font)
            sheet.paste(cell, (left, down + LINE))
        top += LINE + used * row
    save_sheet(sheet, output)


def lit(picture: Image.Image, weights: np.ndarray) -> Image.Image:
    """The picture, bright and warm where `weights` (h, w) are large, and dark elsewhere."""
    heat = Image.fromarray((weights / weights.max()).astype(np.float32))
    heat = np.asarray(heat.resize(picture.size, Image.Resampling.BICUBIC)).clip(0, 1)[..., None]
    pixels = np.asarray(picture, np.float32) * (0.35 + 0.65 * heat)
    return Image.fromarray(((1 - 0.3 * heat) * pixels + 0.3 * heat * WARM).round().astype(np.uint8))
