"""Thumbnails, and sheets of them: PNGs of ours, which are told from the photographs of a user."""

import contextlib
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from captioning.cli import UserError
from captioning.files import atomic_path
from captioning.images.reading import UnreadableImage, load_thumbnail

MARK = "sheet of captioned pictures"  # what a sheet's PNG has as "Software"
GAP, LINE, LETTER = 16, 21, 9  # pixels: between cells, of a line's height, of a letter's width


def thumbnail(path: Path | None, longest: int) -> Image.Image:
    """A picture, its longer side at most `longest`; a grey one where there is none any more."""
    with contextlib.suppress(UnreadableImage):
        if path is not None:
            return load_thumbnail(path, longest)
    blank = Image.new("RGB", (longest, longest * 3 // 4), "#eeeeee")
    ImageDraw.Draw(blank).text((GAP, GAP), "no picture", "#555555", ImageFont.load_default(17))
    return blank


def cell(image: Image.Image, texts: Sequence[tuple[str, str]], width: int) -> Image.Image:
    """A picture of that width or less, with texts beneath, each with its colour."""
    lines = [
        (line, colour) for text, colour in texts for line in textwrap.wrap(text, width // LETTER)
    ]
    canvas = Image.new("RGB", (width, image.height + LINE * len(lines)), "white")
    canvas.paste(image, ((width - image.width) // 2, 0))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(17)
    for number, (line, colour) in enumerate(lines):
        draw.text((0, image.height + LINE * number), line, colour, font)
    return canvas


def save_sheet(rows: Sequence[Sequence[Image.Image]], path: str | Path) -> None:
    """Write rows of cells as one PNG, marked as a sheet."""
    heights = [max(image.height for image in row) + GAP for row in rows]
    width = max(sum(image.width + GAP for image in row) for row in rows) + GAP
    sheet, top = Image.new("RGB", (width, sum(heights) + GAP), "white"), GAP
    for row, height in zip(rows, heights, strict=True):
        for column, image in enumerate(row):
            sheet.paste(image, (GAP + column * (image.width + GAP), top))
        top += height
    about = PngInfo()
    about.add_text("Software", MARK)
    with atomic_path(path) as temporary:
        sheet.save(temporary, "PNG", pnginfo=about)


def check_sheet(path: str | Path) -> None:
    """Refuse to write a sheet over anything but an earlier sheet.

    `--output a.html *.png` takes photographs for outputs.

    Raises:
        UserError: `path` exists, and is no sheet.
    """
    if not os.path.exists(path):
        return
    # It may be no PNG, or a damaged one, for which Pillow raises many kinds of error.
    with contextlib.suppress(Exception), Image.open(path, formats=["PNG"]) as image:
        if image.info.get("Software") == MARK:
            return
    raise UserError(
        f"{path}: exists, and is no sheet of captions, so it is not written over; give another "
        "name (and pictures before the options)"
    )
