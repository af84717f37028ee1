"""JSON of captions: COCO's, Karpathy's, and any list or lines of records.

COCO's `captions_train2014.json` and its like (arXiv 1504.00325) have a list `images`, each with a
number and a file name, and a list `annotations` of captions by the picture's number.
`image_info_test2014.json` has pictures and no captions. In Karpathy's `dataset_coco.json` and its
like (Karpathy and Fei-Fei, arXiv 1412.2306) `images` have captions and split; what is left of
COCO's validation images is the split `restval`, which everybody trains on. COCO's results format
is a list of `{"image_id": ..., "caption": ...}`.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from captioning.cli import UserError
from captioning.datasets.captions import Captions, collect
from captioning.datasets.records import captions_of, image_of, of_records

_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


def read(path: Path, content: Any) -> Captions | None:
    """The captions of every picture, and Karpathy's splits; None: no such file.

    Raises:
        UserError: an entry lacks something, a picture is listed twice, or a caption is of none.
    """
    if isinstance(content, dict):
        images = content.get("images")
        first = images[0] if isinstance(images, list) and images else None
        if isinstance(first, dict) and "filename" in first:
            return _read_karpathy(path, content)
        if isinstance(first, dict) and "file_name" in first:
            return _read_coco(path, content)
        content = [content]  # a file of one line
    first = content[0] if isinstance(content, list) and content else None
    if not isinstance(first, dict) or not image_of(first, ["image_id"]):
        return None
    entries = (
        (f"{path}: entry {number}", entry if isinstance(entry, dict) else {})
        for number, entry in enumerate(content, start=1)
    )
    return of_records(path, "JSON", entries, ["image_id"])


def _read_coco(path: Path, content: dict[str, Any]) -> Captions:
    by_file: dict[str, list[str]] = {}
    file_of: dict[int, str] = {}
    for row, image in enumerate(content["images"]):
        file = field(path, image, "file_name", str, f"image {row}")
        number = field(path, image, "id", int, f"image {row}")
        if file in by_file or number in file_of:
            raise UserError(f"{path}: image {row} ('{file}', id {number}) is listed twice")
        by_file[file] = []
        file_of[number] = file
    annotations = field(path, {"annotations": [], **content}, "annotations", list, "the file")
    for row, annotation in enumerate(annotations):
        number = field(path, annotation, "image_id", int, f"annotation {row}")
        if number not in file_of:
            raise UserError(f"{path}: annotation {row} is of image {number}, which is not listed")
        if "caption" not in annotation:
            raise UserError(f"{path}: annotation {row} has no 'caption'")
        by_file[file_of[number]] += captions_of(annotation, f"{path}: annotation {row}")
    return collect(path, "MS COCO", by_file, numbers={f: number for number, f in file_of.items()})


def _read_karpathy(path: Path, content: dict[str, Any]) -> Captions:
    by_file: dict[str, list[str]] = {}
    split_of: dict[str, str] = {}
    numbers: dict[str, int] = {}
    for row, image in enumerate(content["images"]):
        where = f"image {row}"
        file = field(path, image, "filename", str, where)
        if "filepath" in image:
            file = f"{field(path, image, 'filepath', str, where)}/{file}"
        if file in by_file:
            raise UserError(f"{path}: {where} ('{file}') is listed twice")
        sentences = field(path, image, "sentences", list, where)
        by_file[file] = [field(path, s, "raw", str, f"a caption of {where}") for s in sentences]
        split = field(path, image, "split", str, where)
        split_of[file] = "train" if split == "restval" else split
        if "cocoid" in image:
            numbers[file] = field(path, image, "cocoid", int, where)
    name = f"Karpathy's splits of {content.get('dataset', 'a data set')}"
    return collect(path, name, by_file, split_of, numbers)


def field(path: Path, entry: Any, key: str, kind: type, where: str) -> Any:
    """`entry[key]` of a JSON object, which must be of this very type, or a `UserError`."""
    value = entry.get(key) if isinstance(entry, dict) else None
    if type(value) is not kind:
        raise UserError(f"{path}: {where} has no '{key}' of type {kind.__name__}")
    return value


def results_id(image_id: str, numbers: Mapping[str, int]) -> int | str:
    """A picture's number as COCO's results format has it: its own, else an id that is a number."""
    return numbers.get(image_id, int(image_id) if _NUMBER.fullmatch(image_id) else image_id)


def results(captions: Iterable[tuple[str, str]], numbers: Mapping[str, int]) -> list[dict]:
    """Captions (`image_id`, text) in COCO's results format, with the picture's name beside them."""
    return [
        {"image_id": results_id(image_id, numbers), "caption": text, "file": image_id}
        for image_id, text in captions
    ]
