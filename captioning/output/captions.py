"""Captions in files: JSON, csv, a page and a contact sheet."""

import base64
import csv
import html
import io
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from captioning.cli import UserError
from captioning.datasets import results_id
from captioning.evaluation.confidence import CONFIDENT, confidence
from captioning.files import write_json, write_text
from captioning.images.names import distinct_ids
from captioning.images.reading import load_thumbnail
from captioning.output.sheets import check_sheet, save_sheet

THUMBNAIL = 320  # pixels along the longer side
MOST_ON_SHEET = 600  # pictures: 66 megapixels, and most programs refuse 90
PALE = "#767676"  # on white the palest grey of enough contrast to be read (WCAG 2.1: 4.5 to 1)
LEGEND = f"Paler: the captioner is not sure (confidence below {CONFIDENT:.2f})."


class Captioned(NamedTuple):
    """A picture's file, its caption and the caption's log-probability.

    `beside` has other captioners' captions by the captioners' names.
    """

    path: Path
    caption: str
    log_probability: float
    beside: dict[str, str] = {}  # noqa: RUF012 - it is never changed

    @property
    def confidence(self) -> float:
        """The geometric mean probability a word; see `captioning.evaluation.confidence`."""
        return confidence(self.caption, self.log_probability)

    @property
    def unsure(self) -> bool:
        """Whether the page and the contact sheet show the caption paler."""
        return self.confidence < CONFIDENT


def beside(results: Sequence[Captioned], others: Sequence[Captioned], name: str) -> list[Captioned]:
    """The results with the captions that a captioner of that name gave to the same pictures."""
    said = {other.path: other.caption for other in others}
    return [
        captioned._replace(beside={**captioned.beside, name: said.get(captioned.path, "")})
        for captioned in results
    ]


def check_output(path: Path, images: Sequence[Path]) -> None:
    """Say before any work what `write_captions` would refuse after it.

    Raises:
        UserError: a format that it does not know, pictures that JSON could not tell apart, more of
            them than a contact sheet can hold, or a picture of the user's in the sheet's place.
    """
    if path.suffix not in _WRITERS:
        raise UserError(f"{path}: unknown format; end the name in {', '.join(_WRITERS)}")
    if path.suffix == ".json":
        distinct_ids(map(str, images), path)
    if path.suffix == ".png" and len(images) > MOST_ON_SHEET:
        raise UserError(
            f"{path}: a contact sheet holds {MOST_ON_SHEET} pictures, not {len(images)}; "
            "write an .html page"
        )
    if path.suffix == ".png":
        check_sheet(path)


def write_captions(path: Path, results: Sequence[Captioned]) -> None:
    """Write captions as JSON, CSV, an HTML page or a PNG contact sheet, by the file's suffix."""
    _WRITERS[path.suffix](path, results)


def _write_json(path: Path, results: Sequence[Captioned]) -> None:
    ids = distinct_ids((str(captioned.path) for captioned in results), path)
    write_json(path, [
        {
            "image_id": results_id(ids[str(captioned.path)], {}),
            "caption": captioned.caption,
            "file": str(captioned.path),
            "log_probability": captioned.log_probability,
            "confidence": captioned.confidence,
            **({"beside": captioned.beside} if captioned.beside else {}),
        }
        for captioned in results
    ])  # fmt: skip


def _write_csv(path: Path, results: Sequence[Captioned]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = results[0].beside if results else ()
    writer.writerow(("file", "caption", "log_probability", *names, "confidence"))
    writer.writerows(
        (
            str(captioned.path), captioned.caption, f"{captioned.log_probability:.4f}",
            *captioned.beside.values(), f"{captioned.confidence:.2f}",
        )
        for captioned in results
    )  # fmt: skip
    write_text(path, text.getvalue())


def thumbnail_uri(path: Path, size: int = THUMBNAIL, quality: int = 85) -> str:
    """A picture, at most `size` pixels along its longer side, as a JPEG inside a `data:` address.

    Raises:
        UnreadableImage: the file gives no picture.
    """
    buffer = io.BytesIO()
    load_thumbnail(path, size).save(buffer, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Captions</title>
<style>
body {{ font: 16px/1.4 system-ui, sans-serif; margin: 1.5rem; color: #222; background: #fafafa; }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); gap: 1rem; }}
figure {{ margin: 0; background: #fff; border: 1px solid #ddd; border-radius: 8px;
  overflow: hidden; }}
img {{ width: 100%; height: 14rem; object-fit: contain; background: #eee; display: block; }}
figcaption {{ padding: .6rem .8rem; }}
p {{ margin: .4rem 0; color: #555; }}
.unsure {{ color: {pale}; }}
small {{ display: block; color: #777; overflow-wrap: anywhere; }}
</style></head><body>
<h1>{count} captions</h1>
{legend}
<main>
{figures}
</main></body></html>
"""


def _write_html(path: Path, results: Sequence[Captioned]) -> None:
    figures = []
    for captioned in results:
        caption, name = html.escape(captioned.caption), html.escape(captioned.path.name)
        others = "".join(
            f"<p><b>{html.escape(other)}:</b> {html.escape(text)}</p>"
            for other, text in captioned.beside.items()
        )
        figures.append(
            f'<figure><img src="{thumbnail_uri(captioned.path)}" alt="{caption}">'
            f'<figcaption><span class="{"unsure" if captioned.unsure else "sure"}">{caption}</span>'
            f"{others}<small>{captioned.confidence:.2f}, {name}</small></figcaption></figure>"
        )
    legend = f'<p class="unsure">{LEGEND}</p>' if _any_unsure(results) else ""
    page = {"count": len(results), "pale": PALE, "legend": legend, "figures": "\n".join(figures)}
    write_text(path, _PAGE.format(**page))


def _any_unsure(results: Sequence[Captioned]) -> bool:
    return any(captioned.unsure for captioned in results)


def _write_contact_sheet(path: Path, results: Sequence[Captioned]) -> None:
    """Thumbnails in rows, each with its caption beneath, as one PNG."""
    columns = min(4, max(1, len(results)))
    others = max((len(captioned.beside) for captioned in results), default=0)
    cell_width, text_height, gap = THUMBNAIL, 66 * (1 + others), 16
    cell_height = 240 + text_height
    rows = -(-len(results) // columns)
    width, height = columns * (cell_width + gap) + gap, rows * (cell_height + gap) + gap
    font = ImageFont.load_default(17)
    legend = "\n".join(textwrap.wrap(LEGEND, 36 * columns)) if _any_unsure(results) else ""
    room = 24 * (legend.count("\n") + 1) + gap if legend else 0
    sheet = Image.new("RGB", (width, height + room), "white")
    draw = ImageDraw.Draw(sheet)
    draw.multiline_text((gap, height), legend, PALE, font)
    for number, captioned in enumerate(results):
        left = gap + number % columns * (cell_width + gap)
        top = gap + number // columns * (cell_height + gap)
        picture = load_thumbnail(captioned.path, THUMBNAIL)
        picture.thumbnail((cell_width, 240))
        sheet.paste(picture, (left + (cell_width - picture.width) // 2, top + 240 - picture.height))
        lines = textwrap.wrap(captioned.caption, 36)[:3]
        colour = PALE if captioned.unsure else "black"
        draw.multiline_text((left, top + 246), "\n".join(lines), colour, font)
        for below, (name, caption) in enumerate(captioned.beside.items(), start=1):
            lines = textwrap.wrap(f"{name}: {caption}", 36)[:3]
            place = (left, top + 246 + 66 * below)
            draw.multiline_text(place, "\n".join(lines), "dimgray", font)
    save_sheet(sheet, path)


_WRITERS = {
    ".json": _write_json, ".csv": _write_csv, ".html": _write_html, ".png": _write_contact_sheet,
}  # fmt: skip
