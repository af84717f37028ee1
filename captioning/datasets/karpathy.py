"""Karpathy's splits of COCO, Flickr8k and Flickr30k: `dataset_coco.json` and its like.

Karpathy and Fei-Fei, "Deep visual-semantic alignments for generating image descriptions"
(arXiv 1412.2306). One JSON file with pictures, captions and splits. What is left of COCO's
validation images is the split `restval`, which everybody trains on.
"""

from pathlib import Path
from typing import Any

from captioning.cli import UserError
from captioning.datasets.form import Dataset, entries, field, image_id

CONTENT = dict
KNOWN = "Karpathy's dataset_*.json"


def matches(content: dict[str, Any]) -> bool:
    """Whether a JSON object lists pictures as Karpathy's files do."""
    images = content.get("images")
    first = images[0] if isinstance(images, list) and images else None
    return isinstance(first, dict) and {"filename", "split", "sentences"} <= first.keys()


def read(path: Path, content: dict[str, Any]) -> Dataset:
    """Captions, and the splits `train` (with `restval`), `val` and `test`.

    Raises:
        UserError: an entry lacks something, or a picture is there twice.
    """
    files: dict[str, str] = {}
    captions: dict[str, list[str]] = {}
    splits: dict[str, list[str]] = {}
    numbers: dict[str, int] = {}
    for row, image in enumerate(entries(path, content, "images")):
        where = f"image {row}"
        name = field(path, image, "filename", str, where)
        one = image_id(name)
        if not one or one in files:
            raise UserError(f"{path}: {where} ({name!r}) is listed twice, or empty")
        folder = field(path, image, "filepath", str, where) if "filepath" in image else ""
        files[one] = f"{folder}/{name}" if folder else name
        split = field(path, image, "split", str, where)
        splits.setdefault("train" if split == "restval" else split, []).append(one)
        sentences = field(path, image, "sentences", list, where)
        if sentences:
            captions[one] = [field(path, s, "raw", str, f"a caption of {where}") for s in sentences]
        if "cocoid" in image:
            numbers[one] = field(path, image, "cocoid", int, where)
    whole = content.get("dataset")
    name = f"Karpathy's splits of {whole}" if isinstance(whole, str) else "Karpathy's splits"
    return Dataset(name, captions, files, splits, numbers)
