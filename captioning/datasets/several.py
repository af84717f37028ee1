"""Several data sets as one: each has a folder of pictures, and a name that two have is told apart.

Where pictures of two data sets have one `image_id`, each gets the name of its folder in front, as
far as that is needed: `everyday/images/1` and `flickr/images/1`. If it is one picture, byte for
byte, it stays one, with the captions of both.
"""

import filecmp
import os
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from captioning.cli import UserError
from captioning.datasets.coco import distinct_numbers
from captioning.datasets.form import Dataset
from captioning.datasets.reading import find_pictures, read_datasets
from captioning.images.names import ends, path_id


class Pictured(NamedTuple):
    """Data sets as one, with their pictures.

    Attributes:
        dataset: captions by `image_id`, also of pictures that are missing.
        pictures: by `image_id`, also those without a caption.
        ids: of each data set those that have both; of a picture of several, in the first.
        left_out: pictures that have the same name as another in their folder.
    """

    dataset: Dataset
    pictures: dict[str, Path]
    ids: list[list[str]]
    left_out: list[str]


def read_with_pictures(
    folders: Sequence[str | Path], captions: Sequence[str | Path], dataset: str = "auto"
) -> Pictured:
    """Captions files and their pictures: all in one folder, or each in the folder in its place.

    Files with the same folder are one data set, such as COCO's for training and for validation.

    Raises:
        UserError: as `read_datasets` and `find_pictures`; neither one folder nor one for each
            file, no such folder, or one that holds none of the pictures.
    """
    if len(folders) not in (1, len(captions)):
        raise UserError(
            f"--images: {len(folders)} folders for {len(captions)} captions files; give one for "
            "all, or one for each, in the same order (twice the same, if its captions are in two "
            "files)"
        )
    files: dict[Path, list[str | Path]] = {}
    for number, path in enumerate(captions):
        files.setdefault(Path(folders[number % len(folders)]), []).append(path)
    parts, found, left_out = [], [], []
    for folder, paths in files.items():
        part = read_datasets(paths, dataset)
        if not folder.is_dir():
            raise UserError(f"{folder}: not a folder of pictures; see data/README.md")
        pictures, others = find_pictures(folder, part.files)
        if pictures.keys().isdisjoint(part.captions):
            hint = "; are --images and --captions in the same order?" if len(files) > 1 else ""
            raise UserError(f"{folder}: holds none of the pictures that {part.name} names{hint}")
        parts.append(part)
        found.append(pictures)
        left_out += others
    if len(parts) > 1:
        return _joined(list(files), parts, found, left_out)
    ids = [image_id for image_id in parts[0].captions if image_id in found[0]]
    return Pictured(parts[0], found[0], [ids], left_out)


def find_all_pictures(folders: Sequence[str | Path], ids: Collection[str]) -> dict[str, Path]:
    """The pictures of ids that `read_with_pictures` gave to those in these folders.

    Raises:
        UserError: as `find_pictures`; no such folder, or two may be the same picture.
    """
    for folder in folders:
        if not Path(folder).is_dir():
            raise UserError(f"{folder}: not a folder of pictures; give theirs as --images")
    folders = list(dict.fromkeys(map(Path, folders)))
    found: dict[str, Path] = {}
    for folder, label in zip(folders, _labels(folders), strict=True):
        own = {image_id: image_id for image_id in ids}
        if len(folders) > 1:
            own |= {image_id.removeprefix(f"{label}/"): image_id for image_id in ids}
        pictures, _ = find_pictures(folder, {name: name for name in own})
        for name in own.keys() & pictures.keys():
            image_id, path = own[name], pictures[name]
            if not _one_picture([found.setdefault(image_id, path), path]):
                raise UserError(
                    f"{found[image_id]} and {path}: both may be the picture '{image_id}' of the "
                    "captions; give the folders that 1_data_preprocessor.py was given"
                )
    return found


def _labels(folders: Sequence[Path]) -> list[str]:
    """What each folder is called: its name, with as much of those above as tells it from others."""
    paths = [path_id(f"{os.path.abspath(folder)}/_").removesuffix("/_") for folder in folders]
    count = Counter(end for path in paths for end in ends(path))
    return [next((e for e in [*ends(path)][::-1] if count[e] == 1), path) for path in paths]


def _one_picture(paths: Sequence[Path | None]) -> bool:
    """Whether all these are the same picture, byte for byte."""
    first, *others = paths
    try:
        return all(
            None not in (first, other)
            and (first == other or filecmp.cmp(first, other, shallow=False))
            for other in others
        )
    except OSError:  # such as a link that leads nowhere
        return False


def _joined(
    folders: Sequence[Path],
    parts: Sequence[Dataset],
    found: Sequence[dict[str, Path]],
    left_out: list[str],
) -> Pictured:
    """Data sets and their pictures as one, names that stand for different pictures told apart."""
    owners: dict[str, list[int]] = {}
    for number, (part, own) in enumerate(zip(parts, found, strict=True)):
        for image_id in {**part.files, **own}:
            owners.setdefault(image_id, []).append(number)
    captioned = {image_id for part in parts for image_id in part.captions}
    # A picture without a caption counts: whoever looks for the other one would find both.
    shared = [i for i, numbers in owners.items() if len(numbers) > 1 and i in captioned]
    apart = [i for i in shared if not _one_picture([found[n].get(i) for n in owners[i]])]
    labels = _labels(folders)
    given = [f"{labels[number]}/{i}" for i in apart for number in owners[i]]
    if len({*given}) < len(given) or not owners.keys().isdisjoint(given):
        raise UserError(
            f"{' and '.join(map(str, folders))}: have pictures of the same name, and the folders' "
            "names do not tell them apart; give one of the folders another name"
        )
    if apart:
        now = " and ".join(map(repr, given[: len(owners[apart[0]])]))
        print(f"{len(apart)} names stand for different pictures in two data sets: now {now}, ...")
    if len(shared) > len(apart):
        print(f"{len(shared) - len(apart)} pictures are in two data sets, and count once")

    whole = Dataset(", ".join(part.name for part in parts), {}, {}, {}, {})
    pictures: dict[str, Path] = {}
    ids: list[list[str]] = []
    told_apart = {*apart}
    for label, part, own in zip(labels, parts, found, strict=True):
        new = {i: f"{label}/{i}" if i in told_apart else i for i in {**part.files, **own}}
        ids.append([new[i] for i in part.captions if i in own and new[i] not in whole.captions])
        for image_id, texts in part.captions.items():
            known = whole.captions.get(new[image_id], [])
            more = [text for text in texts if text not in known]
            whole.captions[new[image_id]] = [*known, *more]
        for image_id, file in part.files.items():
            whole.files.setdefault(new[image_id], file)
        for image_id, path in own.items():
            pictures.setdefault(new[image_id], path)
        whole.numbers.update((new[image_id], number) for image_id, number in part.numbers.items())
        for split, chosen in part.splits.items():
            whole.splits.setdefault(split, []).extend(new[image_id] for image_id in chosen)
    names: dict[Path, str] = {}
    for image_id, path in pictures.items():
        if names.setdefault(path, image_id) != image_id:
            raise UserError(
                f"{path}: is the picture '{names[path]}' of one data set and '{image_id}' of "
                "another; give no folder that lies in another one"
            )
    numbers = distinct_numbers(whole.numbers, whole.files)
    return Pictured(whole._replace(numbers=numbers), pictures, ids, left_out)
