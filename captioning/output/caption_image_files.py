"""Any picture to a caption: the encoder that a model records, then its decoder."""

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np

from captioning.cli import UserError, printable
from captioning.decoders.search import generate
from captioning.decoders.search_settings import Search
from captioning.encoders.encoder import Encoder
from captioning.images.reading import UnreadableImage, decode_batches
from captioning.output.captions import Captioned

FEW = 8  # pictures up to which compiling the encoder's graph costs more than it saves
BATCH = 128  # pictures whose captions are searched for together
ENCODED = 16  # of them, those that pass the encoder together; most of the memory is its


def caption_image_files(
    model: keras.Model, encoder: Encoder, paths: Sequence[Path], search: Search, few: int = FEW
) -> Iterator[Captioned | UnreadableImage]:
    """Caption pictures in batches; yield a caption or an error for each, a batch's errors last.

    Up to `few` pass the encoder op by op, more in its compiled graph. A batch is encoded while the
    one before is searched for: the search by itself does not keep two cores busy.
    """
    batches = _encoded(encoder, paths, few, grid=model.grid)
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, batches, None)
        while batch := coming.result():
            coming = thread.submit(next, batches, None)
            read, features, unreadable = batch
            for path, hypothesis in zip(read, generate(model, features, search), strict=True):
                yield Captioned(path, *hypothesis)
            yield from unreadable


def _encoded(encoder: Encoder, paths: Sequence[Path], few: int, *, grid: bool) -> Iterator[tuple]:
    """Batches of pictures that could be read, their features, and the errors of the others."""
    size, square = encoder.preprocessing.size, encoder.preprocessing.square
    batch_size, encoded = min(BATCH, len(paths)), min(ENCODED, len(paths))
    images = [(path, path) for path in paths]
    batches = decode_batches(images, size, batch_size, square_of=lambda path: square)
    for read, pixels, unreadable in batches:
        features = []
        if read and len(paths) <= few:
            features = encoder.encode_few(pixels, grid=grid)
        elif read:
            parts = np.split(pixels, range(encoded, len(pixels), encoded))
            features = np.concatenate([encoder.encode(part, encoded, grid=grid) for part in parts])
        yield read, features, unreadable


def caption_and_print(
    model: keras.Model, encoder: Encoder, paths: Sequence[Path], search: Search
) -> tuple[list[Captioned], list[str]]:
    """Caption pictures, printing each caption with its confidence when it is found.

    Returns:
        The captions, and why there is none of the other pictures.

    Raises:
        UserError: there is none at all.
    """
    results, unreadable = [], []
    for result in caption_image_files(model, encoder, paths, search):
        if isinstance(result, Captioned):
            results.append(result)
            print(f"{printable(result.path)}: {result.caption} ({result.confidence:.2f})")
        else:
            unreadable.append(str(result))
    if not results:
        raise UserError(f"{len(unreadable)} of {len(paths)} pictures failed; {unreadable[0]}")
    return results, unreadable


def check_all_captioned(
    results: Sequence[Captioned], unreadable: Sequence[str], uncopied: Sequence[str] = ()
) -> None:
    """Name the pictures that failed, or have no copy, after what there is has been written.

    Raises:
        UserError: there are some.
    """
    messages = [f"skipped: {message}" for message in unreadable]
    messages += [f"no copy: {message}" for message in uncopied]
    if not messages:
        return
    for message in messages[:-1]:
        print(printable(message), file=sys.stderr)
    summary = f"{len(uncopied)} of {len(results)} captioned pictures have no copy"
    if unreadable:
        count = len(results) + len(unreadable)
        summary = f"{len(unreadable)} of {count} pictures failed; the others have their captions"
    raise UserError(f"{summary}; {messages[-1]}")
