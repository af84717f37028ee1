"""Stage 2's arguments whose defaults go by the decoder, and the decoder that is built from them.

A value that the user gives holds for whichever decoder it is.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from captioning.cli import UserError, fraction, not_negative, positive_float, positive_int
from captioning.decoders.table import DECODERS, TABLE, decoder_class
from captioning.files import artifact_path

_DEFAULTS = {name: None for entry in TABLE.values() for name in entry.defaults}
SETTINGS = tuple(name for name in _DEFAULTS if name != "features")
SAMPLE = 1000  # images whose features tell mean and deviation


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--decoder` and the arguments whose defaults go by it."""

    def add(flag: str, help: str, **options) -> None:
        name = flag[2:].replace("-", "_")
        values = [
            f"{decoder} {entry.defaults[name]}"
            for decoder, entry in TABLE.items()
            if name in entry.defaults
        ]
        text = f"{help} (default: {', '.join(values)})"
        parser.add_argument(flag, default=argparse.SUPPRESS, help=text, **options)

    parser.add_argument(
        "--decoder",
        choices=DECODERS,
        default="merge",
        help="merge reads one vector a picture; attention, an LSTM, and transformer look at the "
        "grid that 1_data_preprocessor.py --grid writes",
    )
    add("--features", "from 1_data_preprocessor.py, here or in Pre-trained/")
    add(
        "--learning-rate",
        "of AdamW at its peak; lower it if the loss does not fall",
        type=positive_float,
    )
    add(
        "--schedule",
        "cosine: up over the first steps, then down to 0 over --epochs; plateau: halved "
        "after every epoch that does not lower the development loss",
        choices=("cosine", "plateau"),
    )
    add("--warmup", "share of the steps in which the cosine schedule goes up", type=fraction)
    add(
        "--weight-decay",
        "of AdamW, which multiplies it by the learning rate; raise it if the development loss "
        "rises while the training loss falls",
        type=fraction,
    )
    add(
        "--clip-norm",
        "longest gradient, longer ones are shortened to it; 0: any. Lower it if the loss jumps",
        type=not_negative,
    )
    add(
        "--dropout",
        "share of image and word vectors, and of each part of a transformer's blocks, zeroed in "
        "training; raise it if the development loss rises early",
        type=fraction,
    )
    add(
        "--output-dropout",
        "likewise of what the output layer reads; in merge it lowers the development loss, but "
        "BLEU too",
        type=fraction,
    )
    add(
        "--label-smoothing",
        "share of every target that is spread over all words; the losses that are shown are "
        "without it",
        type=fraction,
    )
    add(
        "--tied-embedding",
        "one matrix for the word embedding and the output layer",
        action=argparse.BooleanOptionalAction,
    )
    add(
        "--standardise",
        "features lose the mean and deviation of those of training, so that encoders of any scale "
        "can be learned from at one rate; the model keeps both",
        action=argparse.BooleanOptionalAction,
    )
    add(
        "--min-count",
        "words that the training captions have fewer times are neither learned nor said",
        type=positive_int,
    )
    add(
        "--attention-penalty",
        "of attention only: how much it costs not to look everywhere once (the lambda of Show, "
        "Attend and Tell)",
        type=not_negative,
    )


def complete(args: argparse.Namespace) -> None:
    """Fill in what the user left to the decoder.

    Raises:
        UserError: an argument that only another decoder has.
    """
    given = vars(args)
    for name, value in {**_DEFAULTS, **TABLE[args.decoder].defaults}.items():
        if name not in TABLE[args.decoder].defaults and given.get(name):
            flag = name.replace("_", "-")
            raise UserError(f"--{flag}: the {args.decoder} decoder has none; leave it out")
        given.setdefault(name, artifact_path(value) if name == "features" else value)


def settings_path(folder: Path) -> Path:
    """The record of what the model in `folder` is trained with."""
    return folder / "checkpoints" / "training_settings.json"


def trained_setting(folder: Path, name: str, kind: type) -> Any:
    """What the model that was trained into `folder` was trained with; None if it is not known."""
    try:
        value = json.loads(settings_path(folder).read_bytes())[name]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return value if type(value) is kind else None


def build(args: argparse.Namespace, features, train_ids: Sequence[str], vocabulary, steps: int):
    """A new decoder for the `Features` of these images and this `Vocabulary`.

    It is compiled to train for `steps`.
    """
    import keras

    from captioning.training.optimizers import AdamW, learning_rate_schedule

    options: dict[str, Any] = {
        "dropout": args.dropout, "output_dropout": args.output_dropout,
        "label_smoothing": args.label_smoothing, "tied": args.tied_embedding,
        "standardise": args.standardise,
        "dtype": "mixed_bfloat16" if args.dtype == "bfloat16" else "float32",
    }  # fmt: skip
    if len(features.shape) == 2:
        options["positions"] = features.shape[0]
    options |= {own: vars(args)[name] for name, own in TABLE[args.decoder].own.items()}
    model = decoder_class(args.decoder)(
        features.width, vocabulary.words, vocabulary.max_length, vocabulary.text_rules,
        features.info, **options,
    )  # fmt: skip
    model.adapt(features.of(train_ids[:: -(-len(train_ids) // SAMPLE)])[:])
    rate = args.learning_rate
    if args.schedule == "cosine":
        rate = learning_rate_schedule(rate, steps, args.warmup)
    model.compile(
        optimizer=AdamW(
            rate, weight_decay=args.weight_decay, global_clipnorm=args.clip_norm or None
        ),
        jit_compile=keras.backend.backend() != "tensorflow",
    )
    return model
