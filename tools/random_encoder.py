#!/usr/bin/env python3
"""Random weights: write an encoder that has learned nothing, as the floor of a comparison.

    python tools/random_encoder.py --encoder resnet18 --output random.weights.h5

Its batch normalisation gets the statistics of some images. Without them it would not normalise,
and a comparison would measure that.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from captioning.arguments import shared
from captioning.cli import ArgumentParser, import_keras, report_skipped, run
from captioning.encoders.table import TABLE, build_network, preprocessing_of
from captioning.files import check_writable

BATCH = 100  # images at a time


def parse_arguments():
    parser = ArgumentParser(__doc__.split("\n")[0], epilog="example:" + __doc__.split("\n")[2])
    shared(parser, "--encoder", choices=TABLE, default="resnet18", help="network")
    what = "folders, zips or tars of images, or HDF5 files of uint8 (N, H, W, 3)"
    shared(parser, "--images", metavar="PATH", help=what)
    shared(parser, "--exclude", "--split-seed", "--image-size", "--seed")
    shared(parser, "--limit", default=2000, help="use only the first N images")
    shared(parser, "--output", required=True, help="where to write the weights, .weights.h5")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    check_writable(args.output, ".weights.h5")
    import_keras()
    import numpy as np

    from captioning.datasets import read_split
    from captioning.encoders.networks.batch_norm import estimate_statistics
    from captioning.encoders.weights import save_encoder
    from contrastive.data import load_images

    preprocessing = preprocessing_of(args.encoder).resized(args.image_size)
    exclude = {name for file in args.exclude for name in read_split(file, seed=args.split_seed)}
    images = load_images(args.images, preprocessing.size, limit=args.limit, exclude=exclude)
    report_skipped("unreadable images", images.unreadable)
    parts = np.array_split(images.pixels, max(1, len(images.pixels) // BATCH))
    network = build_network(args.encoder, seed=args.seed)
    estimate_statistics(network, parts)
    recipe = {"encoder": args.encoder, "image_size": preprocessing.size, "seed": args.seed}
    recipe |= {"preprocessing": str(preprocessing), "pictures_seen": 0}
    save_encoder(network, args.output, recipe)
    print(f"{args.output}: random weights, batch statistics of {len(images.pixels)} images")


if __name__ == "__main__":
    run(main)
