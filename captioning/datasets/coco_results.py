"""References in the form of COCO's results: a list of `{"image_id": ..., "caption": ...}`.

A picture has as many entries as captions; it is called by its file's name or by a number.
"""

from pathlib import Path
from typing import Any

from captioning.datasets.form import Dataset, collect, field

CONTENT = list
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
    rows = [
        (_name(path, entry, number), field(path, entry, "caption", str, f"entry {number}"))
        for number, entry in enumerate(content, start=1)
    ]
    found = collect(path, "captions in COCO's results format", rows)
    numbers = {one: int(one) for one in found.captions if one.isdecimal()}
    return found._replace(numbers=numbers)


def _name(path: Path, entry: Any, number: int) -> str:
    given = entry.get("image_id") if isinstance(entry, dict) else None
    kind = int if type(given) is int else str
    return str(field(path, entry, "image_id", kind, f"entry {number}"))
