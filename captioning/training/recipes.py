"""Stage 2's arguments whose defaults go by the decoder, and the decoder that is built from them."""

import argparse
from pathlib import Path

from captioning.arguments import fraction, not_negative, positive_float, positive_int
from captioning.cli import UserError
from captioning.decoders.table import DECODERS, TABLE, decoder_class
from captioning.files import artifact_path

SAMPLE = 1000  # images whose features tell mean and std
FLAG = {"action": argparse.BooleanOptionalAction}
ARGUMENTS = {  # what argparse is told: a type, choices or a flag; and the help
    "features": (str, "features from 1_data_preprocessor.py, here or in Pre-trained/"),
    "learning_rate": (positive_float, "peak learning rate; lower it if the loss does not fall"),
    "schedule": (("cosine", "plateau"), "the rate falls to 0, or is halved on a plateau"),
    "warmup": (fraction, "warm-up of the cosine schedule, as a share of all steps"),
    "weight_decay": (fraction, "of AdamW; raise it if only the development loss rises"),
    "clip_norm": (not_negative, "maximum gradient norm; lower it if the loss jumps; 0: none"),
    "dropout": (fraction, "dropout rate; raise it if the development loss rises early"),
    "output_dropout": (fraction, "dropout before the output layer; in merge it lowers BLEU"),
    "label_smoothing": (fraction, "share of the target probability spread over all words"),
    "tied_embedding": (FLAG, "use one matrix for word embedding and output layer"),
    "normalize": (FLAG, "scale features by the mean and std of those of training"),
    "min_count": (positive_int, "leave out words that occur fewer times in the training captions"),
    "attention_penalty": (not_negative, "weight of attention's doubly stochastic penalty"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--decoder` and the arguments whose defaults go by it."""
    what = "merge reads one vector per image; attention (an LSTM) and transformer read the grids "
    what += "that 1_data_preprocessor.py --grid writes"
    parser.add_argument("--decoder", choices=DECODERS, default="merge", help=what)
    for name, (kind, what) in ARGUMENTS.items():
        values = {decoder: entry.defaults.get(name) for decoder, entry in TABLE.items()}
        listed = ", ".join(f"{decoder} {v}" for decoder, v in values.items() if v is not None)
        options = {"choices": kind} if isinstance(kind, tuple) else {"type": kind}
        options = kind if kind is FLAG else options
        text = f"{what} (default: {listed})"
        parser.add_argument(f"--{name.replace('_', '-')}", **options, help=text)


def complete(args: argparse.Namespace) -> None:
    """Fill in what the user left to the decoder.

    Raises:
        UserError: an argument that only another decoder has.
    """
    defaults = TABLE[args.decoder].defaults
    for name in ARGUMENTS:
        if name not in defaults and getattr(args, name):
            flag = name.replace("_", "-")
            raise UserError(f"--{flag}: the {args.decoder} decoder has none; leave it out")
        if name in defaults and getattr(args, name) is None:
            value = defaults[name]
            setattr(args, name, artifact_path(value) if name == "features" else value)


def settings_path(folder: Path) -> Path:
    """The record of what the model in `folder` is trained with."""
    return folder / "checkpoints" / "training_settings.json"


def build(args: argparse.Namespace, data, steps: int):
    """A new decoder for this `TrainingData`, compiled to train for `steps`."""
    import keras

    from captioning.decoders.expected_words import sizes_for
    from captioning.training.optimizers import AdamW, learning_rate_schedule

    features, vocabulary = data.source, data.vocabulary
    options = {own: vars(args)[name] for name, own in TABLE[args.decoder].own.items()}
    if len(features.shape) == 2:
        options["positions"] = features.shape[0]
    model = decoder_class(args.decoder)(
        features.shape[-1],
        vocabulary.words,
        vocabulary.max_length,
        vocabulary.text_rules,
        features.info,
        dropout=args.dropout,
        output_dropout=args.output_dropout,
        label_smoothing=args.label_smoothing,
        tied=args.tied_embedding,
        normalize=args.normalize,
        expected_sizes=sizes_for(len(data.repeats), features.shape[-1], vocabulary),
        dtype="mixed_bfloat16" if args.dtype == "bfloat16" else "float32",
        **options,
    )
    rate = args.learning_rate
    if args.schedule == "cosine":
        rate = learning_rate_schedule(rate, steps, args.warmup)
    model.compile(
        AdamW(rate, args.weight_decay, global_clipnorm=args.clip_norm or None),
        jit_compile=keras.backend.backend() != "tensorflow",
    )
    return model


def fit_to_features(model, data) -> None:
    """What a new decoder of `build` takes from its training images before the first epoch."""
    features, train_ids = data.source, list(data.repeats)
    model.adapt(features.of(train_ids[:: -(-len(train_ids) // SAMPLE)])[:])
    model.expected_words.fit(features, data.descriptions, train_ids, data.vocabulary)
