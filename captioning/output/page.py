"""The page of pictures with their captions, self-contained: of an evaluation, and of stage 5."""

import base64
import html
import io
from collections.abc import Iterable
from pathlib import Path
from string import Template

from captioning.evaluation.coco_toolkit import one_line
from captioning.files import atomic_path
from captioning.output.sheets import thumbnail

_TEMPLATE = Path(__file__).with_suffix(".html")


def write_page(path: str | Path, title: str, intro: str, cards: Iterable[str]) -> None:
    """Write a page that needs no network; it forbids every script but its own.

    Whoever changes that script has to put its new digest into the template.

    Args:
        intro: HTML under the title.
        cards: as `card` makes them; they are written as they come.
    """
    head, tail = _TEMPLATE.read_text(encoding="utf-8").split("$cards")
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(Template(head).substitute(title=title, intro=intro))
        file.writelines(cards)
        file.write(tail)


def card(image: Path | None, about: str, body: str, size: int, scores: str = "") -> str:
    """A picture, at most `size` pixels along its longer side, with `body` (HTML) beneath.

    `about` is what is read out in the picture's place. `scores` are what the page is sorted by.
    """
    jpeg = io.BytesIO()
    thumbnail(image, size).save(jpeg, "JPEG", quality=80)
    uri = f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}"
    return (
        f'<article data-scores="{scores}"><img src="{uri}" alt="{text(about)}">\n{body}</article>\n'
    )


def text(content: str) -> str:
    """Whatever a caption, a name of a file or of a model holds, as text of the page."""
    return html.escape(one_line(content))
