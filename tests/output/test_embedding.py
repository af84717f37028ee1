"""Copies of pictures with captions inside: where they go, and what Pillow reads from them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from captioning.cli import UserError
from captioning.output.embedding import Latin1, plan, with_caption
from tests.conftest import ROOT

CAPTION = "a dog & a café مرد می\u200cرود"  # with a joiner within a word
ORIENTATION, DESCRIPTION, MAKER, ARTIST = 274, 270, 271, 315
EXIF_DIRECTORY, MAKER_NOTE, OWNER = 0x8769, 0x927C, 0xA430
IPTC = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\x08\x1c\x02\x19\0\x03key"
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
    b'xmp:Rating="4"><dc:description><rdf:Alt><rdf:li xml:lang="x-default">old</rdf:li></rdf:Alt>'
    b"</dc:description></rdf:Description></rdf:RDF></x:xmpmeta>"
)
KINDS = {
    "jpg": {"quality": 90},
    "progressive.jpg": {"progressive": True},
    "png": {},
    "webp": {},
    "lossless.webp": {"lossless": True},
}


@pytest.fixture
def copied(tmp_path):
    """Save a photograph, and give it and its copy as Pillow opens them."""

    def copy(kind: str, mode: str = "RGB", **metadata):
        path = tmp_path / f"original.{kind}"
        photograph = Image.open(ROOT / "examples/dog.jpg").crop((100, 100, 203, 201))
        photograph.convert(mode).save(path, **KINDS[kind], **metadata)
        (tmp_path / f"copy.{kind}").write_bytes(with_caption(path, CAPTION))
        return Image.open(path), Image.open(tmp_path / f"copy.{kind}")

    return copy


def description(image: Image.Image) -> str:
    """The EXIF description, which Pillow takes for Latin-1."""
    return image.getexif()[DESCRIPTION].encode("latin-1").decode()


@pytest.mark.parametrize("kind", KINDS)
def test_pillow_reads_the_caption_and_the_same_pixels(copied, kind):
    original, copy = copied(kind)

    assert description(copy) == CAPTION
    caption = CAPTION.replace("&", "&amp;")
    assert f'<rdf:li xml:lang="x-default">{caption}</rdf:li>' in copy.info["xmp"].decode()
    assert copy.info.get("progressive") == original.info.get("progressive")
    off = np.abs(np.asarray(copy, int) - np.asarray(original, int))
    assert off.max() <= (8 if "jpg" in kind else 0)  # a JPEG is encoded anew, with its own tables
    assert off.mean() < 0.2


@pytest.mark.parametrize("kind", KINDS)
def test_orientation_profile_makers_note_and_other_xmp_stay(copied, kind):
    exif = Image.Exif()
    exif[ORIENTATION], exif[DESCRIPTION], exif[MAKER] = 6, "old", "Maker"
    exif[ARTIST] = "Renée".encode("latin-1")
    exif.get_ifd(EXIF_DIRECTORY)[MAKER_NOTE] = bytes(range(40))
    exif.get_ifd(EXIF_DIRECTORY)[OWNER] = Latin1("Renée")
    texts = PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", XMP.decode(), zip=True)
    texts.add_text("Software", "a camera")
    xmp = {"pnginfo": texts} if kind == "png" else {"xmp": XMP}

    _, copy = copied(kind, exif=exif, icc_profile=b"profile" * 20, dpi=(300, 300), **xmp)

    found = copy.getexif()
    assert (found[ORIENTATION], found[MAKER], found[ARTIST]) == (6, "Maker", "Renée")
    assert found.get_ifd(EXIF_DIRECTORY)[MAKER_NOTE] == bytes(range(40))
    assert found.get_ifd(EXIF_DIRECTORY)[OWNER] == "Renée"
    assert copy.info["icc_profile"] == b"profile" * 20
    assert description(copy) == CAPTION
    assert b'xmp:Rating="4"' in copy.info["xmp"] and b"old" not in copy.info["xmp"]
    assert kind != "png" or copy.text["Software"] == "a camera"
    assert "webp" in kind or copy.info["dpi"] == pytest.approx((300, 300), abs=0.01)


def test_comment_and_iptc_of_a_jpeg_stay(copied):
    segment = b"\xff\xed" + (len(IPTC) + 2).to_bytes(2, "big") + IPTC
    _, copy = copied("jpg", comment=b"kept", extra=segment)
    assert copy.info["comment"] == b"kept"
    assert copy.info["photoshop"][0x0404].endswith(b"key")


@pytest.mark.parametrize(
    ("kind", "mode", "off"), [("png", "RGBA", 0), ("webp", "RGBA", 0), ("jpg", "CMYK", 8)]
)
def test_transparency_and_inks_stay(copied, kind, mode, off):
    original, copy = copied(kind, mode)
    np.testing.assert_allclose(np.asarray(copy, int), np.asarray(original, int), atol=off)


def test_of_several_pictures_in_a_jpeg_the_first_is_copied(tmp_path):
    first, second = (Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    first.save(tmp_path / "two.jpg", "MPO", save_all=True, append_images=[second])
    (tmp_path / "copy.jpg").write_bytes(with_caption(tmp_path / "two.jpg", CAPTION))
    copy = Image.open(tmp_path / "copy.jpg")
    assert (copy.format, copy.getpixel((8, 8))) == ("JPEG", (254, 0, 0))


def test_what_cannot_be_copied_whole_is_refused(tmp_path):
    plain = Image.new("RGB", (16, 16))
    plain.save(tmp_path / "a.jpg")
    plain.save(tmp_path / "a.gif")
    texts = PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", " " * 70_000)
    plain.save(tmp_path / "long.png", pnginfo=texts)
    plain.save(tmp_path / "a.png", save_all=True, append_images=[Image.new("RGB", (16, 16), "red")])
    for name, caption, reason in (
        ("a.jpg", "dog " * 17000, "too long"),
        ("a.gif", CAPTION, "only JPEG, PNG and WebP"),
        ("a.png", CAPTION, "an animation"),
        ("long.png", CAPTION, "more than 64 KB"),
    ):
        with pytest.raises(ValueError, match=reason):
            with_caption(tmp_path / name, caption)


def test_copies_lie_in_the_sub_folders_of_the_pictures(tmp_path):
    given, out = tmp_path / "in", tmp_path / "out"
    given.mkdir()
    images = [given / "a" / "1.jpg", given / "b" / "1.jpg", tmp_path / "other" / "2.jpg"]

    planned = plan(out, [given, images[2]], images)

    assert list(planned.values()) == [out / "a" / "1.jpg", out / "b" / "1.jpg", out / "2.jpg"]


def test_no_copy_leaves_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [copy] = plan(Path("out"), ["in", "in/../1.jpg"], [Path("in/../1.jpg")]).values()
    assert copy == Path("out/1.jpg")


def test_nothing_is_written_over_not_even_the_picture(tmp_path):
    (tmp_path / "1.jpg").touch()
    with pytest.raises(UserError, match=r"1\.jpg: exists, and --embed overwrites nothing"):
        plan(tmp_path, [tmp_path], [tmp_path / "1.jpg"])


def test_two_pictures_with_one_copy_are_refused_before_anything_is_made(tmp_path):
    images = [tmp_path / "a" / "1.jpg", tmp_path / "b" / "1.jpg"]

    with pytest.raises(UserError, match="both copies would be"):
        plan(tmp_path / "out", images, images)

    assert not (tmp_path / "out").exists()


def test_a_folder_may_hold_folders_of_any_name(tmp_path):
    (tmp_path / "copy").mkdir()
    picture = ROOT / "examples/dog.jpg"

    assert plan(tmp_path, [picture], [picture]) == {picture: tmp_path / "dog.jpg"}
