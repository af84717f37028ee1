"""Command-line arguments that several scripts share, each declared once.

A script writes `shared(parser, "--seed", "--limit")`; keyword arguments change what `add_argument`
is given: `shared(parser, "--seed", help="random seed of the order and the weights")`.
"""

import argparse
import math
from collections.abc import Callable

from captioning.files import artifact_path

IMAGES, TEXT = "data/flickr8k/Flicker8k_Dataset", "data/flickr8k/Flickr8k_text"
CAPTIONS, SPLITS = f"{TEXT}/Flickr8k.token.txt", f"{TEXT}/Flickr_8k"


def number(
    kind: type[int] | type[float],
    least: float = -math.inf,
    above: float = -math.inf,
    below: float = math.inf,
) -> Callable[[str], int | float]:
    """An argparse type: a finite number of `kind`, at least `least`, above `above`, below `below`.

    Raises (the function that it returns):
        ValueError: the text is no number of that kind.
        argparse.ArgumentTypeError: the number is not within the bounds.
    """
    bounds = ((least, "at least"), (above, "above"), (below, "below"))
    wanted = " and ".join(f"{word} {bound}" for bound, word in bounds if math.isfinite(bound))
    noun = "a whole number" if kind is int else "a number"

    def parse(text: str) -> int | float:
        value = kind(text)
        if not (least <= value and above < value < below):  # false for what is not a number
            raise argparse.ArgumentTypeError(f"'{text}' is not {noun} {wanted}")
        return value

    parse.__name__ = kind.__name__  # argparse says "invalid int value"
    return parse


positive_int = number(int, least=1)
natural = number(int, least=0)
seed = number(int, least=0, below=2**32)
positive_float = number(float, above=0)
not_negative = number(float, least=0)
fraction = number(float, least=0, below=1)


def shard(text: str) -> tuple[int, int]:
    """An argparse type: `I/N` as a part and the number of parts, counted from 1."""
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"must be I/N, from 1/N to N/N: {text!r}")
    return int(number), int(count)


DTYPES = ("float32", "bfloat16")
_SPLIT = "a file of names or captions, or FILE:train (:dev, :test); see docs/inputs.md"


def _several(metavar: str, default: str, help: str) -> dict:
    return dict(nargs="+", default=[default], metavar=metavar, help=help)


SHARED = {
    "--images": _several("FOLDER", IMAGES, "folders of images, one a data set"),
    "--captions": _several("FILE", CAPTIONS, "captions of each: a token file, a csv or a JSON"),
    "--dataset": dict(default="auto", help="format of --captions; auto detects it"),
    "--descriptions": dict(default=artifact_path("descriptions.txt"), help="cleaned captions"),
    "--train-split": _several("SPLIT", f"{SPLITS}.trainImages.txt", f"training images: {_SPLIT}"),
    "--dev-split": _several("SPLIT", f"{SPLITS}.devImages.txt", "images that choose the epoch"),
    "--split": _several("SPLIT", f"{SPLITS}.devImages.txt", f"images to score: {_SPLIT}"),
    "--split-seed": dict(type=seed, default=0, help="seed of random splits, for all scripts alike"),
    "--repeat": dict(nargs="+", type=positive_int, metavar="N", help="times an epoch sees a split"),
    "--exclude": dict(nargs="+", default=[], metavar="FILE", help="splits of images to leave out"),
    "--model": dict(help="default: checkpoints/best_model.keras, else the one in Pre-trained/"),
    "--tokenizer": dict(help="of an .h5 model; default: tokenizer.pkl, here or in Pre-trained/"),
    "--features": dict(help="default: features.pkl or .h5, here or in Pre-trained/"),
    "--encoder": dict(help="default: the encoder named in the model"),
    "--weights": dict(help="encoder weights, if those named in the model are not found"),
    "--epochs": dict(type=positive_int, help="passes over the training images"),
    "--batch-size": dict(type=positive_int, help="images per step"),
    "--image-size": dict(type=positive_int, metavar="PIXELS", help="default: the encoder's"),
    "--learning-rate": dict(type=positive_float, help="peak; lower it if the loss does not fall"),
    "--dtype": dict(choices=DTYPES, default=DTYPES[0], help="bfloat16 is faster on some CPUs"),
    "--workers": dict(type=positive_int, help="threads that read images; default: one per core"),
    "--seed": dict(type=seed, default=0, help="random seed of weights, dropout and order"),
    "--limit": dict(type=positive_int, metavar="N", help="quick test: N images of each split"),
    "--output-dir": dict(default=".", metavar="FOLDER", help="where to write the results"),
    "--output": dict(metavar="FILE", help="where to write the results"),
    "--resume": dict(action="store_true", help="continue an interrupted run"),
    "--restart": dict(action="store_true", help="discard the run in the folder and start again"),
    "--save-minutes": dict(type=positive_float, default=10, help="save the state this often"),
    "--stop-minutes": dict(type=positive_float, help="stop after this time; --resume continues"),
}


def shared(parser: argparse.ArgumentParser, *flags: str, **changes) -> None:
    """Add these of `SHARED`, with what `changes` says instead."""
    for flag in flags:
        parser.add_argument(flag, **{**SHARED[flag], **changes})
