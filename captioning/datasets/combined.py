"""Several data sets as one: each has a folder of pictures, whose name its ids begin with."""

import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from captioning.cli import UserError
from captioning.datasets.captions import Captions
from captioning.datasets.reading import find_images, join, read_datasets
from captioning.images.names import path_id, shortest_ends


def read_images_and_captions(
    folders: Sequence[str | Path], captions: Sequence[str | Path], dataset: str = "auto"
) -> tuple[Captions, dict[str, Path], list[list[str]], list[str]]:
    """Captions files and their pictures: all in one folder, or each in the folder in its place.

    Files with the same folder are one data set, such as COCO's for training and for validation. Of
    several data sets every `image_id` begins with the name of its folder.

    Returns:
        Captions and pictures by `image_id`, either without the other, too; the ids that have both,
        a list for each data set; and the pictures that were left out, as by `find_images`.

    Raises:
        UserError: as `read_datasets` and `find_images`; the numbers of folders and files differ;
            a folder holds none of the pictures.
    """
    if len(folders) not in (1, len(captions)):
        raise UserError(
            f"--images: {len(folders)} folders for {len(captions)} captions files; give one for "
            "all, or one for each, in the same order"
        )
    files: dict[Path, list[str | Path]] = {}
    for number, path in enumerate(captions):
        files.setdefault(Path(folders[number % len(folders)]), []).append(path)

    parts: list[tuple[str, Captions]] = []
    images: dict[str, Path] = {}
    ids: list[list[str]] = []
    left_out: list[str] = []
    for folder, prefix in _prefixes(files).items():
        part = read_datasets(files[folder], dataset)
        paths, others = find_images(folder, part.files)
        if paths.keys().isdisjoint(part.captions):
            hint = "; are --images and --captions in the same order?" if len(files) > 1 else ""
            raise UserError(f"{folder}: holds none of the pictures that {part.name} names{hint}")
        parts.append((prefix, part))
        images |= {prefix + image_id: path for image_id, path in paths.items()}
        ids.append([prefix + image_id for image_id in part.captions if image_id in paths])
        left_out += others
    return join(parts), images, ids, left_out


def find_all_images(folders: Sequence[str | Path], ids: Collection[str]) -> dict[str, Path]:
    """The pictures of ids that `read_images_and_captions` gave to those in these folders.

    Raises:
        UserError: as `find_images` without `namesakes`; none of the pictures is there.
    """
    images: dict[str, Path] = {}
    for folder, prefix in _prefixes(map(Path, folders)).items():
        names = [image_id.removeprefix(prefix) for image_id in ids if image_id.startswith(prefix)]
        # Which one of two the captions file had named is not known here.
        paths, _ = find_images(folder, {name: name for name in names}, namesakes=False)
        images |= {prefix + name: paths[name] for name in names if name in paths}
    if not images:
        raise UserError(
            f"{', '.join(map(str, folders))}: none of the captioned pictures; give --images the "
            "folders that 1_data_preprocessor.py was given"
        )
    return images


def _prefixes(folders: Iterable[Path]) -> dict[Path, str]:
    """What ids begin with: of several folders, as much of their paths as tells them apart."""
    paths = {
        folder: path_id(f"{os.path.abspath(folder)}/_").removesuffix("/_") for folder in folders
    }
    end_of = shortest_ends(paths.values())
    return {folder: f"{end_of[path]}/" if len(paths) > 1 else "" for folder, path in paths.items()}
