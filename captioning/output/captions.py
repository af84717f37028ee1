"""Captions in files: JSON, csv, a page and a contact sheet."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageOps

from captioning.cli import UserError
from captioning.datasets import results_id
from captioning.evaluation.confidence import CONFIDENT, confidence
from captioning.files import write_json, write_text
from captioning.images.folders import SUFFIXES
from captioning.images.names import distinct_ids
from captioning.output.page import card, text, write_page
from captioning.output.sheets import cell, check_sheet, save_sheet, thumbnail

THUMBNAIL = 320  # pixels along the longer side
MOST_ON_SHEET = 600  # pictures: 66 megapixels, and most programs refuse 90
PALE = "#767676"  # on white the palest grey of enough contrast to be read (WCAG 2.1: 4.5 to 1)
LEGEND = f"Paler: the captioner is not sure (confidence below {CONFIDENT:.2f})."


class Captioned(NamedTuple):
    """A picture's file, its caption and the caption's log-probability.

    `alternatives` are further captions of the same captioner with their log-probabilities, the best
    first; `beside` has other captioners' captions by the captioners' names.
    """

    path: Path
    caption: str
    log_probability: float
    alternatives: tuple[tuple[str, float], ...] = ()
    beside: dict[str, str] = {}  # noqa: RUF012 - it is never changed

    @property
    def confidence(self) -> float:
        """The geometric mean probability a word."""
        return confidence(self.caption, self.log_probability)

    @property
    def all(self) -> list[dict[str, str | float]]:
        """Caption and alternatives, the best first, each with log-probability and confidence."""
        return [
            {"caption": text, "log_probability": value, "confidence": confidence(text, value)}
            for text, value in [(self.caption, self.log_probability), *self.alternatives]
        ]

    def __str__(self) -> str:
        """Caption and confidence, the alternatives in lines of their own."""
        return "\n    ".join("{caption} ({confidence:.2f})".format(**one) for one in self.all)

    @property
    def unsure(self) -> bool:
        """Whether the page and the contact sheet show the caption paler."""
        return self.confidence < CONFIDENT


def check_output(path: Path, images: Sequence[Path]) -> None:
    """Refuse a path that `write_captions` could not write the captions of these images to.

    Raises:
        UserError: a format that it does not know, pictures that JSON could not tell apart, more of
            them than a contact sheet can hold, or a picture of the user's in the sheet's place.
    """
    if path.suffix not in _WRITERS:
        hint = "pictures go before --output; " if path.suffix.lower() in SUFFIXES else ""
        raise UserError(f"{path}: unknown format; {hint}end the name in {', '.join(_WRITERS)}")
    if path.suffix == ".json":
        distinct_ids(map(str, images), path)
    if path.suffix == ".png":
        if len(images) > MOST_ON_SHEET:
            raise UserError(
                f"{path}: a contact sheet holds {MOST_ON_SHEET} pictures, not {len(images)}; "
                "write an .html page"
            )
        check_sheet(path)


def write_captions(path: Path, results: Sequence[Captioned]) -> None:
    """Write captions as JSON, CSV, an HTML page or a PNG contact sheet, by the file's suffix."""
    _WRITERS[path.suffix](path, results)


def _write_json(path: Path, results: Sequence[Captioned]) -> None:
    ids = distinct_ids((str(captioned.path) for captioned in results), path)
    entries = []
    for captioned in results:
        (best, *others), file = captioned.all, str(captioned.path)
        entry = {"image_id": results_id(ids[file], {}), "caption": captioned.caption, "file": file}
        more = {"beside": captioned.beside, "alternatives": others}
        entries.append({**entry, **best, **{name: value for name, value in more.items() if value}})
    write_json(path, entries)


def _write_csv(path: Path, results: Sequence[Captioned]) -> None:
    header, rows = [], []
    for captioned in results:
        columns, values = ["file"], [captioned.path]
        for number, one in enumerate(captioned.all, start=1):
            end = f" {number}" if number > 1 else ""
            beside = captioned.beside if number == 1 else {}
            columns += [f"caption{end}", f"log_probability{end}", *beside, f"confidence{end}"]
            values += [one["caption"], f"{one['log_probability']:.4f}", *beside.values()]
            values.append(f"{one['confidence']:.2f}")
        header = max(header, columns, key=len)
        rows.append(values)
    content = io.StringIO()
    table = csv.writer(content, lineterminator="\n")
    table.writerow(header)
    table.writerows(values + [""] * (len(header) - len(values)) for values in rows)
    write_text(path, content.getvalue())


def _write_html(path: Path, results: Sequence[Captioned]) -> None:
    any_unsure = any(captioned.unsure for captioned in results)
    legend = f'<p class="unsure">{LEGEND}</p>' if any_unsure else ""
    write_page(path, f"{len(results)} captions", legend, map(_card, results))


def _card(captioned: Captioned) -> str:
    sure = "unsure" if captioned.unsure else "sure"
    others = "".join(
        f'<p class="other"><b>{text(name)}:</b> {text(caption)}</p>'
        for name, caption in captioned.beside.items()
    )
    below = f"<small>{captioned.confidence:.2f}, {text(captioned.path.name)}</small>"
    body = f'<p class="{sure}">{text(captioned.caption)}</p>{others}{below}'
    return card(captioned.path, captioned.caption, body, THUMBNAIL)


def _write_png(path: Path, results: Sequence[Captioned]) -> None:
    """Thumbnails in rows, each with its caption beneath, as one PNG."""
    cells = []
    for captioned in results:
        texts = [(captioned.caption, PALE if captioned.unsure else "black")]
        texts += [(f"{name}: {other}", "dimgray") for name, other in captioned.beside.items()]
        image = thumbnail(captioned.path, THUMBNAIL)
        image = ImageOps.pad(image, (THUMBNAIL, 240), color="white")
        cells.append(cell(image, texts, THUMBNAIL))
    rows = [cells[first : first + 4] for first in range(0, len(cells), 4)]
    if any(captioned.unsure for captioned in results):
        rows.append([cell(Image.new("RGB", (1, 1), "white"), [(LEGEND, PALE)], THUMBNAIL)])
    save_sheet(rows, path)


_WRITERS = {".json": _write_json, ".csv": _write_csv, ".html": _write_html, ".png": _write_png}
