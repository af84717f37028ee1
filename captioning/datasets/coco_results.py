"""References in the form of COCO's results: a list of `{"image_id": ..., "caption": ...}`.

A picture has as many entries as captions; it is called by its file's name or by a number.
"""

from collections.abc import Iterator
from pathlib import Path

from captioning.cli import UserError
from captioning.datasets.form import Dataset, collect, whole

CONTENT = list
USED = {"caption", "file", "image_id"}
KNOWN = "a list of {'image_id', 'caption'}, which is COCO's results format"


def matches(content: list) -> bool:
    """Whether a JSON list begins as one of captions does."""
    first = content[0] if content else None
    return isinstance(first, dict) and first.keys() >= {"image_id", "caption"}


def read(path: Path, content: list) -> Dataset:
    """The captions of every picture that is named.

    Raises:
        UserError: an entry lacks something, or names no picture.
    """
    rows = ((str(given), caption) for given, caption, _ in pairs(path, content))
    found = collect(path, "captions in COCO's results format", rows)
    numbers = {image_id: int(image_id) for image_id in found.captions if image_id.isdecimal()}
    return found._replace(numbers=numbers)


def pairs(path: Path, content: list) -> Iterator[tuple[int | str, str, str]]:
    """What each entry calls its picture, its caption, and the picture's file if it is named.

    Raises:
        UserError: an entry lacks one of the two.
    """
    for number, entry in enumerate(content, start=1):
        given, caption = None, None
        if isinstance(entry, dict):
            given, caption = entry.get("image_id"), entry.get("caption")
        if type(given) not in (int, str) or not isinstance(caption, str):
            raise UserError(f"{path}: entry {number} is not {{'image_id': ..., 'caption': 'text'}}")
        file = entry.get("file")
        yield (
            whole(given) if isinstance(given, str) else given,
            whole(caption),
            whole(file) if isinstance(file, str) else "",
        )
