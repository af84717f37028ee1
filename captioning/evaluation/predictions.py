"""Captions made elsewhere: the COCO results format, `[{"image_id": ..., "caption": ...}]`."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from captioning.cli import UserError
from captioning.datasets import read_text
from captioning.datasets.records import captions_of, image_of, parse_json
from captioning.files import existing_file
from captioning.images.names import find_ids, image_id, path_id, resolve_id


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
    path = existing_file(path, "predictions file")
    entries = parse_json(path, read_text(path, "predictions file"))
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{path}: is not a list of {{'image_id': ..., 'caption': ...}}")
    read = [_read(entry, f"{path}: entry {row}") for row, entry in enumerate(entries, start=1)]

    numbered = {number: name for name, number in numbers.items()}
    # Numbers that are one picture's by the data set and another one's by its name.
    ambiguous = {n for n, name in numbered.items() if str(n) in known and name != str(n)}
    # Of several data sets ids begin with a folder, which the entries need not name.
    paths = {path_id(str(given)) for given, is_file, _ in read if is_file or given not in numbered}
    longer = find_ids((one for one in paths if resolve_id(one, known) is None), known, path)
    captions: dict[str, str] = {}
    unknown = []
    for number, (given, is_file, caption) in enumerate(read, start=1):
        if given in ambiguous and not is_file:
            raise UserError(
                f"{path}: image {given} may be the picture of that name or the one of that number, "
                "which is another in --captions: names and numbers are at odds; give each entry "
                "the picture's file as 'file'"
            )
        path_ = path_id(str(given))
        name = None if is_file else numbered.get(given)
        name = name or resolve_id(path_, known) or longer.get(path_) or image_id(str(given))
        if name in captions:
            raise UserError(f"{path}: image {given} has two captions; the second is entry {number}")
        if name not in known:
            unknown.append(name)
        captions[name] = caption
    if unknown:
        named = ", ".join(unknown[:3]) + (" ..." if len(unknown) > 3 else "")
        raise UserError(
            f"{path}: {len(unknown)} of {len(captions)} images have no references: {named}; "
            "give the --captions of the data set that the predictions are for"
        )
    return captions


def _read(entry: Any, where: str) -> tuple[int | str, bool, str]:
    """What an entry calls its picture, whether that is a file, and its caption."""
    entry = entry if isinstance(entry, dict) else {}
    file, texts = image_of(entry), captions_of(entry, where)
    given = file or entry.get("image_id")
    if type(given) not in (int, str) or len(texts) != 1:
        raise UserError(f"{where} is not {{'image_id': ..., 'caption': 'text'}}")
    return given, bool(file), texts[0]


def choose(ids: Sequence[str], captions: Mapping[str, str], path: str | Path) -> dict[str, str]:
    """The captions of these images.

    Raises:
        UserError: some have none, so that the figures would be of other images than they say.
    """
    missing = [name for name in ids if name not in captions]
    if missing:
        raise UserError(
            f"{path}: has no caption for {len(missing)} of the {len(ids)} images to score, such as "
            f"{missing[0]}; give the --split that the predictions are for"
        )
    return {name: captions[name] for name in ids}
