#!/usr/bin/env python3
"""Pretext stage: train an encoder on images without labels, by SimCLR, MoCo or BYOL."""

import sys
from argparse import ArgumentTypeError
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from captioning.arguments import (
    fraction,
    natural,
    not_negative,
    number,
    positive_float,
    positive_int,
    shared,
)
from captioning.cli import ArgumentParser, UserError, import_keras, report_skipped, run
from captioning.encoders.table import trained_by
from contrastive import presets
from contrastive.presets import METHODS, OPTIMIZERS, TABLE


def parse_arguments():
    parser = ArgumentParser(__doc__, epilog="example: python contrastive/main.py --images FOLDER")

    def add(flag: str, help: str, **options) -> None:
        parser.add_argument(flag, help=help, **options)

    add("--method", "pretraining method", choices=METHODS, default="simclr")
    what = "folders, zips or tars of images, or HDF5 files of uint8 (N, H, W, 3)"
    shared(parser, "--images", required=True, default=None, metavar="PATH", help=what)
    shared(parser, "--exclude", "--split-seed")
    what = "use images of NAME, the last part of a path of --images, W times as often as others"
    add("--source-weights", what, nargs="+", type=source_weight, default=[], metavar="NAME=W")
    add("--encoder", "network to train", choices=trained_by("contrastive"), default="resnet18")
    what = "initial weights, a file or a public checkpoint's name; default: random weights"
    shared(parser, "--weights", metavar="FILE_OR_NAME", help=what)
    size = {"type": number(int, least=8, below=2049), "metavar": "PIXELS"}
    add("--image-size", "side of the views; may be raised with --resume", **size, default=64)
    add("--stored-size", "side of the images before cropping; default: 1.5 x --image-size", **size)
    add("--feature-size", "side in feature extraction; default: about 1.75 x --image-size", **size)
    shared(parser, "--epochs", default=100)
    add("--pictures-seen", "images in all, in place of --epochs", type=positive_int, metavar="N")
    what = "images per step, over all devices; default: 256, or less if there are fewer images"
    shared(parser, "--batch-size", type=number(int, least=2), help=what)
    add("--jitter-strength", "colour jitter; default: the paper's", type=not_negative)
    what = "simclr: number of additional views of half the side (multi-crop, arXiv 2006.09882)"
    add("--small-crops", what, type=natural, default=0, metavar="N")
    add("--decoupled", "simclr: decoupled loss (arXiv 2110.06848)", action="store_true")
    add("--optimizer", "default: the paper's", choices=OPTIMIZERS)
    what = "peak; default: the paper's for --batch-size; lower it if the loss does not fall"
    shared(parser, "--learning-rate", help=what)
    add("--weight-decay", "default: the paper's, or 1e-2 for adamw", type=not_negative)
    add("--temperature", "simclr, moco: softmax temperature; default: 0.2", type=positive_float)
    add("--momentum", "moco, byol: momentum encoder; lower in short runs", type=fraction)
    add("--queue-size", "moco: negatives; default: 65536 or fewer", type=positive_int)
    shared(parser, "--dtype", "--seed")
    shared(parser, "--output", default="runs/pretext", metavar="FOLDER", help="for all results")
    shared(parser, "--resume", "--restart", "--save-minutes", "--stop-minutes")
    shared(parser, "--limit", help="quick test: use only the first N images")
    what = "GiB of images to keep in memory; larger sets go to a file in --output during the run"
    add("--memory-limit", what, type=positive_float, default=8)
    add("--probe-images", "folder of captioned images to log a probe on", metavar="FOLDER")
    add("--probe-captions", "captions of --probe-images", metavar="FILE")
    add("--log-pictures", "images a row; default: one epoch", type=positive_int, metavar="N")
    add("--probe-every", "rows between two probes", type=positive_int, default=5)
    args = parser.parse_args()
    if bool(args.probe_images) != bool(args.probe_captions):
        parser.error("--probe-images and --probe-captions go together")
    taken = (*TABLE[args.method].arguments, "small_crops" if args.method == "simclr" else "")
    for name in ("small_crops", "decoupled", "temperature", "momentum", "queue_size"):
        if getattr(args, name) and name not in taken:
            parser.error(f"--{name.replace('_', '-')} is not for --method {args.method}")
    names = [Path(path).name for path in args.images]
    args.source_weights = dict(args.source_weights)
    if unknown := sorted(args.source_weights.keys() - names):
        parser.error(f"--source-weights: '{unknown[0]}' is none of --images: {', '.join(names)}")
    args.images = [path for path in args.images if args.source_weights.get(Path(path).name, 1)]
    if not args.images:
        parser.error("--source-weights: leaves none of --images; give one a weight above 0")
    return args


def source_weight(text: str) -> tuple[str, float]:
    name, equals, weight = text.rpartition("=")
    if not equals:
        raise ArgumentTypeError(f"'{text}' is not NAME=W, such as coco-128.zip=2")
    return name, not_negative(weight)


def main() -> None:
    args = parse_arguments()
    size, output = args.image_size, Path(args.output)
    args.stored_size = args.stored_size or round(1.5 * size)
    # Crops show things larger than whole pictures do.
    args.feature_size = args.feature_size or 16 * round(1.75 * size / 16)
    if args.jitter_strength is None:  # told to the run, which must not change it at a larger size
        args.jitter_strength = presets.paper_jitter(args.method, size)
    import_keras()
    import numpy as np

    from captioning.datasets import read_captions, read_split
    from captioning.distribution import use_all_devices
    from captioning.encoders.loading import load_encoder
    from captioning.encoders.networks.resnet import zero_last_scales
    from captioning.encoders.table import build_network, preprocessing_of
    from captioning.encoders.weights import read_recipe
    from captioning.files import open_run
    from contrastive.data import batches, load_images, record_of
    from contrastive.probe import caption_probe
    from contrastive.training import PretextRun

    world = use_all_devices()
    if world.size > 1 and (args.stop_minutes or args.probe_images):
        raise UserError("--stop-minutes and --probe-images are for one process; leave them out")
    open_run(output, resume=args.resume, restart=args.restart, locks=world.rank == 0)

    # 1. The encoder, its views and the probe: what is wrong with them is said in seconds.
    exclude = {name for file in args.exclude for name in read_split(file, seed=args.split_seed)}
    recipe = {}
    if args.weights:
        initial = load_encoder(args.encoder, args.weights, dtype=args.dtype, seed=args.seed)
        encoder, preprocessing = initial.network, initial.preprocessing
        weights_sha256 = initial.info["weights_sha256"]
        recipe["pictures_seen_before"] = read_recipe(args.weights).get("pictures_seen", 0)
    else:
        encoder = build_network(args.encoder, dtype=args.dtype, seed=args.seed)
        preprocessing, weights_sha256 = preprocessing_of(args.encoder), None
        if args.encoder.startswith("resnet"):
            zero_last_scales(encoder)
    strength = args.jitter_strength
    views = presets.views_for(args.method, size, strength=strength, small_crops=args.small_crops)
    smallest = min(view.size for view in views)
    if args.encoder == "vit_small" and smallest < 16:  # its patches
        raise UserError(f"--image-size {size}: vit_small takes views of 16 pixels, not {smallest}")
    probe = None
    if args.probe_images:
        captions = read_captions(args.probe_captions)
        square = preprocessing.resized(args.feature_size).square
        probe = caption_probe(args.probe_images, captions, args.feature_size, exclude, square)

    # 2. Pictures as uint8 squares.
    spill = output / f"pictures{world.rank or ''}.raw"
    storing = {"memory_limit": args.memory_limit, "spill": spill, "reuse": args.resume}
    pictures = load_images(
        args.images, args.stored_size, limit=args.limit, exclude=exclude, **storing
    )
    report_skipped("unreadable images", pictures.unreadable)
    count = len(pictures.pixels)
    print(f"{count} images")
    weights = None
    if args.source_weights:
        by_path = [args.source_weights.get(Path(path).name, 1.0) for path in args.images]
        weights = np.array(by_path)[pictures.sources]
    batch_size = args.batch_size or (256 if count >= 256 else max(8, count // 16 * 8))
    if batch_size > count:
        raise UserError(f"--batch-size {batch_size} is larger than the {count} pictures; lower it")
    if batch_size % world.devices:
        raise UserError(f"--batch-size {batch_size}: give a multiple of {world.devices} devices")

    # 3. The method around the encoder; train, from the start or from where a run was stopped.
    steps = args.epochs * (count // batch_size)
    if args.pictures_seen:
        steps = max(1, args.pictures_seen // batch_size)
    length = {"batch_size": batch_size, "images": count, "epochs": steps * batch_size / count}
    chosen = presets.settings_for(vars(args), **length)
    print(", ".join(f"{name} {value}" for name, value in chosen.items()))
    names = "encoder stored_size feature_size image_size source_weights small_crops dtype seed"
    settings = {
        **chosen,
        **{name: getattr(args, name) for name in (*names.split(), "jitter_strength")},
        "weights_sha256": weights_sha256,
        "pictures": count,
        "pictures_sha256": pictures.digest,
        "batch_size": batch_size,
        "steps": steps,
    }
    recipe |= settings | {
        "image_size": args.feature_size,
        "view_size": size,
        "preprocessing": str(preprocessing.resized(args.feature_size)),
        "sources": [Path(path).name for path in args.images],
    }
    this_run = PretextRun(
        presets.build_method(settings, encoder, views),
        partial(batches, pictures.pixels, seed=args.seed, weights=weights),
        output,
        settings,
        recipe,
        row_steps=args.log_pictures and max(1, args.log_pictures // batch_size),
        probe=probe,
        probe_every=args.probe_every,
        portion=world[:2],
        save_minutes=args.save_minutes,
        stop_minutes=args.stop_minutes,
    )
    this_run.start(resume=args.resume)
    if 0 < this_run.step < steps:
        print(f"resuming after step {this_run.step} of {steps}")
    this_run.train()
    print(f"{this_run.step} of {steps} steps done")
    if this_run.step >= steps:
        spill.unlink(missing_ok=True)
        record_of(spill).unlink(missing_ok=True)
    if this_run.history and this_run.writes:
        print(f"{output / 'history.png'}: loss by images seen")
        usage = f"1_data_preprocessor.py --encoder {args.encoder} --weights"
        print(f"{this_run.weights_path}: for {usage}")


if __name__ == "__main__":
    run(main)
