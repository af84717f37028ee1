"""One collection of captions, written as every data set writes its own."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

COCO_ID = 391_895  # of the first picture; the others follow

Captions = Mapping[str, Sequence[str]]  # raw captions by file name


def write_flickr8k_token(path: Path, captions: Captions) -> None:
    lines = (f"{name}#{n}\t{text}\n" for name, texts in captions.items()
             for n, text in enumerate(texts))  # fmt: skip
    path.write_text("".join(lines), encoding="utf-8")


def write_kaggle_csv(path: Path, captions: Captions) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "caption"])
        rows.writerows((name, text) for name, texts in captions.items() for text in texts)


def write_flickr30k_csv(path: Path, captions: Captions) -> None:
    lines = [f"{name}| {n}| {text}\n" for name, texts in captions.items()
             for n, text in enumerate(texts)]  # fmt: skip
    path.write_text("image_name| comment_number| comment\n" + "".join(lines), encoding="utf-8")


def write_coco(path: Path, captions: Captions, ids: Mapping[str, int]) -> None:
    """`captions_*.json`, the captions of all pictures mixed as in COCO's own."""
    images = [
        {"license": 3, "file_name": name, "coco_url": "http://example.com", "id": ids[name]}
        for name in captions
    ]
    most = max(map(len, captions.values()))
    pairs = [(name, n) for n in range(most) for name in captions if n < len(captions[name])]
    annotations = [
        {"image_id": ids[name], "id": number, "caption": captions[name][n]}
        for number, (name, n) in enumerate(pairs)
    ]
    whole = {"info": {"year": 2014}, "licenses": [], "images": images, "annotations": annotations}
    path.write_text(json.dumps(whole), encoding="utf-8")


def write_coco_results(path: Path, captions: Captions) -> None:
    """A list of pictures' names and captions, the pictures mixed."""
    most = max(map(len, captions.values()))
    entries = [{"image_id": name, "caption": texts[n], "score": 1} for n in range(most)
               for name, texts in captions.items() if n < len(texts)]  # fmt: skip
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
        sentences = [{"tokens": t.split(), "raw": t, "imgid": number, "sentid": n}
                     for n, t in enumerate(texts)]  # fmt: skip
        image = {"sentids": [], "imgid": number, "sentences": sentences, "split": splits[name],
                 "filename": name}  # fmt: skip
        if ids:
            image["cocoid"] = ids[name]
        if folders:
            image["filepath"] = folders[name]
        images.append(image)
    path.write_text(json.dumps({"images": images, "dataset": dataset}), encoding="utf-8")
