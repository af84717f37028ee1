"""Pictures to HDF5: what is in the file, broken pictures, a kill, and reading it again."""

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from captioning.cli import UserError
from captioning.images.sources import open_sources
from jigsaw.image_sets import SPLITS, assign_splits, convert, digest, open_splits
from tests.conftest import (
    ROOT,
    assert_refused,
    kill_when,
    make_zip,
    run_afresh,
    run_script,
    start,
    succeed,
)
from tests.pretext_tools import encoded, patterns, write_images

SCRIPT = "jigsaw/to_hdf5.py"


def contents(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {name: data[:] for name, data in file.items()}


def converted(source: Path, output: Path, **changes) -> dict[str, np.ndarray]:
    settings = {"size": 16, "splits": (0.6, 0.2, 0.2), "seed": 0} | changes
    convert(open_sources([source]), output, **settings)
    return contents(output)


# ---- writing ---------------------------------------------------------------------------------


def test_each_picture_that_is_wanted_and_whole_is_one_row_with_its_name(tmp_path):
    folder = write_images(tmp_path / "pictures", 22, size=16)
    (folder / "003.png").write_bytes(b"broken")
    (folder / "007.png").write_bytes(b"")
    (tmp_path / "dev.txt").write_text("020.png\n021.png\n")
    given = ("--images", folder, "--exclude", "dev.txt", "--output", "a.h5")
    size = ("--size", 16, "--splits", "0.6,0.25,0.15")

    result = run_script(SCRIPT, *given, *size, cwd=tmp_path)

    split_of = np.delete(assign_splits(20, (0.6, 0.25, 0.15), seed=0), [3, 7])
    counts = np.bincount(split_of).tolist()
    told = "a.h5: {} train, {} val, {} test, 16 px".format(*counts)
    assert told in succeed(result)
    assert "skipped 2 unreadable images" in result.stdout
    assert "003.png: is not a picture" in result.stdout
    assert "007.png: is empty" in result.stdout
    found, seen = contents(tmp_path / "a.h5"), {}
    for split, count in zip(SPLITS, counts, strict=True):
        assert found[f"{split}_img"].shape == (count, 16, 16, 3)
        seen |= dict(zip(found[f"{split}_names"], found[f"{split}_img"], strict=True))
    assert sorted(seen) == [b"%03d.png" % number for number in range(20) if number not in (3, 7)]
    for name, square in seen.items():
        np.testing.assert_array_equal(square, patterns(22, 16)[int(name[:3])])
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["train_img"].chunks == (1, 16, 16, 3)


def test_a_file_made_of_another_keeps_its_pictures_names(tmp_path):
    """Without them --exclude would leave nothing out of the second."""
    converted(write_images(tmp_path / "pictures", 10, size=16), tmp_path / "a.h5")
    again = converted(tmp_path / "a.h5", tmp_path / "b.h5", splits=(1, 0, 0))
    assert sorted(again["train_names"]) == [b"%03d.png" % number for number in range(10)]
    assert open_sources([tmp_path / "b.h5"], ["003", "007.png"]).count == 8


def test_names_that_are_no_utf_8_are_spelled_out(tmp_path):
    folder = write_images(tmp_path / "pictures", 3)
    os.rename(folder / "001.png", os.fsencode(folder) + b"/\xff.png")
    found = converted(folder, tmp_path / "all.hdf5")
    names = {name.decode() for split in SPLITS for name in found[f"{split}_names"]}
    assert names == {"000.png", "002.png", r"\udcff.png"}


@pytest.mark.parametrize("wide", [True, False])
def test_crop_is_a_square_along_the_longer_side_that_follows_from_seed_and_name(wide, tmp_path):
    # Each column (or row) has a colour of its own, so that a crop tells where it was taken.
    ramp = np.broadcast_to(np.arange(0, 240, 4, dtype=np.uint8)[None, :, None], (20, 60, 3))
    content = encoded(np.ascontiguousarray(ramp if wide else ramp.swapaxes(0, 1)))
    names = [f"{number}.png" for number in range(12)]
    one = make_zip(tmp_path / "one.zip", dict.fromkeys(names, content))
    other = make_zip(tmp_path / "other.zip", dict.fromkeys(reversed(names), content))

    def lefts(archive: Path, seed: int) -> dict[bytes, int]:
        found = converted(archive, tmp_path / "a.hdf5", size=20, seed=seed, splits=(1, 0, 0))
        pixels = found["train_img"] if wide else found["train_img"].swapaxes(1, 2)
        assert (np.diff(pixels[:, 0, :, 0].astype(int), axis=1) == 4).all()
        return dict(zip(found["train_names"], pixels[:, 0, 0, 0] // 4, strict=True))

    first = lefts(one, seed=0)
    assert first == lefts(other, seed=0)
    assert first != lefts(one, seed=1)
    assert len(set(first.values())) > 4
    assert max(first.values()) <= 40


def test_the_crop_does_not_depend_on_the_locale(capsys):
    code = (
        "from collections import namedtuple; from PIL import Image;"
        "from jigsaw.image_sets import random_square;"
        "row = Image.linear_gradient('L').rotate(90).resize((512, 8));"
        "item = namedtuple('Item', 'member')('sommer/m\\u00e4dchen.jpg');"
        "print(random_square(3, item, row, 8).tobytes().hex())"
    )
    plain = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}

    said = succeed(run_afresh("-c", code, cwd=ROOT, **plain))
    exec(code)

    assert capsys.readouterr().out == said


def test_resizing_is_lanczos(tmp_path):
    write_images(tmp_path / "pictures", 1, size=40)
    found = converted(tmp_path / "pictures", tmp_path / "a.hdf5", splits=(1, 0, 0))["train_img"]
    expected = Image.fromarray(patterns(1, 40)[0]).resize((16, 16), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(found[0], np.asarray(expected))


def test_splits_have_their_shares_and_every_picture_once():
    split_of = assign_splits(1000, (0.85, 0.10, 0.05), seed=4)
    assert np.bincount(split_of).tolist() == [850, 100, 50]
    assert not np.array_equal(split_of, assign_splits(1000, (0.85, 0.10, 0.05), seed=5))


def test_mostly_broken_fails(tmp_path):
    members = {f"{n}.jpg": b"broken" for n in range(7)} | {"8.png": encoded(patterns(1)[0])}
    archive = make_zip(tmp_path / "some.zip", members)
    with pytest.raises(UserError, match=r"7 of 8 pictures could not be read.* 0\.jpg"):
        converted(archive, tmp_path / "all.hdf5")
    assert not (tmp_path / "all.hdf5").exists()


@pytest.mark.slow
def test_a_killed_conversion_leaves_the_file_of_before_and_starts_over(tmp_path):
    content = encoded(patterns(1, 200)[0], "jpeg")
    members = {f"{number:04d}.jpg": content for number in range(1500)}
    arguments = ("--images", make_zip(tmp_path / "many.zip", members), "--size", 96)
    (tmp_path / "all.hdf5").write_bytes(b"of before")

    def drafts() -> list[Path]:
        return [*tmp_path.glob(".all*.unfinished.hdf5")]

    killed = start(SCRIPT, *arguments, "--output", "all.hdf5", cwd=tmp_path)
    kill_when(killed, lambda: any(draft.stat().st_size > 100 * 96 * 96 * 3 for draft in drafts()))

    assert (tmp_path / "all.hdf5").read_bytes() == b"of before"
    given = (*arguments, "--output", "all.hdf5", "--limit", 20)
    succeed(run_script(SCRIPT, *given, cwd=tmp_path))
    found = contents(tmp_path / "all.hdf5")
    assert sum(len(found[f"{split}_img"]) for split in SPLITS) == 20
    assert not drafts()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--splits", "0.5,0.4,0.2"), ("'0.5,0.4,0.2' is not three shares",)),
        (("--splits", "nan,0,1"), ("'nan,0,1' is not three shares",)),
        (("--output", "pictures.zip"), ("end the name in .hdf5",)),
        (("--output", "nowhere/all.hdf5"), ("nowhere/all.hdf5", "cannot write")),
    ],
)
def test_mistakes_end_in_one_line(arguments, parts, tmp_path):
    write_images(tmp_path / "pictures", 2)
    given = ("--images", "pictures", "--output", "all.hdf5")
    assert_refused(run_script(SCRIPT, *given, *arguments, cwd=tmp_path), *parts)


# ---- reading ---------------------------------------------------------------------------------


def write_splits(path: Path, *splits: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        for split, images in zip(SPLITS, splits, strict=False):
            file[f"{split}_img"] = images
    return path


def test_a_file_is_open_while_it_is_read_and_closed_after(tmp_path):
    images = patterns(9, 8)
    write_splits(tmp_path / "a.hdf5", images[:4], images[4:7], images[7:])

    with open_splits(tmp_path / "a.hdf5") as found:
        np.testing.assert_array_equal(found["val"][:], images[4:7])

    assert not found["val"]  # as h5py says of what is closed


@pytest.mark.parametrize(
    ("splits", "name"),
    [
        ([np.zeros((3, 8, 8), "u1")], "train_img"),
        ([np.zeros((3, 8, 8, 3))], "train_img"),
        ([np.zeros((3, 8, 8, 3), "u1")], "val_img"),
        ([np.zeros((3, n, n, 3), "u1") for n in (8, 9, 8)], "val_img"),
    ],
)
def test_reading_refuses_what_is_no_file_of_pictures(splits, name, tmp_path):
    path = write_splits(tmp_path / "a.hdf5", *splits)
    with pytest.raises(UserError, match=f"'{name}' is missing, or is not uint8"), open_splits(path):
        pass


def test_reading_refuses_a_file_that_is_cut_short_and_one_that_points_elsewhere(tmp_path):
    path = write_splits(tmp_path / "a.hdf5", *[patterns(9, 8)] * 3)
    (tmp_path / "cut.hdf5").write_bytes(path.read_bytes()[:3000])
    with h5py.File(path, "r+") as file:
        file["more"] = h5py.ExternalLink("/etc/hostname", "/x")
    for name, message in (("cut", "truncated"), ("a", "refused.*link"), ("b", "does not exist")):
        with pytest.raises(UserError, match=message), open_splits(tmp_path / f"{name}.hdf5"):
            pass


def test_the_digest_tells_other_pictures_and_other_splits():
    images = np.random.default_rng(0).integers(0, 256, (300, 4, 4, 3)).astype(np.uint8)

    def digest_of(*splits: np.ndarray) -> str:
        return digest(dict(zip(SPLITS, splits, strict=True)))

    first = digest_of(images[:200], images[200:250], images[250:])

    assert digest_of(images[:200], images[200:250], images[250:]) == first
    assert digest_of(images[:200], images[250:], images[200:250]) != first
    assert digest_of(images[100:], images[:50], images[50:100]) != first
    assert digest_of(images[:0], images[:0], images[:0]) != first
