"""Archives and folders as sources of pictures: how many are open, what is damaged or no file."""

import gzip
import os
import resource
import shutil
import tarfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from captioning.cli import UserError
from captioning.images.reading import UnreadableImage
from captioning.images.sources import decode, open_sources
from tests.conftest import make_zip
from tests.pretext_tools import encoded, patterns, write_images


def write_archive(path: Path) -> None:
    content, kind = encoded(patterns(1)[0]), path.suffix
    if kind == ".zip":
        make_zip(path, {"a.png": content})
    elif kind == ".tar":
        (path.parent / "a.png").write_bytes(content)
        with tarfile.open(path, "w") as archive:
            archive.add(path.parent / "a.png", "a.png")
    else:
        with h5py.File(path, "w") as file:
            file["a"] = np.zeros((1, 8, 8, 3), np.uint8)


@pytest.mark.parametrize("kind", ["zip", "tar", "h5"])
def test_of_many_archives_few_are_open(kind, tmp_path):
    """A process may have 256 open files on macOS."""
    write_archive(tmp_path / f"one.{kind}")
    paths = [shutil.copy(tmp_path / f"one.{kind}", tmp_path / f"{n}.{kind}") for n in range(300)]
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        source = open_sources(paths)
        pixels = [found for _, found in decode(source.items, 8)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert source.count == len(pixels) == 300
    assert all(isinstance(found, np.ndarray) for found in pixels)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_that_is_damaged_inside_is_named(kind, tmp_path):
    path = tmp_path / f"a.{kind}"
    write_archive(path)
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") if kind == "zip" else 600] ^= 1
    path.write_bytes(content if kind == "zip" else content[:1000])
    with pytest.raises(UserError, match=rf"a\.{kind}: "):
        open_sources([path])


@pytest.mark.parametrize("kind", ["tar", "gztar"])
def test_a_tar_with_one_damaged_header_is_not_taken_for_a_shorter_one(kind, tmp_path):
    """As `tarfile` takes it, which ends there without an error."""
    write_images(tmp_path / "pictures", 5)
    path = Path(shutil.make_archive(str(tmp_path / "a"), "tar", tmp_path / "pictures"))
    content = bytearray(path.read_bytes())
    content[content.index(b"./002.png") + 148] ^= 1  # of its checksum
    if kind == "gztar":
        path.unlink()
        content = gzip.compress(bytes(content))
    path.write_bytes(content)

    with pytest.raises(UserError, match=r"a\.tar: a damaged archive"):
        open_sources([path])


def test_a_pipe_in_a_folder_is_no_picture_and_keeps_nobody_waiting(tmp_path):
    write_images(tmp_path, 2)
    os.mkfifo(tmp_path / "pipe.jpg")

    found = dict(decode(open_sources([tmp_path]).items, 8))

    [message] = [str(one) for one in found.values() if isinstance(one, UnreadableImage)]
    assert message.endswith("pipe.jpg: is no file")
