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


def test_each_picture_is_one_row_with_its_name(tmp_path):
    folder = write_images(tmp_path / "pictures", 20, size=16)
    size = ("--size", 16, "--splits", "0.6,0.25,0.15")

    said = succeed(run_script(SCRIPT, "--images", folder, "--output", "a.h5", *size, cwd=tmp_path))

    assert "12 train, 5 val, 3 test, 16 px; 0 unreadable" in said
    found = contents(tmp_path / "a.h5")
    seen = {}
    for split, count in zip(SPLITS, (12, 5, 3), strict=True):
        assert found[f"{split}_img"].shape == (count, 16, 16, 3)
        names = [name.decode() for name in found[f"{split}_names"]]
        seen |= dict(zip(names, found[f"{split}_img"], strict=True))
    originals = {f"{number:03d}.png": pixels for number, pixels in enumerate(patterns(20, 16))}
    assert seen.keys() == originals.keys()
    for name, pixels in originals.items():
        np.testing.assert_array_equal(seen[name], pixels)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["train_img"].chunks == (1, 16, 16, 3)


def test_what_is_excluded_is_not_in_the_file(tmp_path):
    folder = write_images(tmp_path / "pictures", 6)
    (tmp_path / "dev.txt").write_text("001.png\n004.png\n")
    given = ("--images", folder, "--exclude", "dev.txt", "--output", "a.hdf5")

    succeed(run_script(SCRIPT, *given, "--size", 16, "--splits", "1,0,0", cwd=tmp_path))

    names = contents(tmp_path / "a.hdf5")["train_names"]
    assert sorted(names) == [b"000.png", b"002.png", b"003.png", b"005.png"]


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


def test_the_crop_does_not_depend_on_the_locale():
    code = (
        "from collections import namedtuple; from PIL import Image;"
        "from jigsaw.image_sets import random_square;"
        "row = Image.linear_gradient('L').rotate(90).resize((512, 8));"
        "item = namedtuple('Item', 'member')('sommer/m\\u00e4dchen.jpg');"
        "print(random_square(3)(item)(row, 8).tobytes().hex())"
    )
    plain = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}

    said = [succeed(run_afresh("-c", code, cwd=ROOT, **more)) for more in ({}, plain)]

    assert said[0] == said[1]


def test_resizing_is_lanczos(tmp_path):
    write_images(tmp_path / "pictures", 1, size=40)
    found = converted(tmp_path / "pictures", tmp_path / "a.hdf5", splits=(1, 0, 0))["train_img"]
    expected = Image.fromarray(patterns(1, 40)[0]).resize((16, 16), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(found[0], np.asarray(expected))


def test_splits_have_their_shares_and_every_picture_once():
    split_of = assign_splits(1000, (0.85, 0.10, 0.05), seed=4)
    assert np.bincount(split_of).tolist() == [850, 100, 50]
    assert not np.array_equal(split_of, assign_splits(1000, (0.85, 0.10, 0.05), seed=5))


def test_broken_pictures_are_left_out_counted_and_named(tmp_path):
    members = {f"{n:02d}.png": encoded(p) for n, p in enumerate(patterns(10, 16))}
    archive = make_zip(tmp_path / "some.zip", members | {"03.png": b"broken", "07.png": b""})
    given = ("--images", archive, "--output", "a.hdf5", "--size", 16, "--splits", "0.5,0.3,0.2")

    result = run_script(SCRIPT, *given, cwd=tmp_path)

    assert "2 unreadable images skipped" in succeed(result)
    assert "03.png: is not a picture" in result.stderr
    assert "07.png: is empty" in result.stderr
    found = contents(tmp_path / "a.hdf5")
    names = np.concatenate([found[f"{split}_names"] for split in SPLITS])
    pixels = np.concatenate([found[f"{split}_img"] for split in SPLITS])
    assert sorted(names) == [n.encode() for n in sorted(members) if n not in ("03.png", "07.png")]
    for name, square in zip(names, pixels, strict=True):
        np.testing.assert_array_equal(square, patterns(10, 16)[int(name[:2])])


def test_mostly_broken_fails(tmp_path):
    members = {f"{n}.jpg": b"broken" for n in range(7)} | {"8.png": encoded(patterns(1)[0])}
    archive = make_zip(tmp_path / "some.zip", members)
    result = run_script(SCRIPT, "--images", archive, "--output", "all.hdf5", cwd=tmp_path)
    assert_refused(result, "7 of 8 pictures could not be read", "0.jpg")
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
    succeed(run_script(SCRIPT, *arguments, "--output", "all.hdf5", cwd=tmp_path))
    found = contents(tmp_path / "all.hdf5")
    assert sum(len(found[f"{split}_img"]) for split in SPLITS) == 1500
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
    ("splits", "message"),
    [
        ([np.zeros((3, 8, 8), "u1")], r"'train_img' is uint8 \(3, 8, 8\), not uint8 \(N, size"),
        ([np.zeros((3, 8, 8, 3))], "'train_img' is float64"),
        ([np.zeros((3, 8, 8, 3), "u1")], "has no 'val_img'; make it with jigsaw/to_hdf5.py"),
        ([np.zeros((3, n, n, 3), "u1") for n in (8, 9, 8)], r"'val_img' is uint8 \(3, 9, 9, 3\)"),
    ],
)
def test_reading_refuses_what_is_no_file_of_pictures(splits, message, tmp_path):
    path = write_splits(tmp_path / "a.hdf5", *splits)
    with pytest.raises(UserError, match=message), open_splits(path):
        pass


def test_reading_refuses_a_file_that_is_cut_short_and_one_that_points_elsewhere(tmp_path):
    path = write_splits(tmp_path / "a.hdf5", *[patterns(9, 8)] * 3)
    (tmp_path / "cut.hdf5").write_bytes(path.read_bytes()[:3000])
    with h5py.File(path, "r+") as file:
        file["more"] = h5py.ExternalLink("/etc/hostname", "/x")
    for name, message in (("cut", "cut short"), ("a", "refused.*link"), ("b", "does not exist")):
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
