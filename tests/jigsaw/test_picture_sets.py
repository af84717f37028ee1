"""Pictures to HDF5: what is in the file, broken pictures, kills, and reading it again."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from captioning.cli import UserError
from captioning.images.sources import open_sources
from contrastive.data import load_pictures
from jigsaw.picture_sets import assign_splits, convert
from tests.conftest import ROOT, assert_refused, run_afresh, run_script
from tests.pretext_tools import encoded, patterns, write_pictures

SCRIPT = "jigsaw/to_hdf5.py"
SPLITS = ("train", "val", "test")


def make_zip(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def contents(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {name: data[:] for name, data in file.items()}


def converted(source: Path, output: Path, **changes) -> dict[str, np.ndarray]:
    settings = {"size": 16, "splits": (0.6, 0.2, 0.2), "seed": 0} | changes
    convert(open_sources([source]), output, **settings)
    return contents(output)


def assert_equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, data in one.items():
        np.testing.assert_array_equal(data, other[name])


def test_each_picture_is_one_row_with_its_name(tmp_path):
    folder = write_pictures(tmp_path / "pictures", 20, size=16)
    result = run_script(SCRIPT, "--images", folder, "--output", "all.hdf5", "--size", 16,
                        "--splits", "0.6,0.25,0.15", cwd=tmp_path)  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "12 train, 5 val, 3 test, 16 px; 0 unreadable" in result.stdout
    found = contents(tmp_path / "all.hdf5")
    seen = {}
    for split, count in zip(SPLITS, (12, 5, 3), strict=True):
        assert found[f"{split}_img"].shape == (count, 16, 16, 3)
        names = [name.decode() for name in found[f"{split}_names"]]
        seen |= dict(zip(names, found[f"{split}_img"], strict=True))
    originals = {f"{number:03d}.png": pixels for number, pixels in enumerate(patterns(20, 16))}
    assert seen.keys() == originals.keys()
    for name, pixels in originals.items():
        np.testing.assert_array_equal(seen[name], pixels)
    with h5py.File(tmp_path / "all.hdf5") as file:
        assert file["train_img"].chunks == (1, 16, 16, 3)
    assert not list(tmp_path.glob("*.parts"))


def test_what_is_excluded_is_not_in_the_file(tmp_path):
    folder = write_pictures(tmp_path / "pictures", 6)
    (tmp_path / "dev.txt").write_text("001.png\n004.png\n")

    result = run_script(SCRIPT, "--images", folder, "--exclude", "dev.txt", "--output", "all.hdf5",
                        "--size", 16, "--splits", "1,0,0", cwd=tmp_path)  # fmt: skip

    assert result.returncode == 0, result.stderr
    names = contents(tmp_path / "all.hdf5")["train_names"]
    assert sorted(names) == [b"000.png", b"002.png", b"003.png", b"005.png"]


def test_names_that_are_no_utf_8_are_spelled_out(tmp_path):
    folder = write_pictures(tmp_path / "pictures", 3)
    os.rename(folder / "001.png", os.fsencode(folder) + b"/\xff.png")
    found = converted(folder, tmp_path / "all.hdf5")
    names = {name.decode() for split in SPLITS for name in found[f"{split}_names"]}
    assert names == {"000.png", "002.png", r"\udcff.png"}


def test_what_is_written_is_what_the_contrastive_stage_reads(tmp_path):
    write_pictures(tmp_path / "pictures", 10, size=16)
    found = converted(tmp_path / "pictures", tmp_path / "all.hdf5")
    pixels = load_pictures([tmp_path / "all.hdf5"], 16).pixels
    expected = [found[f"{split}_img"] for split in ("test", "train", "val")]
    np.testing.assert_array_equal(pixels, np.concatenate(expected))


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


def test_resizing_is_lanczos(tmp_path):
    write_pictures(tmp_path / "pictures", 1, size=40)
    found = converted(tmp_path / "pictures", tmp_path / "a.hdf5", splits=(1, 0, 0))["train_img"]
    expected = Image.fromarray(patterns(1, 40)[0]).resize((16, 16), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(found[0], np.asarray(expected))


def test_orientation_and_colour_modes(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: what is stored as left is above
    halves = np.zeros((16, 16, 3), np.uint8)
    halves[:, 8:] = 255
    Image.fromarray(halves).save(folder / "a.png", exif=exif)
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(folder / "b.jpg")
    Image.new("LA", (16, 16), (0, 0)).save(folder / "c.png")
    found = converted(folder, tmp_path / "all.hdf5", splits=(1, 0, 0))["train_img"]
    assert (found[0, :8] == 0).all()
    assert (found[0, 8:] == 255).all()
    assert np.abs(found[1].astype(int) - (255, 0, 0)).max() < 8
    assert (found[2] == 255).all()


def test_splits_have_their_shares_and_every_picture_once():
    split_of = assign_splits(1000, (0.85, 0.10, 0.05), seed=4)
    assert np.bincount(split_of).tolist() == [850, 100, 50]
    assert not np.array_equal(split_of, assign_splits(1000, (0.85, 0.10, 0.05), seed=5))


@pytest.mark.parametrize("compression", ["none", "lzf"])
def test_broken_pictures_are_left_out_counted_and_named(compression, tmp_path):
    members = {f"{n:02d}.png": encoded(p) for n, p in enumerate(patterns(10, 16))}
    archive = make_zip(tmp_path / "some.zip", members | {"03.png": b"broken", "07.png": b""})
    result = run_script(SCRIPT, "--images", archive, "--output", "all.hdf5", "--size", 16,
                        "--splits", "0.5,0.3,0.2", "--compression", compression,
                        cwd=tmp_path)  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "2 unreadable pictures skipped" in result.stdout
    assert "03.png: is not a picture" in result.stderr
    assert "07.png: is empty" in result.stderr
    found = contents(tmp_path / "all.hdf5")
    names = np.concatenate([found[f"{split}_names"] for split in SPLITS])
    pixels = np.concatenate([found[f"{split}_img"] for split in SPLITS])
    assert sorted(names) == [n.encode() for n in sorted(members) if n not in ("03.png", "07.png")]
    for name, square in zip(names, pixels, strict=True):
        np.testing.assert_array_equal(square, patterns(10, 16)[int(name[:2])])


def test_compression_changes_no_pixel(tmp_path):
    write_pictures(tmp_path / "pictures", 10)
    for splits in ((1, 0, 0), (0.6, 0.2, 0.2)):
        plain = converted(tmp_path / "pictures", tmp_path / "plain.hdf5", splits=splits)
        small = converted(
            tmp_path / "pictures", tmp_path / "small.hdf5", splits=splits, compression="lzf"
        )
        assert_equal(plain, small)
    with h5py.File(tmp_path / "small.hdf5") as file:
        assert (file["val_img"].compression, file["val_img"].chunks) == ("lzf", (1, 16, 16, 3))


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    """An archive whose conversion takes a second or two."""
    kinds = [encoded(pixels, "jpeg") for pixels in patterns(7, 200)] + [b"broken"]
    members = {f"{number:04d}.jpg": kinds[number % 8] for number in range(1500)}
    return make_zip(tmp_path_factory.mktemp("many") / "many.zip", members)


@pytest.mark.slow
def test_killed_conversion_resumes_with_the_same_rows(many, tmp_path):
    arguments = ["--images", str(many), "--size", "96", "--workers", "1"]
    whole = run_script(SCRIPT, *arguments, "--output", "whole.hdf5", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    record = tmp_path / "broken.hdf5.parts" / "progress.json"

    def done() -> int:
        try:
            return json.loads(record.read_text())["done"]
        except (OSError, ValueError):
            return 0

    command = [sys.executable, str(ROOT / SCRIPT), *arguments, "--output", "broken.hdf5"]
    for kept in (256, 768):  # killed twice
        process = subprocess.Popen([*command, "--resume"], cwd=tmp_path, stderr=subprocess.DEVNULL)
        while process.poll() is None and done() < kept:
            time.sleep(0.001)
        assert process.poll() is None, "ended before it could be killed"
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "broken.hdf5").exists()
    kept = done()
    resumed = run_script(SCRIPT, *arguments, "--output", "broken.hdf5", "--resume", cwd=tmp_path)

    assert resumed.returncode == 0, resumed.stderr
    assert f"{kept}/1500" in resumed.stderr  # the bar starts where the killed run stopped
    assert "1312 unreadable" not in resumed.stdout
    assert "187 unreadable" in resumed.stdout
    assert_equal(contents(tmp_path / "whole.hdf5"), contents(tmp_path / "broken.hdf5"))


def killed_after_a_part(source: Path, output: Path, **changes) -> None:
    """`converted`, up to the end of the first 256 pictures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jigsaw.picture_sets._Draft.finish", lambda *_: None)
        settings = {"size": 16, "splits": (0.6, 0.2, 0.2), "seed": 0} | changes
        convert(open_sources([source]), output, **settings)


@pytest.mark.parametrize(
    ("changes", "message"), [({"size": 8}, "size was 16, not 8"), ({"seed": 1}, "seed was 0")]
)
def test_other_settings_do_not_resume(changes, message, tmp_path):
    write_pictures(tmp_path / "pictures", 10)
    killed_after_a_part(tmp_path / "pictures", tmp_path / "all.hdf5")
    with pytest.raises(UserError, match=message):
        converted(tmp_path / "pictures", tmp_path / "all.hdf5", resume=True, **changes)


def test_other_pictures_do_not_resume(tmp_path):
    write_pictures(tmp_path / "pictures", 10)
    killed_after_a_part(tmp_path / "pictures", tmp_path / "all.hdf5")
    (tmp_path / "pictures" / "003.png").rename(tmp_path / "pictures" / "other.png")
    with pytest.raises(UserError, match="begun with other pictures"):
        converted(tmp_path / "pictures", tmp_path / "all.hdf5", resume=True)


@pytest.mark.parametrize(
    ("before", "after", "pictures"),
    [
        ('"closing": false', '"closing": true', b"half of a file"),  # killed while adding names
        ('"digest"', '"other"', None),  # a record that lacks something
    ],
)
def test_what_there_is_no_going_on_with_starts_over(before, after, pictures, tmp_path):
    write_pictures(tmp_path / "pictures", 10)
    expected = converted(tmp_path / "pictures", tmp_path / "whole.hdf5")
    killed_after_a_part(tmp_path / "pictures", tmp_path / "all.hdf5")
    record = tmp_path / "all.hdf5.parts" / "progress.json"
    record.write_text(record.read_text().replace(before, after))
    if pictures:
        (record.parent / "pictures.hdf5").write_bytes(pictures)

    found = converted(tmp_path / "pictures", tmp_path / "all.hdf5", resume=True)

    assert_equal(expected, found)


def test_mostly_broken_fails(tmp_path):
    members = {f"{n}.jpg": b"broken" for n in range(7)} | {"8.png": encoded(patterns(1)[0])}
    result = run_script(SCRIPT, "--images", make_zip(tmp_path / "some.zip", members),
                        "--output", "all.hdf5", cwd=tmp_path)  # fmt: skip
    assert_refused(result, "7 of 8 pictures could not be read", "0.jpg")
    assert not (tmp_path / "all.hdf5").exists()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--splits", "0.5,0.4,0.2"), ("'0.5,0.4,0.2' is not three shares",)),
        (("--splits", "1,0"), ("'1,0' is not three shares",)),
        (("--splits", "nan,0,1"), ("'nan,0,1' is not three shares",)),
        (("--images", "nowhere"), ("nowhere", "no such file")),
        (("--output", "pictures.zip"), ("end the name in .hdf5",)),
        (("--output", "nowhere/all.hdf5"), ("nowhere/all.hdf5", "cannot write")),
        (("--size", "0"), ("--size",)),
    ],
)
def test_mistakes_end_in_one_line(arguments, parts, tmp_path):
    write_pictures(tmp_path / "pictures", 2)
    result = run_script(
        SCRIPT, "--images", "pictures", "--output", "all.hdf5", *arguments, cwd=tmp_path
    )
    assert_refused(result, *parts)


def test_help_and_conversion_import_no_tensorflow(tmp_path):
    write_pictures(tmp_path / "pictures", 2)
    code = (
        "import runpy, sys; sys.argv = [sys.argv[1], '--images', 'pictures', '--output', 'a.hdf5']"
        "\ntry: runpy.run_path(sys.argv[0], run_name='__main__')"
        "\nexcept SystemExit as end: assert not end.code"
        "\nassert not {'tensorflow', 'keras', 'jax'} & set(sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / SCRIPT)], cwd=tmp_path, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


def test_hdf5_is_a_source_too(tmp_path):
    write_pictures(tmp_path / "pictures", 10, size=16)
    first = converted(tmp_path / "pictures", tmp_path / "one.hdf5")
    again = converted(tmp_path / "one.hdf5", tmp_path / "two.hdf5", splits=(1, 0, 0))
    expected = [first[f"{split}_img"] for split in ("test", "train", "val")]
    np.testing.assert_array_equal(again["train_img"], np.concatenate(expected))
    assert again["train_names"][0] == b"test_img[0]"


def test_the_crop_does_not_depend_on_the_locale():
    code = (
        "from collections import namedtuple; from PIL import Image;"
        "from jigsaw.picture_sets import random_square;"
        "row = Image.linear_gradient('L').rotate(90).resize((512, 8));"
        "item = namedtuple('Item', 'member')('sommer/m\\u00e4dchen.jpg');"
        "print(random_square(3)(item)(row, 8).tobytes().hex())"
    )
    plain = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}

    said = [run_afresh("-c", code, cwd=ROOT, **more) for more in ({"PYTHONUTF8": "1"}, plain)]

    assert [one.returncode for one in said] == [0, 0], said[1].stderr
    assert said[0].stdout == said[1].stdout
