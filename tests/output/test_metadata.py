"""A caption inside a picture's file: what Pillow reads back, and what must stay as it was."""

import io
import time

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from captioning.output.metadata import with_caption

CAPTION = "a dog & a café"
ORIENTATION, DESCRIPTION, MAKER, EXIF_DIRECTORY, MAKER_NOTE = 274, 270, 271, 0x8769, 0x927C
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
    b'xmp:Rating="4"><dc:description><rdf:Alt><rdf:li xml:lang="x-default">old</rdf:li></rdf:Alt>'
    b"</dc:description></rdf:Description></rdf:RDF></x:xmpmeta>"
)
FORMATS = {
    "JPEG": {}, "progressive JPEG": {"progressive": True}, "PNG": {}, "WEBP": {},
    "lossless WEBP": {"lossless": True},
}  # fmt: skip


def picture(kind: str, mode: str = "RGB", **metadata) -> bytes:
    """A file of 45 x 31 random pixels."""
    shape = (31, 45, len(mode))
    pixels = np.random.default_rng(3).integers(0, 256, shape, np.uint8)
    if kind == "PNG" and "xmp" in metadata:  # as a compressed text
        metadata["pnginfo"] = PngInfo()
        metadata["pnginfo"].add_itxt("XML:com.adobe.xmp", metadata.pop("xmp").decode(), zip=True)
    file = io.BytesIO()
    Image.fromarray(pixels, mode).save(file, kind.rsplit(" ")[-1], **FORMATS[kind], **metadata)
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def read_back(data: bytes) -> tuple[str, str]:
    """The EXIF description, which Pillow takes for Latin-1, and the XMP packet."""
    image = opened(data)
    return (
        image.getexif()[DESCRIPTION].encode("latin-1").decode(),
        image.info["xmp"].decode(),
    )


@pytest.mark.parametrize("kind", FORMATS)
def test_pillow_reads_the_caption_and_the_same_pixels(kind):
    data = picture(kind)

    copy = with_caption(data, CAPTION)

    description, xmp = read_back(copy)
    assert description == CAPTION
    assert '<rdf:li xml:lang="x-default">a dog &amp; a café</rdf:li>' in xmp
    np.testing.assert_array_equal(np.asarray(opened(copy)), np.asarray(opened(data)))


@pytest.mark.parametrize("kind", FORMATS)
def test_orientation_profile_makers_note_and_other_xmp_stay(kind):
    exif = Image.Exif()
    exif[ORIENTATION], exif[DESCRIPTION], exif[MAKER] = 6, "old", "Maker"
    exif.get_ifd(EXIF_DIRECTORY)[MAKER_NOTE] = bytes(range(40))
    data = picture(kind, exif=exif, icc_profile=b"profile" * 20, xmp=XMP)

    copy = with_caption(data, CAPTION)

    found = opened(copy)
    assert read_back(copy)[0] == CAPTION
    assert (found.getexif()[ORIENTATION], found.getexif()[MAKER]) == (6, "Maker")
    assert found.getexif().get_ifd(EXIF_DIRECTORY)[MAKER_NOTE] == bytes(range(40))
    assert found.info["icc_profile"] == b"profile" * 20
    assert b'xmp:Rating="4"' in found.info["xmp"] and b"old" not in found.info["xmp"]


def test_of_a_jpeg_everything_but_the_two_segments_is_the_originals_bytes():
    data = picture("JPEG", comment=b"kept")
    jfif = 20  # bytes of the beginning and of JFIF's segment, which comes first

    copy = with_caption(data, CAPTION)

    assert copy[:jfif] == data[:jfif] and copy.endswith(data[jfif:])


def test_a_second_caption_replaces_the_first():
    once = with_caption(picture("JPEG"), "a cat with a very long tail")

    description, xmp = read_back(with_caption(once, CAPTION))

    assert description == CAPTION
    assert xmp.count("<dc:description>") == 1 and "a cat" not in xmp


@pytest.mark.parametrize("kind", ["WEBP", "lossless WEBP"])
def test_transparency_and_size_of_a_webp_stay(kind):
    data = picture(kind, "RGBA")

    found = opened(with_caption(data, CAPTION))

    assert (found.size, found.mode) == ((45, 31), "RGBA")
    np.testing.assert_array_equal(np.asarray(found), np.asarray(opened(data)))


def test_what_has_no_room_or_is_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="no room"):
        with_caption(picture("JPEG"), "dog " * 17000)
    with pytest.raises(ValueError, match="only JPEG, PNG and WebP"):
        with_caption(b"GIF89a", CAPTION)
    with pytest.raises(ValueError, match="EXIF is damaged"):
        with_caption(picture("JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\0"), CAPTION)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_joiners_within_words_stay(kind):
    caption = "\u0645\u0631\u062f \u0645\u06cc\u200c\u0631\u0648\u062f"

    description, xmp = read_back(with_caption(picture(kind), caption))

    assert description == caption
    assert caption in xmp


def test_a_packet_of_white_space_takes_no_time():
    packet = XMP.replace(b"</rdf:RDF>", b" " * 60_000 + b"</rdf:RDF>")
    began = time.process_time()

    with_caption(picture("PNG", xmp=packet), CAPTION)

    assert time.process_time() - began < 2  # by a search from every space it was a quarter minute
