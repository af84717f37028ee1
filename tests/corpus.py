"""Pictures of every kind that a folder from the web holds, good and bad, made here."""

import io
import os
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageChops

ADAM7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
         (1, 0, 2, 1)]  # first row, first column, steps  # fmt: skip


class Good(NamedTuple):
    """A picture's bytes, the RGB that it must give, and how far a lossy format may be off."""

    content: bytes
    expected: np.ndarray
    tolerance: int = 0


def quarters() -> np.ndarray:
    """64 wide and 32 high, the four quarters red, green, blue and white."""
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:16, :32], pixels[:16, 32:] = (255, 0, 0), (0, 255, 0)
    pixels[16:, :32], pixels[16:, 32:] = (0, 0, 255), (255, 255, 255)
    return pixels


def save(image: np.ndarray | Image.Image, form: str, **options) -> bytes:
    """The bytes of a file as Pillow writes it."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(np.ascontiguousarray(image))
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def stored(image: np.ndarray, orientation: int) -> np.ndarray:
    """How a camera stores the upright picture under an EXIF orientation."""
    return {
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.swapaxes(0, 1),
        6: lambda p: np.rot90(p, 1),
        7: lambda p: p[::-1, ::-1].swapaxes(0, 1),
        8: lambda p: np.rot90(p, -1),
    }[orientation](image)


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


# ---- what Pillow does not write --------------------------------------------------------------


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """A PNG chunk with its length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(pixels: np.ndarray, colour: int, *, interlaced: bool = False) -> bytes:
    """A PNG of 8 or 16 bits a sample (H, W, channels) of a colour type, row by row or Adam7."""
    height, width, _ = pixels.shape
    depth = 8 * pixels.itemsize
    big = pixels.astype(pixels.dtype.newbyteorder(">"))
    passes = ADAM7 if interlaced else [(0, 0, 1, 1)]
    rows = (row for y, x, down, across in passes for row in big[y::down, x::across] if len(row))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return png_of(header, data)


def png_of(header: bytes, data: bytes) -> bytes:
    """A PNG file of a header and compressed rows."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        png_chunk(kind, part) for kind, part in [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    )


def png_with(*chunks: tuple[bytes, bytes], before: bytes = b"IDAT") -> bytes:
    """The quarters, with more chunks before the first of a kind."""
    whole = save(quarters(), "PNG")
    at = whole.index(before) - 4
    return whole[:at] + b"".join(png_chunk(*chunk) for chunk in chunks) + whole[at:]


def blank_png(side: int, depth: int, colour: int, row_bytes: int, *, rows: int | None = None):
    """A black square PNG that is never in memory as a whole; `rows`: only so many are there."""
    deflate = zlib.compressobj(9)
    row = b"\0" * (1 + row_bytes)
    count = side if rows is None else rows
    data = b"".join(deflate.compress(row) for _ in range(count)) + deflate.flush()
    return png_of(struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0), data)


def tiff_16_bit_rgb(pixels: np.ndarray) -> bytes:
    """An uncompressed little-endian TIFF of 16-bit RGB (H, W, 3)."""
    height, width, _ = pixels.shape
    data = pixels.astype("<u2").tobytes()
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, 8), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, 1, 14), (277, 3, 1, 3), (278, 4, 1, height), (279, 4, 1, len(data)),
    ]  # fmt: skip
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in entries) + b"\0" * 4
    bits = struct.pack("<HHH", 16, 16, 16)
    return b"II*\0" + struct.pack("<I", 14 + len(data)) + bits + data + directory


def cmyk() -> Image.Image:
    """The quarters in inks."""
    return Image.fromarray(quarters()).convert("CMYK")


def ycck_jpeg() -> bytes:
    """As Photoshop writes CMYK: inverted, and the inks turned into YCC (Adobe transform 2)."""
    cyan, magenta, yellow, black = cmyk().split()
    luma, blue, red = Image.merge("RGB", (cyan, magenta, yellow)).convert("YCbCr").split()
    # Pillow inverts what it writes.
    planes = [*map(ImageChops.invert, (luma, blue, red)), black]
    content = save(Image.merge("CMYK", planes), "JPEG", quality=95)
    at = content.index(b"Adobe") + len("Adobe") + 6
    return content[:at] + b"\x02" + content[at + 1 :]


def cmyk_jpeg_without_adobe() -> bytes:
    """CMYK as other programs write it: not inverted, and without Adobe's marker."""
    content = save(ImageChops.invert(cmyk()), "JPEG", quality=95)
    at = content.index(b"\xff\xee")
    return content[:at] + content[at + 2 + int.from_bytes(content[at + 2 : at + 4], "big") :]


# ---- the corpus ------------------------------------------------------------------------------


def good_images() -> dict[str, Good]:
    """Files by name that must be read."""
    rgb = quarters()
    grey = np.arange(0, 65536, 32, dtype=np.uint16).reshape(32, 64)
    grey8 = np.repeat((grey / 257).round().astype(np.uint8)[..., None], 3, axis=2)
    deep = rgb.astype(np.uint16) * 257
    black_white = np.repeat(((rgb.sum(2) > 300) * 255).astype(np.uint8)[..., None], 3, axis=2)
    half_clear = np.dstack([rgb, np.full((32, 64), 255, np.uint8)])
    half_clear[:, :32, 3] = 0
    over_white = rgb.copy()
    over_white[:, :32] = 255
    orange = np.full((32, 64, 3), (204, 153, 51), np.uint8)
    palette = Image.fromarray(rgb).quantize(8)
    red = palette.getpixel((0, 0))
    no_red = rgb.copy()
    no_red[:16, :32] = 255
    frames = [Image.fromarray(rgb), Image.new("RGB", (64, 32), "black")]
    animated = {"save_all": True, "append_images": frames[1:]}
    fine = {"quality": 95, "subsampling": 0}
    called = ["plain.png", "png_inside.jpg", "with  spaces.png", "with.two.dots.png"]
    called += ["colon: and, comma.png", "Ünïcödé 図 👩‍🚀.png"]
    called += ["line\nbreak.png", "\x1b[31mescape.png"]

    images = {
        "baseline.jpg": Good(save(rgb, "JPEG", **fine), rgb, 6),
        "progressive.jpg": Good(save(rgb, "JPEG", **fine, progressive=True), rgb, 6),
        "restarts.jpg": Good(save(rgb, "JPEG", **fine, restart_marker_blocks=2), rgb, 6),
        "grey.jpg": Good(save(grey8[..., 0], "JPEG", quality=95), grey8, 6),
        "cmyk.jpg": Good(save(cmyk(), "JPEG", quality=95), rgb, 6),
        "ycck.jpg": Good(ycck_jpeg(), rgb, 12),
        "cmyk_without_adobe.jpg": Good(cmyk_jpeg_without_adobe(), rgb, 6),
        "one_bit.png": Good(save(Image.fromarray(black_white).convert("1"), "PNG"), black_white),
        "palette.png": Good(save(palette, "PNG"), rgb),
        "palette_clear.png": Good(save(palette, "PNG", transparency=red), no_red),
        "grey16.png": Good(save(grey, "PNG"), grey8, 1),
        "rgb16.png": Good(png(deep, 2), rgb),
        "rgba16.png": Good(png(half_clear.astype(np.uint16) * 257, 6), over_white),
        "interlaced.png": Good(png(rgb, 2, interlaced=True), rgb),
        "interlaced_rgb16.png": Good(png(deep, 2, interlaced=True), rgb),
        "clear.png": Good(save(half_clear, "PNG"), over_white),
        "grey_clear.png": Good(
            save(Image.fromarray(half_clear).convert("LA"), "PNG"),
            np.asarray(Image.fromarray(over_white).convert("L").convert("RGB")),
        ),
        "animated.gif": Good(save(frames[0], "GIF", **animated), rgb),
        "animated_too.webp": Good(save(frames[0], "WEBP", lossless=True, **animated), rgb),
        "lossy.webp": Good(save(orange, "WEBP", quality=95), orange, 6),
        "bitmap.bmp": Good(save(rgb, "BMP"), rgb),
        "deep_grey.tif": Good(save(grey, "TIFF"), grey8, 1),
        "deep.tif": Good(tiff_16_bit_rgb(deep), rgb),
        "pages.tiff": Good(save(frames[0], "TIFF", **animated), rgb),
        "inks.tif": Good(save(cmyk(), "TIFF"), rgb),
        "one_pixel.png": Good(save(rgb[:1, :1], "PNG"), rgb[:1, :1]),
        "thin.png": Good(save(np.zeros((5000, 1, 3), np.uint8), "PNG"), np.zeros((5000, 1, 3))),
        "UPPER.JPG": Good(save(rgb, "JPEG", **fine), rgb, 6),
        **dict.fromkeys(called, Good(save(rgb, "PNG"), rgb)),
    }
    megabytes = zlib.compress(bytes(3 << 20))
    for name, kind, head, position in (
        ("text", b"zTXt", b"prompt\0\0", b"IDAT"),
        ("text_after", b"zTXt", b"prompt\0\0", b"IEND"),
        ("international", b"iTXt", b"prompt\0\1\0\0\0", b"IDAT"),
        ("profile", b"iCCP", b"printer\0\0", b"IDAT"),
    ):
        images[f"long_{name}.png"] = Good(png_with((kind, head + megabytes), before=position), rgb)
    for number in range(1, 9):
        turned, tags = stored(rgb, number), exif(number)
        content = save(turned, "JPEG", quality=95, subsampling=0, exif=tags)
        images[f"exif{number}.jpg"] = Good(content, rgb, 6)
        images[f"exif{number}_.png"] = Good(save(turned, "PNG", exif=tags), rgb)
    return images


def damaged_jpegs() -> Iterator[tuple[str, bytes]]:
    """JPEGs cut off at every tenth of their length, and with 4 KB of noise inside."""
    noise = random.Random(0).randbytes(4096)
    pixels = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)  # of more bytes
    for kind, options in (("baseline", {}), ("progressive", {"progressive": True})):
        whole = save(pixels, "JPEG", quality=90, **options)
        for tenth in range(1, 10):
            yield f"{kind}_cut{tenth}.jpg", whole[: len(whole) * tenth // 10]
        middle = len(whole) // 2
        yield f"{kind}_noise.jpg", whole[:middle] + noise + whole[middle + len(noise) :]
        yield f"{kind}_noise_added.jpg", whole[:middle] + noise + whole[middle:]


def bad_files() -> dict[str, tuple[Callable[[Path], object], str]]:
    """By name: how to make what must be refused, and a part of the reason."""
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"
    written = {name: (content, "") for name, content in damaged_jpegs()} | {
        "bomb.png": (blank_png(30_000, 1, 0, 3750), "too many pixels"),
        "bomb_of_few_bytes.png": (blank_png(30_000, 8, 2, 90_000, rows=30), "too many pixels"),
        "empty.jpg": (b"", "empty"),
        "text.jpg": (b"hello, world", "not a picture"),
        "program.jpg": (program, "not a picture"),
    }
    bad = {name: (partial(Path.write_bytes, data=of), why) for name, (of, why) in written.items()}
    return bad | {
        "folder.jpg": (Path.mkdir, "directory"),
        "dangling.jpg": (lambda path: path.symlink_to("nowhere.jpg"), "No such file"),
        "pipe.jpg": (os.mkfifo, "is no file"),
    }
