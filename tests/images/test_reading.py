"""One picture: every kind gives the right pixels or a reason; none takes much memory or time."""

import os
import shutil
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
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
from tests.conftest import ROOT, run_afresh, succeed

GOOD, BAD = corpus.good_images(), corpus.bad_files()


@pytest.mark.parametrize("name", GOOD)
def test_a_good_picture_gives_its_colours(name, tmp_path):
    content, expected, tolerance = GOOD[name]
    (tmp_path / name).write_bytes(content)
    pixels = load_rgb(tmp_path / name)
    assert pixels.dtype == np.uint8
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).max() <= tolerance
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

    assert load_thumbnail(tmp_path / "odd.jpg", 32).size == (16, 32)
    assert thumbnail.size == (32, 64)
    assert thumbnail.getpixel((16, 60))[0] > thumbnail.getpixel((16, 4))[0] + 40


def test_a_block_of_exif_that_is_cut_off_says_nothing(tmp_path):
    Image.new("RGB", (8, 4), "red").save(tmp_path / "a.png", exif=b"Exif\0\0II*\0")
    assert load_thumbnail(tmp_path / "a.png", 8).size == (8, 4)


def test_long_texts_do_not_hide_how_a_picture_is_turned(tmp_path):
    text = b"prompt\0" + bytes(65 << 20)  # above Pillow's sum of all texts
    exif = corpus.exif(6).tobytes().removeprefix(b"Exif\0\0")
    (tmp_path / "a.png").write_bytes(corpus.png_with((b"tEXt", text), (b"eXIf", exif)))
    assert load_rgb(tmp_path / "a.png").shape == (64, 32, 3)


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
def test_a_bomb_of_text_does_not_unpack(kind, tmp_path):
    bomb = corpus.png_with((kind, b"k\0\0" + zlib.compress(bytes(100 << 20))))
    (tmp_path / "a.png").write_bytes(bomb)
    tracemalloc.start()
    try:
        load_rgb(tmp_path / "a.png")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 << 20


def test_a_png_whose_other_chunks_are_damaged_stays_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(corpus.png_with((b"pHYs", b"short")))
    with pytest.raises(UnreadableImage, match=r"a\.png: is damaged"):
        load_rgb(tmp_path / "a.png")


@pytest.mark.parametrize("junk", [b"\xff\x00", b"\0\0", b"\0", b"any bytes", b"\xff\x00" * 50])
@pytest.mark.parametrize("name", ["baseline.jpg", "progressive.jpg"])
def test_stray_bytes_between_segments_change_no_pixel(name, junk, tmp_path):
    """Before tables, frame and scan, as viewers and Pillow pass over them."""
    whole = GOOD[name].content
    (tmp_path / "whole.jpg").write_bytes(whole)
    expected = load_rgb(tmp_path / "whole.jpg")
    for marker in (b"\xff\xdb", b"\xff\xc4", b"\xff\xda"):
        position = whole.index(marker)
        (tmp_path / "junk.jpg").write_bytes(whole[:position] + junk + whole[position:])
        np.testing.assert_array_equal(load_rgb(tmp_path / "junk.jpg"), expected)


def test_what_follows_the_end_of_a_jpeg_is_not_looked_at():
    assert jpeg.damage(GOOD["baseline.jpg"].content + b"\xff\x01anything") is None


@pytest.mark.parametrize("value, expected", [(0.5, 128), (128.0, 128)])
def test_float_grey_is_taken_as_shares_or_as_0_to_255(tmp_path, value, expected):
    pixels = np.full((4, 4), value, np.float32)
    pixels[3, 3] = np.nan
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


@pytest.mark.parametrize("name", ["cmyk.jpg", "cmyk_without_adobe.jpg", "inks.tif", "grey16.png"])
def test_strips_of_other_colours_have_the_colours_of_the_whole(name, tmp_path, monkeypatch):
    (tmp_path / name).write_bytes(GOOD[name].content)
    whole = load_rgb(tmp_path / name)
    monkeypatch.setattr("captioning.images.reading._LARGE", 100)
    assert np.array_equal(load_rgb(tmp_path / name), whole)


# Of the kernel's two counts of a peak, the one that does not begin with the parent's memory.
LOAD_AND_MEASURE = """
import re, sys
from captioning.images.reading import load_rgb, load_thumbnail
load_rgb(sys.argv[1], 224)
load_thumbnail(sys.argv[1], 320)
print(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
"""


@pytest.mark.slow
@pytest.mark.parametrize("name, colour, sample_bytes", [("rgba16.png", 6, 8), ("grey16.png", 0, 2)])
def test_the_largest_pictures_take_under_a_gigabyte(tmp_path, name, colour, sample_bytes):
    side = 9400  # 88 megapixels, just under Pillow's limit
    (tmp_path / name).write_bytes(corpus.blank_png(side, 16, colour, side * sample_bytes))
    kilobytes = succeed(run_afresh("-c", LOAD_AND_MEASURE, tmp_path / name, cwd=ROOT))
    assert int(kilobytes) < 1e6


# ---- folders and batches ---------------------------------------------------------------------


def test_folder_without_pictures_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(UserError, match="holds no picture"):
        list_images([tmp_path])


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
    red = [int(image[0, 0, 0]) for _, pixels, _ in batches for image in pixels]
    assert red == [0, 1, 2, 4, 5, 6]
    assert [error.key for _, _, errors in batches for error in errors] == ["d"]


# ---- which files are pictures ----------------------------------------------------------------


@pytest.fixture
def tree(tmp_path) -> Path:
    """Pictures under all sorts of names, in folders that are hidden, linked and in a circle."""
    png, jpeg = GOOD["plain.png"].content, GOOD["baseline.jpg"].content
    root = tmp_path / "tree"
    jpegs = "a.JPG b.jfif c.jpe frame.0001 .ipynb_checkpoints/a.JPG __MACOSX/a.JPG".split()
    pngs = "d.TIF e .hidden.png in/f.png".split()
    others = dict.fromkeys(["notes", "notes.txt", "._a.JPG"], b"text")
    for name, content in (dict.fromkeys(jpegs, jpeg) | dict.fromkeys(pngs, png) | others).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "g.png").write_bytes(png)
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "h.png").symlink_to(root / "in" / "f.png")
    (root / "in" / "circle").symlink_to(root)
    (root / "self").symlink_to("self")
    (root / "broken").symlink_to("nowhere")
    return root


FOUND = "a.JPG b.jfif c.jpe d.TIF e frame.0001 h.png in/f.png linked/g.png".split()


def test_hidden_files_are_left_out_and_links_followed_once(tree):
    assert [path.relative_to(tree).as_posix() for path in list_images([tree])] == FOUND
    assert [item.member for item in open_sources([tree]).items] == FOUND


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


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_heic_pictures_are_counted_and_named_once_with_the_way_out(kind, tmp_path, capsys):
    folder = tmp_path / "photos"
    (folder / "in").mkdir(parents=True)
    (folder / "a.png").write_bytes(GOOD["plain.png"].content)
    for name in ("IMG_1.HEIC", "in/IMG_2.heic", "._IMG_1.HEIC"):
        (folder / name).write_bytes(b"\0\0\0\x18ftypheic")
    path = folder if kind == "folder" else shutil.make_archive(str(folder), kind, folder)

    assert open_sources([path]).count == len(list(open_sources([path]).items)) == 1

    told = capsys.readouterr().err
    assert f"{path}: 2 HEIC pictures are not read, such as " in told
    assert told.count("IMG_") == told.count("pip install pillow-heif") == 1


def test_a_heic_picture_by_itself_tells_the_way_out(tmp_path):
    (tmp_path / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0")
    with pytest.raises(UnreadableImage, match="if it is HEIC, pip install pillow-heif"):
        load_rgb(tmp_path / "IMG_1.HEIC")
