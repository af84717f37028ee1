"""Captions made elsewhere: the COCO results format, `[{"image_id": ..., "caption": ...}]`."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from captioning.cli import UserError, first_ten
from captioning.datasets import read_text
from captioning.datasets.records import captions_of, image_of, parse_json
from captioning.images.names import find_ids, path_id, resolve_id


def read_predictions(
    path: str | Path, known: Collection[str], numbers: Mapping[str, int]
) -> dict[str, str]:
    """One caption by `image_id`, in the order of the file.

    In the file an image may be called by its name, with or without suffix, or by COCO's number; a
    file that is named as well (`file`, as by `5_test.py`, or `image`) goes before that.

    Args:
        path: a COCO results file.
        known: the `image_id`s that have references.
        numbers: the data set's own numbers of them, where it has any.

    Raises:
        UserError: not such a file, an image twice, one without references, or a number that may
            as well be another image's name.
    """
    entries = parse_json(path, read_text(path, "predictions file"))
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{path}: is not a list of {{'image_id': ..., 'caption': ...}}")
    read = [_read(entry, f"{path}: entry {row}") for row, entry in enumerate(entries, start=1)]

    numbered = {number: image_id for image_id, number in numbers.items()}
    names = []
    for name, _ in read:
        image_id = numbered.get(name)
        if image_id and image_id != str(name) and str(name) in known:
            raise UserError(
                f"{path}: image {name} may be the picture of that name or the one of that number, "
                "which is another in --captions: names and numbers are at odds; give each entry "
                "the picture's file as 'file'"
            )
        spelled = path_id(str(name))
        names.append(image_id or resolve_id(spelled, known) or spelled)
    # Of several data sets ids begin with a folder, which the entries need not name.
    id_of = find_ids(dict.fromkeys(names), known, path)
    captions: dict[str, str] = {}
    for row, (name, (_, caption)) in enumerate(zip(names, read, strict=True), start=1):
        image_id = id_of.get(name, name)
        if image_id in captions:
            raise UserError(f"{path}: image {name} has two captions; the second is entry {row}")
        captions[image_id] = caption
    if unknown := [image_id for image_id in captions if image_id not in known]:
        raise UserError(
            f"{path}: {len(unknown)} of {len(captions)} images have no references: "
            f"{first_ten(unknown)}; "
            "give the --captions of the data set that the predictions are for"
        )
    return captions


def _read(entry: Any, where: str) -> tuple[int | str, str]:
    """What an entry calls its picture, by its number only if it names no file, and its caption."""
    entry = entry if isinstance(entry, dict) else {}
    name, texts = image_of(entry) or entry.get("image_id"), captions_of(entry, where)
    if type(name) not in (int, str) or len(texts) != 1:
        raise UserError(f"{where} is not {{'image_id': ..., 'caption': 'text'}}")
    return name, texts[0]


def choose(ids: Sequence[str], captions: Mapping[str, str], path: str | Path) -> dict[str, str]:
    """The captions of these images.

    Raises:
        UserError: some have none, so that the figures would be of other images than they say.
    """
    missing = [image_id for image_id in ids if image_id not in captions]
    if missing:
        raise UserError(
            f"{path}: has no caption for {len(missing)} of the {len(ids)} images to score, such as "
            f"{missing[0]}; give the --split that the predictions are for"
        )
    return {image_id: captions[image_id] for image_id in ids}
