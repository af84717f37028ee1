"""Karpathy's splits of COCO, Flickr8k and Flickr30k: `dataset_coco.json` and its like.

Karpathy and Fei-Fei, "Deep visual-semantic alignments for generating image descriptions"
(arXiv 1412.2306). One JSON file with pictures, captions and splits. What is left of COCO's
validation images is the split `restval`, which everybody trains on.
"""

from pathlib import Path
from typing import Any

from captioning.cli import UserError
from captioning.datasets.form import Dataset, entries, field
from captioning.images.names import distinct_ids

CONTENT = dict
USED = {"cocoid", "dataset", "filename", "filepath", "images", "raw", "sentences", "split"}
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
    listed: dict[str, dict[str, Any]] = {}
    for row, image in enumerate(entries(path, content, "images")):
        name = field(path, image, "filename", str, f"image {row}")
        folder = field(path, image, "filepath", str, f"image {row}") if "filepath" in image else ""
        file = f"{folder}/{name}" if folder else name
        if not name.strip() or file in listed:
            raise UserError(f"{path}: image {row} ({name!r}) is listed twice, or empty")
        listed[file] = image
    ids = distinct_ids(listed, path)
    captions: dict[str, list[str]] = {}
    splits: dict[str, list[str]] = {}
    numbers: dict[str, int] = {}
    for row, (file, image) in enumerate(listed.items()):
        where, image_id = f"image {row}", ids[file]
        split = field(path, image, "split", str, where)
        splits.setdefault("train" if split == "restval" else split, []).append(image_id)
        sentences = field(path, image, "sentences", list, where)
        if sentences:
            captions[image_id] = [
                field(path, s, "raw", str, f"a caption of {where}") for s in sentences
            ]
        if "cocoid" in image:
            numbers[image_id] = field(path, image, "cocoid", int, where)
    whole = content.get("dataset")
    name = f"Karpathy's splits of {whole}" if isinstance(whole, str) else "Karpathy's splits"
    files = {image_id: file for file, image_id in ids.items()}
    return Dataset(name, captions, files, splits, numbers)
