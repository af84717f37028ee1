"""MS COCO: `captions_train2014.json` and its like (arXiv 1504.00325).

`images` lists every picture of the split with a number and a file name; `annotations` the captions
by the picture's number. `image_info_test2014.json` has pictures and no captions.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from captioning.cli import UserError
from captioning.datasets.form import Dataset, entries, field
from captioning.images.names import distinct_ids

CONTENT = dict
USED = {"annotations", "caption", "file_name", "id", "image_id", "images"}
KNOWN = "MS COCO's captions_*.json"
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


def matches(content: dict[str, Any]) -> bool:
    """Whether a JSON object lists pictures as COCO does."""
    images = content.get("images")
    first = images[0] if isinstance(images, list) and images else None
    return isinstance(first, dict) and "file_name" in first


def read(path: Path, content: dict[str, Any]) -> Dataset:
    """The captions of every picture; the file itself is the split.

    Raises:
        UserError: an entry lacks something, a picture is listed twice, or a caption is of none.
    """
    named: dict[str, int] = {}
    numbered: set[int] = set()
    for row, image in enumerate(entries(path, content, "images")):
        name = field(path, image, "file_name", str, f"image {row}")
        number = field(path, image, "id", int, f"image {row}")
        if not name.strip() or name in named or number in numbered:
            raise UserError(
                f"{path}: image {row} ({name!r}, id {number}) is listed twice, or empty"
            )
        named[name] = number
        numbered.add(number)
    ids = distinct_ids(named, path)
    files = {image_id: name for name, image_id in ids.items()}
    by_number = {number: ids[name] for name, number in named.items()}

    captions: dict[str, list[str]] = {image_id: [] for image_id in files}
    annotations = entries(path, content, "annotations") if "annotations" in content else []
    for row, annotation in enumerate(annotations):
        number = field(path, annotation, "image_id", int, f"annotation {row}")
        if number not in by_number:
            raise UserError(f"{path}: annotation {row} is of image {number}, which is not listed")
        caption = field(path, annotation, "caption", str, f"annotation {row}")
        captions[by_number[number]].append(caption)
    captions = {image_id: texts for image_id, texts in captions.items() if texts}
    numbers = {image_id: number for number, image_id in by_number.items()}
    return Dataset("MS COCO", captions, files, {}, numbers)


def results_id(image_id: str, numbers: Mapping[str, int]) -> int | str:
    """A picture's number as COCO's results format has it: its own, else an id that is a number."""
    return numbers.get(image_id, int(image_id) if _NUMBER.fullmatch(image_id) else image_id)


def distinct_numbers(numbers: Mapping[str, int], ids: Iterable[str]) -> dict[str, int]:
    """The numbers of several files' pictures; none where two of the `ids` get the same one.

    Each file counts its own pictures. Without numbers they go by their names.
    """
    ids = list(ids)
    called = {results_id(image_id, numbers) for image_id in ids}
    return dict(numbers) if len(called) == len(ids) else {}


def results(captions: Iterable[tuple[str, str]], numbers: Mapping[str, int]) -> list[dict]:
    """Captions (`image_id`, text) in COCO's results format, which its server takes.

    Where the pictures' names are numbers, and others than theirs, each entry has its name as well.
    """
    named = at_odds(numbers)
    return [
        {
            "image_id": results_id(image_id, numbers),
            "caption": text,
            **({"file": image_id} if named else {}),
        }
        for image_id, text in captions
    ]


def at_odds(numbers: Mapping[str, int]) -> bool:
    """Whether a data set's number of one picture is the name of another one."""
    return any(numbers.get(str(number), number) != number for number in numbers.values())
