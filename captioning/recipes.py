"""What each decoder is trained with unless the user says otherwise, and how it is built from that.

What an argument stands for is said in its help; what is here is which decoder wants what. A value
that the user gives holds for whichever decoder it is.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from captioning.cli import UserError, not_negative, positive_float, positive_int, share

DEFAULTS: dict[str, dict[str, Any]] = {
    "merge": {
        "features": "features.pkl", "learning_rate": 1e-3, "schedule": "cosine", "warmup": 0.05,
        "weight_decay": 0.0, "clip_norm": 0.0, "dropout": 0.5, "output_dropout": 0.0,
        "label_smoothing": 0.0, "tied_embedding": False, "attention_penalty": 0.0, "min_count": 1,
    },
    "attention": {
        "features": "features.h5", "learning_rate": 1e-3, "schedule": "cosine", "warmup": 0.05,
        "weight_decay": 0.01, "clip_norm": 1.0, "dropout": 0.3, "output_dropout": 0.5,
        "label_smoothing": 0.1, "tied_embedding": True, "attention_penalty": 0.3, "min_count": 5,
    },
    "transformer": {
        "features": "features.h5", "learning_rate": 5e-4, "schedule": "cosine", "warmup": 0.05,
        "weight_decay": 0.01, "clip_norm": 1.0, "dropout": 0.3, "output_dropout": 0.0,
        "label_smoothing": 0.1, "tied_embedding": True, "attention_penalty": 0.0, "min_count": 5,
    },
}  # fmt: skip
SETTINGS = tuple(name for name in DEFAULTS["merge"] if name != "features")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--decoder` and the arguments whose defaults go by it."""

    def add(flag: str, help: str, **options) -> None:
        name = flag[2:].replace("-", "_")
        values = [f"{one} {DEFAULTS[one][name]}" for one in DEFAULTS]
        text = f"{help} (default: {', '.join(values)})"
        parser.add_argument(flag, default=argparse.SUPPRESS, help=text, **options)

    parser.add_argument(
        "--decoder",
        choices=tuple(DEFAULTS),
        default="merge",
        help="merge reads one vector a picture; attention, an LSTM, and transformer look at the "
        "grid that 1_data_preprocessor.py --grid writes",
    )
    add("--features", "from 1_data_preprocessor.py")
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
    add("--warmup", "share of the steps in which the cosine schedule goes up", type=share)
    add(
        "--weight-decay",
        "of AdamW, which multiplies it by the learning rate; raise it if the development loss "
        "rises while the training loss falls",
        type=share,
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
        type=share,
    )
    add(
        "--output-dropout",
        "likewise of what the output layer reads; in merge it lowers the development loss, but "
        "BLEU too",
        type=share,
    )
    add(
        "--label-smoothing",
        "share of every target that is spread over all words; the losses that are shown are "
        "without it",
        type=share,
    )
    add(
        "--tied-embedding",
        "one matrix for the word embedding and the output layer",
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
        UserError: an attention penalty for a decoder that has none.
    """
    for name, value in DEFAULTS[args.decoder].items():
        setattr(args, name, getattr(args, name, value))
    if args.attention_penalty and args.decoder != "attention":
        raise UserError(f"--attention-penalty: the {args.decoder} decoder has none; leave it out")


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


def build(args: argparse.Namespace, features, vocabulary, steps: int):
    """A new decoder for these `Features` and this `Vocabulary`, compiled to train for `steps`."""
    import keras

    from captioning.captioners import DECODERS
    from captioning.optimizers import AdamW
    from captioning.training import learning_rate_schedule

    options: dict[str, Any] = {
        "dropout": args.dropout, "output_dropout": args.output_dropout,
        "label_smoothing": args.label_smoothing, "tied": args.tied_embedding,
        "dtype": "mixed_bfloat16" if args.dtype == "bfloat16" else "float32",
    }  # fmt: skip
    if len(features.shape) == 2:
        options["positions"] = features.shape[0]
    if args.decoder == "attention":
        options["penalty"] = args.attention_penalty
    model = DECODERS[args.decoder](
        features.width, vocabulary.words, vocabulary.max_length, vocabulary.text_rules,
        features.info, **options,
    )  # fmt: skip
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
