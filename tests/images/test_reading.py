"""One picture: every kind gives the right pixels or a reason; none takes much memory or time."""

import json
import os
import shutil
import struct
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captioning.cli import UserError
from captioning.images import jpeg
from captioning.images.folders import list_images, walk_images
from captioning.images.reading import UnreadableImage, decode_batches, load_rgb, load_thumbnail
from captioning.images.sources import open_sources
from tests import corpus
from tests.conftest import ROOT

GOOD, BAD = corpus.good_pictures(), corpus.bad_files()


@pytest.mark.parametrize("name", GOOD)
def test_a_good_picture_gives_its_colours(name, tmp_path):
    content, expected, tolerance = GOOD[name]
    (tmp_path / name).write_bytes(content)
    pixels = load_rgb(tmp_path / name)
    assert pixels.dtype == np.uint8
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= tolerance


@pytest.mark.parametrize("name", GOOD)
def test_any_shape_is_squashed_to_the_square(name, tmp_path):
    (tmp_path / name).write_bytes(GOOD[name].content)
    assert load_rgb(tmp_path / name, 8).shape == (8, 8, 3)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_by_name(name, tmp_path):
    make, reason = BAD[name]
    make(tmp_path / name)
    with pytest.raises(UnreadableImage, match=f"{name}: .*{reason}"):
        load_rgb(tmp_path / name, 8)


def test_a_name_that_is_no_text_is_spelled_out(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff.png"
    with open(path, "wb") as file:
        file.write(b"no picture")
    with pytest.raises(UnreadableImage, match=r"\\udcff\.png: is not a picture"):
        load_rgb(os.fsdecode(path))


def entry(tag: int, kind: int, value: int) -> bytes:
    """An entry of TIFF's directories, of one number."""
    return struct.pack("<HHII", tag, kind, 1, value)


ODD_EXIF = {  # whose readers and writers in Pillow let out struct.error or AttributeError
    "a width that is a fraction": [entry(0x0100, 5, 8), entry(0x0112, 3, 6)],
    "a maker that is a number": [entry(0x010F, 11, 0), entry(0x0112, 3, 6)],
}


@pytest.mark.parametrize("name", ODD_EXIF)
def test_a_picture_is_upright_whatever_else_its_exif_holds(name, tmp_path):
    entries = ODD_EXIF[name]
    block = b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + b"\0\0\0\0"
    wide = Image.fromarray(np.repeat(np.arange(64, dtype=np.uint8)[None], 32, axis=0))
    wide.save(tmp_path / "odd.jpg", exif=b"Exif\0\0" + block)

    thumbnail = load_thumbnail(tmp_path / "odd.jpg", 500)

    assert thumbnail.size == (32, 64)
    assert thumbnail.getpixel((16, 60))[0] > thumbnail.getpixel((16, 4))[0] + 40


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_a_block_of_exif_that_is_cut_off_says_nothing(kind, tmp_path):
    Image.new("RGB", (8, 4), "red").save(tmp_path / f"a.{kind}", exif=b"Exif\0\0II*\0")
    assert load_thumbnail(tmp_path / f"a.{kind}", 8).size == (8, 4)


def test_a_picture_as_an_adobe_program_writes_it_really_differs():
    """The three kinds of CMYK in the corpus are three, and not one by mistake."""
    files = [GOOD[name].content for name in ("cmyk.jpg", "ycck.jpg", "cmyk_without_adobe.jpg")]
    transforms = [content[content.index(b"Adobe") + 11] for content in files[:2]]
    assert transforms == [0, 2]
    assert b"Adobe" not in files[2]


def test_damage_that_pillow_reads_over_is_seen():
    """Without a look at its structure, a JPEG with noise inside would be half a picture."""
    noisy = dict(corpus.damaged_jpegs())["baseline_noise.jpg"]
    assert "marker" in jpeg.damage(noisy)
    for name in ("baseline.jpg", "progressive.jpg", "restarts.jpg", "exif6.jpg", "cmyk.jpg"):
        assert jpeg.damage(GOOD[name].content) is None


@pytest.mark.parametrize("junk", [b"\xff\x00", b"\0\0", b"\0", b"any bytes", b"\xff\x00" * 50])
@pytest.mark.parametrize("name", ["baseline.jpg", "progressive.jpg"])
def test_stray_bytes_between_segments_change_no_pixel(name, junk, tmp_path):
    """Before tables, frame and scan, as viewers and Pillow pass over them."""
    whole = GOOD[name].content
    (tmp_path / "whole.jpg").write_bytes(whole)
    expected = load_rgb(tmp_path / "whole.jpg")
    for marker in (b"\xff\xdb", b"\xff\xc4", b"\xff\xda"):
        place = whole.index(marker)
        (tmp_path / "junk.jpg").write_bytes(whole[:place] + junk + whole[place:])
        np.testing.assert_array_equal(load_rgb(tmp_path / "junk.jpg"), expected)


def test_what_follows_the_end_of_a_jpeg_is_not_looked_at():
    assert jpeg.damage(GOOD["baseline.jpg"].content + b"\xff\x01anything") is None


@pytest.mark.parametrize("value, expected", [(0.5, 128), (128.0, 128)])
def test_float_grey_is_taken_as_shares_or_as_0_to_255(tmp_path, value, expected):
    pixels = np.full((4, 4), value, np.float32)
    Image.fromarray(pixels).save(tmp_path / "grey.tif")
    assert load_rgb(tmp_path / "grey.tif")[0, 0].tolist() == [expected] * 3


# ---- large pictures --------------------------------------------------------------------------


def test_a_large_picture_taken_in_strips_equals_the_small_one(tmp_path, monkeypatch):
    smooth = np.linspace(0, 255, 90 * 130 * 4).reshape(90, 130, 4).astype(np.uint8)
    smooth[..., 3] = 255 - smooth[..., 3]
    path = tmp_path / "picture.png"
    Image.fromarray(corpus.stored(smooth, 6)).save(path, exif=corpus.exif(6))
    whole, square = load_rgb(path), load_rgb(path, 16)

    monkeypatch.setattr("captioning.images.reading._LARGE", 100)
    assert np.array_equal(load_rgb(path), whole)
    assert np.abs(load_rgb(path, 16).astype(int) - square).max() <= 3


def test_a_thumbnail_keeps_the_shape(tmp_path):
    (tmp_path / "exif6.jpg").write_bytes(GOOD["exif6.jpg"].content)
    assert load_thumbnail(tmp_path / "exif6.jpg", 32).size == (32, 16)
    assert load_thumbnail(tmp_path / "exif6.jpg", 500).size == (64, 32)


# Of the kernel's two counts of a peak, the one that does not begin with the parent's memory.
LOAD_AND_MEASURE = """
import json, re, sys
from captioning.images.reading import UnreadableImage, load_rgb, load_thumbnail
outcome = "read"
try:
    load_rgb(sys.argv[1], 224)
    load_thumbnail(sys.argv[1], 320)
except UnreadableImage as error:
    outcome = str(error)
peak = re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]
print(json.dumps([outcome, int(peak) / 1e6]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, depth, colour, sample_bytes, side, outcome",
    [
        ("rgba16.png", 16, 6, 8, 9400, "read"),  # 88 megapixels, just under Pillow's limit
        ("grey16.png", 16, 0, 2, 9400, "read"),
        ("too_large.png", 8, 6, 4, 9500, "too many pixels"),
        ("bomb.png", 8, 6, 4, 30_000, "too many pixels"),
    ],
)
def test_the_largest_pictures_take_under_a_gigabyte(
    tmp_path, name, depth, colour, sample_bytes, side, outcome
):
    rows = None if outcome == "read" else 10
    content = corpus.blank_png(side, depth, colour, side * sample_bytes, rows=rows)
    (tmp_path / name).write_bytes(content)
    result = subprocess.run(
        [sys.executable, "-c", LOAD_AND_MEASURE, str(tmp_path / name)],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found, gigabytes = json.loads(result.stdout)
    assert outcome in found
    assert gigabytes < 1.0


# ---- folders and batches ---------------------------------------------------------------------


def test_folder_without_pictures_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(UserError, match="holds no picture"):
        list_images([tmp_path])


def test_pictures_in_sub_folders_are_found_once_though_links_go_in_circles(tmp_path):
    for name in ("b.jpg", "val2014/c.jpg", "train2014/a.JPG", "train2014/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "train2014" / "up").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "val2014")
    (tmp_path / "self").symlink_to("self")
    found = [str(path.relative_to(tmp_path)) for path in walk_images(tmp_path)]
    assert found == ["b.jpg", "again/c.jpg", "train2014/a.JPG"]


def test_a_sub_folder_that_may_not_be_read_is_named_or_left_out(tmp_path, monkeypatch):
    for name in ("a.jpg", "closed/b.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    scandir = os.scandir

    def scan(folder):
        if Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", scan)

    with pytest.raises(PermissionError, match="closed"):
        list(walk_images(tmp_path))
    assert list(walk_images(tmp_path, skip_closed=True)) == [tmp_path / "a.jpg"]
    with pytest.raises(PermissionError, match="closed"):
        list(walk_images(tmp_path / "closed", skip_closed=True))


def test_batches_keep_order_and_report_what_they_leave_out(tmp_path):
    paths = []
    for number in range(7):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (8, 8), (number, 0, 0)).save(paths[-1])
    paths[3].write_bytes(b"")

    batches = list(decode_batches(list(zip("abcdefg", paths, strict=True)), 8, 3))

    assert [keys for keys, _, _ in batches] == [["a", "b", "c"], ["e", "f"], ["g"]]
    red = [int(picture[0, 0, 0]) for _, pixels, _ in batches for picture in pixels]
    assert red == [0, 1, 2, 4, 5, 6]
    assert [error.key for _, _, errors in batches for error in errors] == ["d"]


def test_nobody_waits_for_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    outcome = []

    def read():
        try:
            load_rgb(tmp_path / "pipe.jpg")
        except UnreadableImage as error:
            outcome.append(str(error))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    thread.join(10)
    assert "pipe.jpg: is no file" in outcome[0]


# ---- which files are pictures ----------------------------------------------------------------


@pytest.fixture
def tree(tmp_path) -> Path:
    """Pictures under all sorts of names, in folders that are hidden, linked and in a circle."""
    png, jpeg = GOOD["plain.png"].content, GOOD["baseline.jpg"].content
    root = tmp_path / "tree"
    for name, content in {
        "a.JPG": jpeg, "b.jfif": jpeg, "c.jpe": jpeg, "d.TIF": png, "e": png, "frame.0001": jpeg,
        "notes": b"text", "notes.txt": b"text", "._a.JPG": b"mac", ".hidden.png": png,
        ".ipynb_checkpoints/a.JPG": jpeg, "__MACOSX/a.JPG": jpeg, "in/f.png": png,
    }.items():  # fmt: skip
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "g.png").write_bytes(png)
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "h.png").symlink_to(root / "in" / "f.png")
    (root / "in" / "circle").symlink_to(root)
    (root / "broken").symlink_to("nowhere")
    return root


FOUND = ["a.JPG", "b.jfif", "c.jpe", "d.TIF", "e", "frame.0001", "h.png", "in/f.png",
         "linked/g.png"]  # fmt: skip


@pytest.mark.parametrize("search", [walk_images, lambda folder: list_images([folder])])
def test_hidden_files_are_left_out_and_links_followed(tree, search):
    assert [path.relative_to(tree).as_posix() for path in search(tree)] == FOUND


def test_the_pretext_stage_finds_the_same_pictures(tree):
    source = open_sources([tree])
    assert [item.member for item in source.items] == FOUND
    assert source.count == len(FOUND)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_archives_leave_out_what_is_hidden_and_look_into_what_has_no_suffix(tree, kind):
    (tree / "in" / "circle").unlink()
    path = shutil.make_archive(str(tree.parent / "all"), kind, tree.parent, "tree/in")
    with zipfile.ZipFile(path, "a") if kind == "zip" else tarfile.open(path, "a") as archive:
        add = archive.write if kind == "zip" else archive.add
        hidden = ("._a.JPG", ".ipynb_checkpoints/a.JPG", "__MACOSX/a.JPG")
        for name in ("e", "notes", *hidden, "a.JPG"):
            add(tree / name, f"tree/{name}")
    members = {item.member for item in open_sources([path]).items}
    assert {one.removeprefix("./") for one in members} == {"tree/in/f.png", "tree/e", "tree/a.JPG"}


def test_a_zip_that_is_damaged_inside_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", GOOD["plain.png"].content)
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[content.index(b"PK\1\2")] ^= 1  # where its table of contents begins
    (tmp_path / "a.zip").write_bytes(content)

    with pytest.raises(UserError, match=r"a\.zip: a damaged archive"):
        open_sources([tmp_path / "a.zip"])
