"""Any picture file to RGB pixels, and batches of them decoded ahead of the network."""

import contextlib
import io
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import ExifTags, Image, ImageChops, PngImagePlugin, UnidentifiedImageError

from captioning.cli import UserError, printable
from captioning.images import jpeg
from captioning.images.folders import HEIC_ADVICE, HEIC_SUFFIXES, SUFFIXES, open_file
from captioning.images.prefetch import prefetch

Key = TypeVar("Key")
ToSquare = Callable[[Image.Image, int], Image.Image]

# The content counts, not the suffix. Pillow reads more, some of it by running other programs.
_FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]
if HEIC_SUFFIXES <= SUFFIXES:  # by a package that is not required
    import pillow_heif

    pillow_heif.register_heif_opener()
    _FORMATS.append("HEIF")

# From Image.MAX_IMAGE_PIXELS on Pillow warns, and of twice as many it refuses; we refuse the first.
warnings.simplefilter("ignore", Image.DecompressionBombWarning)
_LARGE = 1 << 24  # pixels from which on a picture is taken in strips, and one at a time
_one_large = threading.Lock()
_LARGEST_JPEG = 200 << 20  # bytes
# By EXIF's orientation, from 2 on; 1 is upright.
_TURNS = "FLIP_LEFT_RIGHT ROTATE_180 FLIP_TOP_BOTTOM TRANSPOSE ROTATE_270 TRANSVERSE ROTATE_90"
_TURNS = {n: Image.Transpose[name] for n, name in enumerate(_TURNS.split(), start=2)}


class _PngStream(PngImagePlugin.PngStream):
    """Passes over texts and colour profiles beyond Pillow's limits, for which it refuses a picture.

    Image generators and printers write more than a megabyte of them.
    """

    def call(self, cid: bytes, pos: int, length: int) -> bytes:
        try:
            return super().call(cid, pos, length)
        except ValueError:
            if cid not in (b"tEXt", b"zTXt", b"iTXt", b"iCCP"):
                raise
            self.fp.seek(pos)
            return self.fp.read(length)  # for the checksum


PngImagePlugin.PngStream = _PngStream  # by this name Pillow's reader of PNG calls it


class UnreadableImage(UserError):
    """A file that gives no picture; the message says why."""

    key: object  # of the picture, set by `decode_batches`


def squash(image: Image.Image, size: int) -> Image.Image:
    """The whole picture as a square, bilinear with antialiasing; its proportions are lost."""
    return image.resize((size, size), Image.Resampling.BILINEAR)


def load_rgb(
    path: str | os.PathLike,
    size: int | None = None,
    to_square: ToSquare = squash,
    content: bytes | None = None,
) -> np.ndarray:
    """Read a picture as uint8 RGB (H, W, 3), upright by its EXIF orientation.

    With `size`, the picture becomes a square (size, size, 3) by `to_square`. Of an animation, the
    first frame. Where the file's `content` is given, `path` does no more than name it.

    Raises:
        UnreadableImage: the file is missing, empty, cut off, damaged, too large or no picture.
    """
    image = _decode(path, content, least=size and 2 * size)
    return np.asarray(to_square(image, size) if size else image)


def load_thumbnail(path: str | os.PathLike, longest: int) -> Image.Image:
    """A picture as `load_rgb` reads it, shrunk so that its longer side is at most `longest`."""
    image = _decode(path, None, least=2 * longest)
    image.thumbnail((longest, longest))
    return image


def _decode(path: str | os.PathLike, content: bytes | None, least: int | None) -> Image.Image:
    """A picture as upright RGB; a large one may come out shrunk to `least` pixels a side."""
    name = printable(path)
    try:
        with open_file(path) if content is None else io.BytesIO(content) as file:
            start = file.read(12)
            if not start:
                raise OSError("is empty")
            if start.startswith(b"\xff\xd8"):
                wrong = jpeg.damage(start + file.read(_LARGEST_JPEG))
                if wrong:
                    raise OSError(f"is damaged ({wrong})")
            file.seek(0)
            with Image.open(file, formats=_FORMATS) as image:
                pixels = image.width * image.height
                if pixels > Image.MAX_IMAGE_PIXELS:
                    raise Image.DecompressionBombError(f"{image.width} x {image.height}")
                if least is not None:
                    # Lets the JPEG decoder halve large photographs on the way; others stay.
                    image.draft("RGB", (least, least))
                with _one_large if pixels > _LARGE else contextlib.nullcontext():
                    return _upright_rgb(image, least)
    except UnidentifiedImageError as error:
        heic = f"; if it is HEIC, {HEIC_ADVICE}" if start[4:8] == b"ftyp" else ""
        raise UnreadableImage(f"{name}: is not a picture that can be read{heic}") from error
    except Image.DecompressionBombError as error:
        raise UnreadableImage(f"{name}: has too many pixels ({error})") from error
    except OSError as error:
        raise UnreadableImage(f"{name}: {error.strerror or error}") from error
    except Exception as error:  # decoders let out any kind on damaged files
        raise UnreadableImage(f"{name}: is damaged ({error})") from error


def _upright_rgb(image: Image.Image, least: int | None) -> Image.Image:
    """The picture as RGB by its EXIF orientation; a large one may come out shrunk to `least`."""
    image.load()
    try:  # `ImageOps.exif_transpose` fails if any other tag is damaged
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # of any kind, as it is damaged
        turn = None
    scale = _grey_scale(image)
    # Adobe's programs store inks inverted, and say that they wrote the file. Pillow takes every
    # file for one of theirs.
    cmyk_jpeg = image.mode == "CMYK" and image.format in ("JPEG", "MPO")
    if cmyk_jpeg and "adobe" not in image.info:
        image = ImageChops.invert(image)
    if image.width * image.height > _LARGE:
        rgb = _rgb_in_strips(image, scale, least)
    else:
        rgb = _to_rgb(image, scale)
    return rgb.transpose(turn) if turn is not None else rgb


def _rgb_in_strips(image: Image.Image, grey_scale: float | None, least: int | None) -> Image.Image:
    """`_to_rgb`, shrunk by a whole number where more than `least` pixels a side stay.

    Each step of a conversion takes four bytes a pixel; of strips that is little.
    """
    width, height = image.size
    factor = max(1, min(width, height) // least) if least else 1
    rgb = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    rows = factor * max(1, (1 << 20) // (width * factor))
    for top in range(0, height, rows):
        strip = _to_rgb(image.crop((0, top, width, min(top + rows, height))), grey_scale)
        rgb.paste(strip.reduce(factor), (0, top // factor))
    return rgb


def _to_rgb(image: Image.Image, grey_scale: float | None) -> Image.Image:
    """8-bit RGB: deep greys times `grey_scale`, transparency laid over white."""
    if grey_scale is not None:
        grey = np.nan_to_num(np.asarray(image, dtype=np.float32)) * grey_scale
        return Image.fromarray(grey.clip(0, 255).round().astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _grey_scale(image: Image.Image) -> float | None:
    """What takes a grey of more than 8 bits to 0..255; Pillow's own conversion would clip it."""
    if image.mode.startswith("I;16"):
        return 1 / 257
    if image.mode not in ("I", "F"):
        return None
    values = np.asarray(image)
    largest = values.max(initial=0, where=np.isfinite(values))
    if image.mode == "F" and largest <= 1:
        return 255.0
    return 1 / 257 if largest > 255 else 1.0


def decode_batches(
    images: Sequence[tuple[Key, Path]],
    size: int,
    batch_size: int,
    workers: int | None = None,
    square_of: Callable[[Path], ToSquare] = lambda path: squash,
) -> Iterator[tuple[list[Key], np.ndarray, list[UnreadableImage]]]:
    """Yield (keys, uint8 pixels (n, size, size, 3), unreadable) for each `batch_size` of images.

    An image is a key, such as its `image_id`, and its path. Threads, as many as there are cores or
    `workers`, decode two batches ahead. `square_of` says by what each picture becomes a square; it
    is asked in the order of the images.
    """

    def load(job: tuple[Key, Path, ToSquare]) -> tuple[Key, np.ndarray | UnreadableImage]:
        key, path, square = job
        try:
            return key, load_rgb(path, size, square)
        except UnreadableImage as error:
            error.key = key
            return key, error

    jobs = ((key, path, square_of(path)) for key, path in images)
    stream = prefetch(load, jobs, depth=3 * batch_size, workers=workers)
    while batch := list(islice(stream, batch_size)):
        good = [(key, pixels) for key, pixels in batch if isinstance(pixels, np.ndarray)]
        keys, squares = [key for key, _ in good], [pixels for _, pixels in good]
        errors = [error for _, error in batch if isinstance(error, UnreadableImage)]
        yield keys, np.array(squares, np.uint8).reshape(-1, size, size, 3), errors
