"""Any picture file to RGB pixels, and batches of them decoded ahead of the network."""

import contextlib
import os
import stat
import struct
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageChops, UnidentifiedImageError

from captioning.cli import UserError, printable
from captioning.images import jpeg
from captioning.images.ahead import ahead

# The content counts, not the suffix. Pillow reads more, some of it by running other programs.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

# Pillow warns from this many pixels on and refuses twice as many; here the first is refused, too.
_MOST_PIXELS = Image.MAX_IMAGE_PIXELS
warnings.simplefilter("ignore", Image.DecompressionBombWarning)
_LARGE = 1 << 24  # pixels from which on a picture is taken in strips, and one at a time
_one_large = threading.Lock()
_LARGEST_JPEG = 200 << 20  # bytes
_TURNS = dict(enumerate(  # by EXIF's orientation, from 2 on; 1 is upright
    (
        Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180,
        Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270,
        Image.Transpose.TRANSVERSE, Image.Transpose.ROTATE_90,
    ), start=2,
))  # fmt: skip
# What Pillow's decoders and its reader of EXIF let out on damaged files, besides OSError.
_DAMAGE = (
    ValueError, SyntaxError, EOFError, TypeError, LookupError, AttributeError, MemoryError,
    struct.error,
)  # fmt: skip


class UnreadableImage(UserError):
    """A file that gives no picture; the message says why."""

    path: Path  # set by `decode_batches`


def squash(image: Image.Image, size: int) -> Image.Image:
    """The whole picture as a square, bilinear with antialiasing; its proportions are lost."""
    return image.resize((size, size), Image.Resampling.BILINEAR)


def load_rgb(
    path: str | os.PathLike,
    size: int | None = None,
    to_square: Callable[[Image.Image, int], Image.Image] = squash,
) -> np.ndarray:
    """Read a picture as uint8 RGB (H, W, 3), upright by its EXIF orientation.

    With `size`, the picture becomes a square (size, size, 3) by `to_square`; by default it is
    squashed, as the original pipeline's `load_img(target_size=...)` does. Of an animation, the
    first frame.

    Raises:
        UnreadableImage: the file is missing, empty, cut off, damaged, too large or no picture.
    """
    with _open(path) as file:
        return decode_rgb(file, printable(path), size, to_square)


def decode_rgb(
    file: BinaryIO,
    name: str,
    size: int | None = None,
    to_square: Callable[[Image.Image, int], Image.Image] = squash,
) -> np.ndarray:
    """`load_rgb` of an open file, which an `UnreadableImage` calls `name`.

    `to_square` makes a square of `size` from the RGB picture.
    """
    if size is None:
        return np.asarray(_decode(file, name, None, lambda image: image))
    return np.asarray(_decode(file, name, 2 * size, lambda image: to_square(image, size)))


def load_thumbnail(path: str | os.PathLike, longest: int) -> Image.Image:
    """A picture as `load_rgb` reads it, shrunk so that its longer side is at most `longest`."""

    def shrink(image: Image.Image) -> Image.Image:
        image.thumbnail((longest, longest))
        return image

    with _open(path) as file:
        return _decode(file, printable(path), 2 * longest, shrink)


@contextlib.contextmanager
def _open(path: str | os.PathLike) -> Iterator[BinaryIO]:
    try:
        # Opening a pipe would wait for somebody to write into it.
        if not stat.S_ISREG(os.stat(path).st_mode) and not os.path.isdir(path):
            raise UnreadableImage(f"{printable(path)}: is no file")
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise UnreadableImage(f"{printable(path)}: {error.strerror or error}") from error


def _decode(
    file: BinaryIO, name: str, least: int | None, finish: Callable[[Image.Image], Image.Image]
) -> Image.Image:
    """An open file as upright RGB, of which `finish` needs no more than `least` pixels a side."""
    try:
        if file.read(2) == b"\xff\xd8":
            wrong = jpeg.damage(b"\xff\xd8" + file.read(_LARGEST_JPEG))
            if wrong:
                raise UnreadableImage(f"{name}: is damaged ({wrong})")
        file.seek(0)
        with Image.open(file, formats=_FORMATS) as image:
            pixels = image.width * image.height
            if pixels > _MOST_PIXELS:
                raise Image.DecompressionBombError(f"{image.width} x {image.height}")
            if least is not None:
                # Lets the JPEG decoder halve large photographs on the way; no effect on others.
                image.draft("RGB", (least, least))
            with _one_large if pixels > _LARGE else contextlib.nullcontext():
                image = _upright_rgb(image, least)
            return finish(image)
    except UnidentifiedImageError as error:
        empty = file.seek(0, os.SEEK_END) == 0
        reason = "is empty" if empty else "is not a picture that can be read"
        raise UnreadableImage(f"{name}: {reason}") from error
    except Image.DecompressionBombError as error:
        raise UnreadableImage(f"{name}: has too many pixels ({error})") from error
    except OSError as error:
        raise UnreadableImage(f"{name}: {error.strerror or error}") from error
    except _DAMAGE as error:
        raise UnreadableImage(f"{name}: is damaged ({error})") from error


def _upright_rgb(image: Image.Image, least: int | None) -> Image.Image:
    """The picture as RGB by its EXIF orientation; a large one may come out shrunk to `least`.

    Each step of a conversion takes four bytes a pixel. A large picture is taken in strips, each
    shrunk by whole numbers right away, so that it lies in memory once.
    """
    image.load()
    turn = _turn(image)
    scale = _grey_scale(image)
    # Adobe's programs store inks inverted, and say that they wrote the file. Pillow takes every
    # file for one of theirs.
    inks = image.mode == "CMYK" and image.format in ("JPEG", "MPO")
    inverted = inks and "adobe" not in image.info
    if image.width * image.height <= _LARGE:
        rgb = _to_rgb(ImageChops.invert(image) if inverted else image, scale)
        return rgb.transpose(turn) if turn is not None else rgb

    width, height = image.size
    factor = max(1, min(width, height) // least) if least else 1
    rgb = Image.new("RGB", (-(-width // factor), -(-height // factor)))
    rows = factor * max(1, (1 << 20) // (width * factor))
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        strip = _to_rgb(ImageChops.invert(strip) if inverted else strip, scale)
        rgb.paste(strip.reduce(factor), (0, top // factor))
    return rgb.transpose(turn) if turn is not None else rgb


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What makes the picture upright by its EXIF, of which no other part has to be whole.

    `ImageOps.exif_transpose` writes all of it anew, and fails on a tag that has another type.
    """
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except (OSError, *_DAMAGE):
        return None


def _to_rgb(image: Image.Image, grey_scale: float) -> Image.Image:
    """8-bit RGB: deep greys times `grey_scale`, transparency laid over white."""
    if _is_deep_grey(image):
        grey = np.nan_to_num(np.asarray(image, dtype=np.float32)) * grey_scale
        return Image.fromarray(grey.clip(0, 255).round().astype(np.uint8)).convert("RGB")
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _is_deep_grey(image: Image.Image) -> bool:
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def _grey_scale(image: Image.Image) -> float:
    """What takes a grey of more than 8 bits to 0..255; Pillow's own conversion would clip it."""
    if not _is_deep_grey(image):
        return 1.0
    largest = 65535 if image.mode.startswith("I;16") else image.getextrema()[1]
    if image.mode == "F" and largest <= 1:
        return 255.0
    return 1 / 257 if largest > 255 else 1.0


def decode_batches(
    paths: Sequence[Path],
    size: int,
    batch_size: int,
    workers: int | None = None,
    square_of: Callable[[Path], Callable[[Image.Image, int], Image.Image]] = lambda path: squash,
) -> Iterator[tuple[list[Path], np.ndarray, list[UnreadableImage]]]:
    """Yield (paths, uint8 pixels (n, size, size, 3), unreadable) for each `batch_size` of paths.

    Threads, as many as there are cores or `workers`, decode two batches ahead of the one in use. An
    unreadable file is left out of its batch and reported with it. `square_of` says by what each
    picture becomes a square; it is asked in the order of the paths.
    """

    def load(job: tuple[Path, Callable]) -> np.ndarray | UnreadableImage:
        path, square = job
        try:
            return load_rgb(path, size, square)
        except UnreadableImage as error:
            error.path = path
            return error

    jobs = ((path, square_of(path)) for path in paths)
    stream = ahead(load, jobs, depth=3 * batch_size, workers=workers)
    for first in range(0, len(paths), batch_size):
        batch = paths[first : first + batch_size]
        results = list(islice(stream, len(batch)))
        good = [not isinstance(result, UnreadableImage) for result in results]
        pixels = [result for result, ok in zip(results, good, strict=True) if ok]
        yield (
            [path for path, ok in zip(batch, good, strict=True) if ok],
            np.stack(pixels) if pixels else np.empty((0, size, size, 3), np.uint8),
            [result for result, ok in zip(results, good, strict=True) if not ok],
        )
