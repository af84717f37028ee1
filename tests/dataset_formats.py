"""One collection of captions, written as every data set writes its own."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

Captions = Mapping[str, Sequence[str]]  # raw captions by file name


def _rows(captions: Captions) -> Iterator[tuple[str, int, str]]:
    return ((name, n, text) for name, texts in captions.items() for n, text in enumerate(texts))


def _mixed(captions: Captions) -> list[tuple[str, int, str]]:
    return sorted(_rows(captions), key=lambda row: row[1])


def write_flickr8k_token(path: Path, captions: Captions) -> None:
    lines = (f"{name}#{n}\t{text}\n" for name, n, text in _rows(captions))
    path.write_text("".join(lines), encoding="utf-8")


def write_kaggle_csv(path: Path, captions: Captions) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "caption"])
        rows.writerows((name, text) for name, _, text in _rows(captions))


def write_flickr30k_csv(path: Path, captions: Captions) -> None:
    lines = (f"{name}| {n}| {text}\n" for name, n, text in _rows(captions))
    path.write_text("image_name| comment_number| comment\n" + "".join(lines), encoding="utf-8")


def write_coco(path: Path, captions: Captions, ids: Mapping[str, int]) -> None:
    """`captions_*.json`, the captions of all pictures mixed as in COCO's own."""
    images = [
        {"license": 3, "file_name": name, "coco_url": "http://example.com", "id": ids[name]}
        for name in captions
    ]
    annotations = [
        {"image_id": ids[name], "id": number, "caption": text}
        for number, (name, _, text) in enumerate(_mixed(captions))
    ]
    whole = {"info": {"year": 2014}, "licenses": [], "images": images, "annotations": annotations}
    path.write_text(json.dumps(whole), encoding="utf-8")


def write_coco_results(path: Path, captions: Captions) -> None:
    """A list of pictures' names and captions, the pictures mixed."""
    entries = [
        {"image_id": name, "caption": text, "score": 1} for name, _, text in _mixed(captions)
    ]
    path.write_text(json.dumps(entries), encoding="utf-8")


def write_karpathy(
    path: Path,
    captions: Captions,
    splits: Mapping[str, str],
    *,
    dataset: str = "flickr8k",
    ids: Mapping[str, int] | None = None,
    folders: Mapping[str, str] | None = None,
) -> None:
    """`dataset_*.json`; with `ids` and `folders`, as `dataset_coco.json` has them."""
    images = []
    for number, (name, texts) in enumerate(captions.items()):
        sentences = [
            {"tokens": text.split(), "raw": text, "imgid": number, "sentid": n}
            for n, text in enumerate(texts)
        ]
        image = {"filename": name, "imgid": number, "sentences": sentences, "split": splits[name]}
        images.append(image | ({"cocoid": ids[name], "filepath": folders[name]} if ids else {}))
    path.write_text(json.dumps({"images": images, "dataset": dataset}), encoding="utf-8")
