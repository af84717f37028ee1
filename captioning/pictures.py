"""Any picture to a caption: the encoder that a model records, then its decoder."""

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np

from captioning.captioners import check_encoder
from captioning.cli import UserError, printable
from captioning.encoders import Encoder, load_encoder
from captioning.files import find_artifact
from captioning.generation import generate
from captioning.images import UnreadableImage, decode_batches
from captioning.report import Captioned

FEW = 8  # pictures up to which compiling the encoder's graph costs more than it saves
BATCH = 32  # pictures whose captions are searched for together
ENCODED = 16  # of them, those that pass the encoder together; most of the memory is its


def encoder_of(
    model: keras.Model,
    model_path: Path,
    name: str | None = None,
    weights: str | None = None,
    *,
    dtype: str = "float32",
) -> Encoder:
    """The encoder that made the features `model` was trained on.

    `name` and `weights` stand in for what the model does not record. A weights file that it
    records by name is looked for beside the model, in the working folder and in `Pre-trained/`.

    Raises:
        UserError: the encoder is not known, its weights are not to be found, or are others.
    """
    record = model.encoder
    name = name or record.get("encoder")
    if name is None:
        raise UserError(
            f"{model_path}: does not record its encoder; give --encoder and --weights "
            f"(its image vectors have {model.feature_size} numbers)"
        )
    recorded = str(record.get("weights") or "")
    seeded = re.fullmatch(r"random, seed (\d+)", recorded)
    in_a_file = record.get("weights_sha256") and recorded != "supervised" and not seeded
    if weights is None and in_a_file:
        beside = model_path.with_name(Path(recorded).name)  # the record may come from a stranger
        weights = beside if beside.is_file() else find_artifact(beside.name)
        if weights is None:
            raise UserError(
                f"{model_path}: was trained on {name} with {recorded}, which is neither beside it, "
                "nor here, nor in Pre-trained/; give --weights"
            )
    seed = int(seeded[1]) if seeded else 0
    wanted = record.get("preprocessing")
    encoder = load_encoder(
        name, weights, seed=seed, dtype=dtype, preprocessing=wanted and str(wanted)
    )
    check_encoder(record, model_path, encoder.info, weights or name)
    if encoder.width != model.feature_size:
        raise UserError(
            f"{name} gives {encoder.width} numbers a picture, but {model_path} takes "
            f"{model.feature_size}; give the --encoder that it was trained on"
        )
    return encoder


def caption_pictures(
    model: keras.Model, encoder: Encoder, paths: Sequence[Path], *, beam_width: int
) -> Iterator[Captioned | UnreadableImage]:
    """Caption pictures in batches; yield a caption or an error for each, a batch's errors last."""
    size, encoded = min(BATCH, len(paths)), min(ENCODED, len(paths))
    square = encoder.preprocessing.square
    for read, pixels, unreadable in decode_batches(
        paths, encoder.preprocessing.size, size, square_of=lambda path: square
    ):
        if read:
            if len(paths) <= FEW:
                features = encoder.encode_few(pixels, grid=model.grid)
            else:
                parts = [
                    encoder.encode(pixels[first : first + encoded], encoded, grid=model.grid)
                    for first in range(0, len(pixels), encoded)
                ]
                features = np.concatenate(parts)
            hypotheses = generate(model, features, beam_width=beam_width)
            for path, found in zip(read, hypotheses, strict=True):
                yield Captioned(path, *found)
        yield from unreadable


def caption_and_print(
    model: keras.Model, encoder: Encoder, paths: Sequence[Path], *, beam_width: int
) -> tuple[list[Captioned], list[str]]:
    """`caption_pictures` for a terminal: print each caption when it is found.

    Returns the captions, and why there is none of the other pictures.

    Raises:
        UserError: there is none at all.
    """
    results, unreadable = [], []
    for result in caption_pictures(model, encoder, paths, beam_width=beam_width):
        if isinstance(result, Captioned):
            results.append(result)
            print(f"{printable(result.path)}: {result.caption}")
        else:
            unreadable.append(str(result))
    if not results:
        raise UserError(f"{len(unreadable)} of {len(paths)} pictures failed; {unreadable[0]}")
    return results, unreadable


def check_all_captioned(results: Sequence[Captioned], unreadable: Sequence[str]) -> None:
    """Name the pictures that failed, after what there is has been written.

    Raises:
        UserError: there are some.
    """
    for message in unreadable[:-1]:
        print(f"skipped: {printable(message)}", file=sys.stderr)
    if unreadable:
        raise UserError(
            f"{len(unreadable)} of {len(results) + len(unreadable)} pictures failed; the others "
            f"have their captions; skipped: {unreadable[-1]}"
        )
