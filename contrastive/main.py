#!/usr/bin/env python3
"""Pretext stage: photographs without labels to an encoder's weights, by SimCLR, MoCo or BYOL."""

import sys
from argparse import ArgumentTypeError
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from captioning.cli import (
    ArgumentParser,
    UserError,
    fraction,
    import_keras,
    not_negative,
    positive_float,
    positive_int,
    run,
    seed,
)
from captioning.encoders.table import trained_by
from contrastive.presets import METHODS, OPTIMIZERS

PAPER = (
    "lars at 0.075 x sqrt(batch) for simclr (arXiv 2002.05709), sgd at 0.03 x batch / 256 for moco "
    "(2003.04297), lars at 0.45 (100 epochs) to 0.2 (1,000) x batch / 256 for byol (2006.07733)"
)


def parse_arguments():
    parser = ArgumentParser(__doc__)
    add = parser.add_argument
    add("--method", choices=METHODS, default="simclr", help="the pretext task")
    add(
        "--images", nargs="+", required=True, metavar="PATH",
        help="folders, zips or tars of pictures, or HDF5 files of uint8 (N, H, W, 3)",
    )  # fmt: skip
    add(
        "--exclude",
        nargs="+",
        default=[],
        metavar="FILE",
        help="split files whose pictures are left out of --images, such as a development split",
    )
    add(
        "--source-weights", nargs="+", default=[], metavar="NAME=W",
        help="how often pictures of one of --images come, those of others once: the last part "
        "of its path, and a number, such as Flicker8k_Dataset=3; 0 leaves it out",
    )  # fmt: skip
    add("--encoder", choices=trained_by("contrastive"), default="resnet18", help="what is trained")
    add(
        "--weights", metavar="FILE_OR_NAME",
        help="go on from an encoder that has learned already: of an earlier run whose state is "
        "gone, or a public checkpoint; default: from random weights",
    )  # fmt: skip
    add(
        "--image-size", type=positive_int, default=64,
        help="side of the views in pixels; may be raised on the way, with --resume and the same "
        "--stored-size and --feature-size",
    )  # fmt: skip
    add(
        "--stored-size", type=positive_int,
        help="side of the pictures that views are cropped from; default: 1.5 x --image-size",
    )  # fmt: skip
    add(
        "--feature-size", type=positive_int,
        help="side of the pictures that features are taken from later; default: about "
        "1.75 x --image-size, because crops show things larger than whole pictures do",
    )  # fmt: skip
    add("--epochs", type=positive_int, default=100, help="the learning rate falls to 0 over them")
    add(
        "--pictures-seen", type=positive_int,
        help="length of the run in pictures, instead of --epochs. A run on its way may be made "
        "longer or shorter with --resume: the learning rate follows",
    )  # fmt: skip
    add("--batch-size", type=positive_int, default=256, help="pictures a step, over all devices")
    add(
        "--jitter-strength", type=not_negative,
        help="factor of the colour jitter; default: the paper's, for simclr with views up to 64 px "
        "0.5, else 1",
    )  # fmt: skip
    add(
        "--small-crops", type=positive_int, default=0,
        help="simclr: so many more views of half the side and a small part of the picture "
        "(multi-crop, 2006.09882), which cost little; the two others are of larger parts then",
    )  # fmt: skip
    add(
        "--decoupled", action="store_true",
        help="simclr: leave a view's own picture out of the denominator of the loss (decoupled "
        "contrastive loss, 2110.06848), which is made for small batches",
    )  # fmt: skip
    add("--optimizer", choices=OPTIMIZERS, help="default: the paper's; " + PAPER)
    add(
        "--learning-rate", type=positive_float,
        help="at its peak, default: the paper's scaled to --batch-size, or 1e-3 x "
        "sqrt(batch / 256) for adamw. Lower it if the loss does not fall",
    )  # fmt: skip
    add("--weight-decay", type=not_negative, help="default: the paper's, or 1e-2 for adamw")
    add(
        "--temperature", type=positive_float, default=0.2,
        help="of the similarities in simclr and moco; a lower one looks harder at the most similar "
        "pictures, and wants larger batches",
    )  # fmt: skip
    add(
        "--momentum", type=fraction,
        help="of the momentum encoder (moco, default 0.999) or the target network (byol, 0.97 "
        "to 0.996 by --epochs, rising to 1); lower it in short runs",
    )  # fmt: skip
    add(
        "--queue-size", type=positive_int,
        help="moco's negatives; default: 65536, but at most a quarter of the pictures",
    )  # fmt: skip
    add(
        "--dtype", choices=("float32", "bfloat16"), default="float32",
        help="bfloat16 computes faster where the processor has it; weights stay float32",
    )  # fmt: skip
    add("--seed", type=seed, default=0, help="of weights, order and views")
    add("--output", default="runs/pretext", help="folder of the state, history and weights")
    add("--resume", action="store_true", help="go on with the run in --output, if there is one")
    add("--limit", type=positive_int, help="use only the first N pictures, for a try")
    add("--save-minutes", type=positive_float, default=10, help="save the state as often, too")
    add("--stop-minutes", type=positive_float, help="stop after so long; --resume goes on")
    add(
        "--memory-limit", type=positive_float, default=8,
        help="GiB of pictures to hold in memory; more are streamed from pictures.npy in --output, "
        "which is removed when the run has ended",
    )  # fmt: skip
    add(
        "--probe-images",
        help="folder of captioned pictures: the share of the variance of their captions' 300 "
        "commonest words is logged that a ridge regression on the features explains, on those of "
        "--exclude if it names some, else on every fourth",
    )  # fmt: skip
    add("--probe-captions", help="their captions file; without both, the classes that --images' "
        "subfolders name are probed, if there are any")  # fmt: skip
    add(
        "--log-pictures", type=positive_int,
        help="pictures between two rows of the history; default: all once",
    )  # fmt: skip
    add("--probe-every", type=positive_int, default=5, help="rows between two probes")
    args = parser.parse_args()
    if bool(args.probe_images) != bool(args.probe_captions):
        parser.error("--probe-images and --probe-captions go together")
    if args.batch_size < 2:
        parser.error("--batch-size 1: a picture is told from the others of its batch; give more")
    if args.small_crops and args.method != "simclr":
        parser.error(f"--small-crops: {args.method} takes two views; leave it out")
    args.source_weights = source_weights(parser, args.source_weights, args.images)
    args.images = [path for path in args.images if args.source_weights.get(Path(path).name, 1)]
    if not args.images:
        parser.error("--source-weights: leaves none of --images; give one a weight above 0")
    if args.decoupled and args.method != "simclr":
        parser.error(f"--decoupled: is a loss of simclr, not of {args.method}; leave it out")
    return args


def source_weights(
    parser: ArgumentParser, texts: Sequence[str], paths: Sequence[str]
) -> dict[str, float]:
    """The weight of each source that `NAME=W` names; refuses names that no path has."""
    names, weights = {Path(path).name for path in paths}, {}
    for text in texts:
        name, _, weight = text.rpartition("=")
        if name not in names:
            parser.error(
                f"--source-weights {text}: is none of --images: {', '.join(sorted(names))}"
            )
        try:
            weights[name] = not_negative(weight)
        except ArgumentTypeError as error:
            parser.error(f"--source-weights {text}: {error}")
    return weights


def main() -> None:
    args = parse_arguments()
    size = args.image_size
    stored_size = args.stored_size or round(1.5 * size)
    feature_size = args.feature_size or 16 * round(1.75 * size / 16)
    output = Path(args.output)

    # 1. Pictures as uint8 squares.
    import_keras()
    import numpy as np

    from captioning.datasets import read_captions, read_split
    from captioning.distribution import use_all_devices
    from captioning.files import hold
    from contrastive.data import load_pictures, record_of

    share = use_all_devices()
    if args.batch_size % share.devices:
        raise UserError(
            f"--batch-size {args.batch_size} does not divide among {share.devices} devices; "
            f"make it a multiple of {share.devices}"
        )
    if share.processes > 1 and args.stop_minutes:
        raise UserError("--stop-minutes is for one process: several would stop at odds")
    output.mkdir(parents=True, exist_ok=True)
    if share.process == 0:
        hold(output)
    spill = output / f"pictures{share.process or ''}.npy"
    exclude = {name for file in args.exclude for name in read_split(file)}
    pictures = load_pictures(
        args.images, stored_size, limit=args.limit, exclude=exclude,
        memory_limit=args.memory_limit,
        spill=spill, reuse=args.resume,
    )  # fmt: skip
    for message in pictures.unreadable[:10]:
        print(f"skipped: {message}", file=sys.stderr)
    print(f"{len(pictures.pixels)} pictures, {len(pictures.unreadable)} unreadable ones skipped")
    if args.batch_size > len(pictures.pixels):
        raise UserError(
            f"--batch-size {args.batch_size} is larger than the {len(pictures.pixels)} pictures; "
            "lower it"
        )
    count = len(pictures.pixels)
    weights = None
    if args.source_weights:
        by_path = [args.source_weights.get(Path(path).name, 1.0) for path in args.images]
        weights = np.array(by_path)[pictures.sources]
    steps = args.epochs * (count // args.batch_size)
    if args.pictures_seen:
        steps = max(1, args.pictures_seen // args.batch_size)

    # 2. The method around the encoder.
    from captioning.encoders.loading import load_encoder
    from captioning.encoders.networks.resnet import zero_last_scales
    from captioning.encoders.table import build_network, preprocessing_of
    from captioning.encoders.weights import read_recipe
    from contrastive import presets, training
    from contrastive.methods import build_method
    from contrastive.probe import ClassProbe, caption_probe

    chosen = presets.settings_for(
        args.method, batch_size=args.batch_size, pictures=count,
        epochs=steps * args.batch_size / count, optimizer=args.optimizer,
        learning_rate=args.learning_rate, weight_decay=args.weight_decay,
        temperature=args.temperature, momentum=args.momentum, queue_size=args.queue_size,
        decoupled=args.decoupled,
    )  # fmt: skip
    print(", ".join(f"{name} {value}" for name, value in chosen._asdict().items()))
    if args.weights:
        begun = load_encoder(args.encoder, args.weights, dtype=args.dtype, seed=args.seed)
        encoder, preprocessing = begun.network, begun.preprocessing
        begun_from = begun.info["weights_sha256"]
        seen_before = read_recipe(args.weights).get("pictures_seen", 0)
    else:
        encoder = build_network(args.encoder, dtype=args.dtype, seed=args.seed)
        preprocessing, begun_from, seen_before = preprocessing_of(args.encoder), None, 0
        if args.encoder.startswith("resnet"):
            zero_last_scales(encoder)
    views = presets.views_for(
        args.method, size, strength=args.jitter_strength, small_crops=args.small_crops
    )
    model = build_method(
        chosen, encoder, views, steps=steps, batch_size=args.batch_size, seed=args.seed
    )

    probe = None
    if share.processes > 1:
        pass  # a probe is computed by one
    elif args.probe_images:
        captions = read_captions(args.probe_captions)
        probe = caption_probe(args.probe_images, captions, feature_size, exclude)
    elif len(pictures.classes) > 1:
        probe = ClassProbe(pictures.pixels, pictures.labels)

    # 3. Train, from the start or from where a run was stopped.
    settings = {
        **chosen._asdict(), "weights_sha256": begun_from, "encoder": args.encoder,
        "image_size": size, "stored_size": stored_size, "pictures": count,
        "pictures_sha256": pictures.digest,
        "source_weights": args.source_weights,
        "small_crops": args.small_crops, "jitter_strength": args.jitter_strength,
        "batch_size": args.batch_size, "dtype": args.dtype, "seed": args.seed, "steps": steps,
    }  # fmt: skip
    recipe = {**settings, "image_size": feature_size, "view_size": size,
              "pictures_seen_before": seen_before,
              "preprocessing": str(preprocessing.resized(feature_size)),
              "sources": [Path(path).name for path in args.images]}  # fmt: skip
    name = f"{args.encoder}-{args.method}.weights.h5"
    this_run = training.PretextRun(
        model, pictures.pixels, output, settings, recipe, name,
        row_steps=args.log_pictures and max(1, args.log_pictures // args.batch_size),
        probe=probe, probe_every=args.probe_every, portion=share[:2], picture_weights=weights,
        save_minutes=args.save_minutes, stop_minutes=args.stop_minutes,
    )  # fmt: skip
    this_run.start(resume=args.resume)
    if this_run.step:
        print(f"goes on after step {this_run.step} of {steps}")
    this_run.train()
    print(f"{this_run.step} of {steps} steps done")
    if this_run.step >= steps:
        for path in (spill, record_of(spill)):
            path.unlink(missing_ok=True)
    if this_run.history:
        print(training.summary(this_run.history))
        print(f"{output / name}: for 1_data_preprocessor.py --encoder {args.encoder} --weights")


if __name__ == "__main__":
    run(main)
