"""Records that name a picture and hold its captions: rows of a csv, entries of JSON.

A record may name its picture by several keys. The file name counts; a number alone does in COCO's
results format only, which calls it `image_id`.
"""

import ast
import contextlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from captioning.cli import UserError
from captioning.datasets.captions import Captions, collect

FILE_KEYS = (
    "image images image_name filename file_name file img image_path path filepath image_file"
).split()
CAPTION_KEYS = "caption captions text sentence sentences description comment comments".split()
# What readers use of the objects in JSON files; a reader of other files adds its keys. The rest
# (addresses, licences, outlines of objects) never lies in memory as a whole.
JSON_KEYS = {"annotations", "cocoid", "dataset", "id", "image_id", "raw", "split"}
JSON_KEYS |= {*FILE_KEYS, *CAPTION_KEYS}
# An object in the first line alone, or in the second, the first not being open for it.
_JSON_LINES = re.compile(r"\s*\{[^\n]*(?:\}\s*\n|[^,:[{\s]\s*\n\s*\{)")
_STRING = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_LIST = re.compile(rf"[\[(]\s*(?:{_STRING}[\s,]*)*[\])]", re.DOTALL)


def parse_json(path: str | Path, text: str) -> Any:
    """What a JSON file holds, or a list of what its lines do, of objects only the `JSON_KEYS`.

    Raises:
        UserError: it is damaged; of a file of lines the message names the line.
    """
    try:
        return json.loads(text, object_hook=_used)
    except (ValueError, RecursionError) as error:
        if not _JSON_LINES.match(text):
            raise UserError(f"{path}: is damaged JSON ({error})") from error
    records = []
    for number, line in enumerate(text.split("\n"), start=1):
        try:
            records += [json.loads(line, object_hook=_used)] if line.strip() else []
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}: line {number} is damaged JSON ({error})") from error
    return records


def _used(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: _whole(value) for key, value in entry.items() if key in JSON_KEYS}


def _whole(value: Any) -> Any:
    """Text without halves of characters, which JSON can spell and no text file can hold."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def image_of(record: Mapping[str, Any], other_keys: Sequence[str] = ()) -> str:
    """What a record calls its picture: a file, with its folder if any key tells it; '' if nothing.

    Where there is no file, the first of the `other_keys` counts.
    """
    files = [record[key] for key in FILE_KEYS if isinstance(record.get(key), str)]
    if files := [file.strip() for file in files if file.strip()]:
        return max((file for file in files if file.endswith(files[0])), key=len)
    others = (record.get(key) for key in other_keys)
    return next((str(other).strip() for other in others if type(other) in (int, str)), "")


def captions_of(record: Mapping[str, Any], where: str) -> list[str]:
    """The caption, or the list of captions, under the first key for captions that a record has.

    Raises:
        UserError: one is no text, or looks like a list and is none; it is told `where`.
    """
    value = next((record[key] for key in CAPTION_KEYS if record.get(key) is not None), [])
    texts = value if isinstance(value, list) else [value]
    if not all(isinstance(text, str) for text in texts):
        raise UserError(f"{where} has captions that are not text")
    return [_whole(caption).strip() for text in texts for caption in _listed(text, where)]


def _listed(text: str, where: str) -> list[str]:
    """The captions in a text: one, or those of a list that pandas, numpy or JSON spelled out."""
    if not text.startswith(("[", "(")):
        return [text]
    with contextlib.suppress(ValueError, RecursionError):
        captions = json.loads(text)
        if isinstance(captions, list) and all(isinstance(caption, str) for caption in captions):
            return captions
    if _LIST.fullmatch(text.strip()):  # numpy writes no commas, and two strings would be one
        with contextlib.suppress(ValueError, SyntaxError):
            return [ast.literal_eval(string) for string in re.findall(_STRING, text, re.DOTALL)]
    if re.match(r"\[\s*['\"]", text):
        raise UserError(f"{where} has a caption that looks like a list and is none: {text:.60}")
    return [text]


def of_records(
    path: Path, name: str, records: Iterable[tuple[str, dict[str, Any]]], other_keys: Sequence[str]
) -> Captions:
    """`Captions` from records, with their splits, if there is a key `split`.

    Raises:
        UserError: as `captions_of` and `collect`; one names no picture.
    """
    by_file: dict[str, list[str]] = {}
    split_of: dict[str, str] = {}
    for where, record in records:
        file = image_of(record, other_keys)
        if not file:
            raise UserError(f"{where} names no picture")
        by_file.setdefault(file, []).extend(captions_of(record, where))
        if isinstance(record.get("split"), str):
            split_of[file] = record["split"].strip()
    return collect(path, name, by_file, split_of)
