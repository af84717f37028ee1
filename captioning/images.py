"""Any picture file to RGB pixels, and batches of them decoded ahead of the network."""

import os
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from captioning.cli import UserError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}

# A picture of more pixels than Pillow's limit is skipped by name, not warned about.
warnings.simplefilter("error", Image.DecompressionBombWarning)


class UnreadableImage(UserError):
    """A file that gives no picture; the message says why."""


def to_rgb(image: Image.Image) -> Image.Image:
    """The picture as 8-bit RGB: 16-bit scaled down, transparency laid over white."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        grey = np.asarray(image, dtype=np.float32)
        # 16-bit greys come as 0..65535 in several modes; Pillow's own conversion would clip them.
        grey = grey / 257.0 if grey.max(initial=0) > 255 else grey
        return Image.fromarray(grey.clip(0, 255).round().astype(np.uint8)).convert("RGB")
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def squash(image: Image.Image, size: int) -> Image.Image:
    """The whole picture as a square, bilinear with antialiasing; its proportions are lost."""
    return image.resize((size, size), Image.Resampling.BILINEAR)


def load_rgb(path: str | os.PathLike, size: int | None = None) -> np.ndarray:
    """Read a picture as uint8 RGB (H, W, 3), upright by its EXIF orientation.

    With `size`, the picture is squashed to (size, size, 3), as the original pipeline's
    `load_img(target_size=...)` squashes it. Of an animation, the first frame.

    Raises:
        UnreadableImage: the file is missing, empty, cut off, too large or no picture.
    """
    try:
        with open(path, "rb") as file:
            return decode_rgb(file, str(path), size)
    except OSError as error:
        raise UnreadableImage(f"{path}: {error.strerror or error}") from error


def decode_rgb(
    file: BinaryIO,
    name: str,
    size: int | None = None,
    to_square: Callable[[Image.Image, int], Image.Image] = squash,
) -> np.ndarray:
    """`load_rgb` of an open file, which an `UnreadableImage` calls `name`.

    `to_square` makes a square of `size` from the RGB picture.
    """
    try:
        with Image.open(file) as image:
            if size is not None:
                # Lets the JPEG decoder halve large photographs on the way; no effect on others.
                image.draft("RGB", (2 * size, 2 * size))
            ImageOps.exif_transpose(image, in_place=True)
            image = to_rgb(image)
            return np.asarray(image if size is None else to_square(image, size))
    except UnidentifiedImageError as error:
        empty = file.seek(0, os.SEEK_END) == 0
        reason = "is empty" if empty else "is not a picture that can be read"
        raise UnreadableImage(f"{name}: {reason}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImage(f"{name}: has too many pixels ({error})") from error
    except OSError as error:
        raise UnreadableImage(f"{name}: {error.strerror or error}") from error
    # Pillow's decoders let a few other exceptions out on damaged files.
    except (ValueError, SyntaxError, EOFError, TypeError, IndexError, MemoryError) as error:
        raise UnreadableImage(f"{name}: is damaged ({error})") from error


def list_images(paths: Sequence[str | os.PathLike]) -> list[Path]:
    """Picture files among `paths`; of a folder, those in it by their suffix, sorted by name.

    Raises:
        UserError: a path does not exist, or a folder holds no picture.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            if not inside:
                raise UserError(f"{path}: holds no picture ({', '.join(sorted(SUFFIXES))})")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise UserError(f"{path}: no such file or folder")
    return found


def decode_batches(
    paths: Sequence[Path], size: int, batch_size: int, workers: int = 2
) -> Iterator[tuple[list[Path], np.ndarray, list[UnreadableImage]]]:
    """Yield (paths, uint8 pixels (n, size, size, 3), unreadable) for each `batch_size` of paths.

    Threads decode two batches ahead of the one in use, so that the network does not wait. An
    unreadable file is left out of its batch and reported with it.
    """

    def load(path: Path) -> np.ndarray | UnreadableImage:
        try:
            return load_rgb(path, size)
        except UnreadableImage as error:
            return error

    batches = [paths[i : i + batch_size] for i in range(0, len(paths), batch_size)]
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque = deque()
        try:
            for number, batch in enumerate(batches):
                while len(waiting) < 3 and number + len(waiting) < len(batches):
                    ahead = batches[number + len(waiting)]
                    waiting.append([pool.submit(load, path) for path in ahead])
                results = [future.result() for future in waiting.popleft()]
                good = [not isinstance(result, UnreadableImage) for result in results]
                pixels = [result for result, ok in zip(results, good, strict=True) if ok]
                yield (
                    [path for path, ok in zip(batch, good, strict=True) if ok],
                    np.stack(pixels) if pixels else np.empty((0, size, size, 3), np.uint8),
                    [result for result, ok in zip(results, good, strict=True) if not ok],
                )
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
