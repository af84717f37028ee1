"""The hand-off file of cleaned captions: `descriptions.txt`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from captioning.cli import UserError
from captioning.datasets.captions import read_text
from captioning.files import read_record, sha256, write_json, write_text
from captioning.text import END, START, TEXT_RULES


def write_descriptions(
    path: str | Path, descriptions: Mapping[str, Sequence[str]], text_rules: str
) -> None:
    """Write a line per caption, `image_id word ...`, and the rules that cleaned them beside it."""
    lines = (f"{image_id} {text}\n" for image_id, texts in descriptions.items() for text in texts)
    write_text(path, "".join(lines))
    write_json(f"{path}.json", {"sha256": sha256(path), "text_rules": text_rules})


def read_descriptions(path: str | Path) -> tuple[dict[str, list[str]], str]:
    """Cleaned captions by `image_id`, and the text rules that made them.

    A file without a record of its rules, or changed since, is taken for the original pipeline's
    (`original`). Start and end words in the file are taken off.

    Raises:
        UserError: no such file, not UTF-8, or no caption in it.
    """
    text = read_text(path, "descriptions file", "make it with 1_data_preprocessor.py")
    descriptions: dict[str, list[str]] = {}
    for line in text.split("\n"):
        image_id, *words = line.split() or [""]  # some write a tab after the id
        words = [word for word in words if word not in (START, END)]
        if words:
            descriptions.setdefault(image_id, []).append(" ".join(words))
    if not descriptions:
        raise UserError(f"{path}: holds no line of the form 'image_id word word ...'")
    record = read_record(f"{path}.json")
    rules = record.get("text_rules") if record.get("sha256") == sha256(path) else None
    return descriptions, rules if rules in TEXT_RULES else "original"
