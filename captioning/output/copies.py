"""Copies of pictures with their captions inside; the originals are only read."""

import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from captioning.cli import UserError, printable
from captioning.files import atomic_path, check_writable
from captioning.output.captions import Captioned
from captioning.output.metadata import with_caption


def plan(folder: Path, given: Sequence[str | Path], pictures: Sequence[Path]) -> dict[Path, Path]:
    """Where the copy of each picture goes: into `folder`, in sub-folders as in the folder given.

    The folder is made if need be. Nothing is overwritten.

    Raises:
        UserError: no files can be made there, a name exists, or two pictures would have the same.
    """
    planned: dict[Path, Path] = {}
    for picture in dict.fromkeys(pictures):
        inside = Path(picture.name)
        for root in map(Path, given):
            if root.is_dir() and picture.is_relative_to(root):
                part = picture.relative_to(root)
                inside = inside if ".." in part.parts else part
                break
        planned[picture] = folder / inside
    sources: dict[Path, Path] = {}
    for picture, copy in planned.items():
        _refuse_existing(copy)
        if sources.setdefault(copy, picture) != picture:
            raise UserError(f"{sources[copy]} and {picture}: both copies would be {copy}")
    folder.mkdir(parents=True, exist_ok=True)
    check_writable(folder / "copy")
    return planned


def write(results: Sequence[Captioned], planned: Mapping[Path, Path]) -> list[str]:
    """Write the copies; return why there is none of the others.

    Raises:
        OSError: a copy cannot be written, such as on a full disk; those before it are whole.
    """
    failed, captions = [], {captioned.path: captioned.caption for captioned in results}
    for picture, caption in captions.items():
        try:
            content = with_caption(picture.read_bytes(), caption)
        except (ValueError, IndexError, OverflowError, zlib.error) as error:
            failed.append(f"{picture}: {error}")
            continue
        copy = planned[picture]
        copy.parent.mkdir(parents=True, exist_ok=True)
        _refuse_existing(copy)
        with atomic_path(copy) as temporary:
            temporary.write_bytes(content)
    print(f"wrote {len(captions) - len(failed)} copies with captions inside")
    return failed


def _refuse_existing(copy: Path) -> None:
    if os.path.lexists(copy):
        raise UserError(
            f"{printable(copy)}: exists, and --embed overwrites nothing; give another folder"
        )
