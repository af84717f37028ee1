#!/usr/bin/env python3
"""Random weights: write an encoder that has learned nothing, as the floor of a comparison.

    python tools/random_encoder.py --encoder resnet18 --output random.weights.h5

Its batch normalisation gets the statistics of some images. Without them it would not normalise,
and a comparison would measure that.
"""

import sys
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from captioning.arguments import positive_int, shared
from captioning.cli import ArgumentParser, UserError, import_keras, run
from captioning.encoders.table import TABLE, build_network, preprocessing_of

BATCH = 100  # images at a time


def parse_arguments():
    parser = ArgumentParser(__doc__.split("\n")[0], epilog="example:" + __doc__.split("\n")[2])
    shared(parser, "--encoder", choices=TABLE, default="resnet18", help="network")
    what = "folders, zips or tars of images, or HDF5 files of uint8 (N, H, W, 3)"
    shared(parser, "--images", metavar="PATH", help=what)
    shared(parser, "--exclude", "--seed")
    shared(parser, "--limit", default=2000, help="use only the first N images")
    what = "default: the encoder's"
    parser.add_argument("--image-size", type=positive_int, metavar="PIXELS", help=what)
    shared(parser, "--output", required=True, help="where to write the weights, .weights.h5")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    if not args.output.endswith(".weights.h5"):
        raise UserError(f"{args.output}: end the name in .weights.h5")
    import_keras()
    import numpy as np

    from captioning.datasets import read_split
    from captioning.encoders.networks.batch_norm import estimate_statistics
    from captioning.encoders.weights import save_encoder
    from captioning.files import check_writable
    from captioning.images.sources import decode, open_sources

    check_writable(args.output)
    preprocessing = preprocessing_of(args.encoder)
    preprocessing = preprocessing.resized(args.image_size or preprocessing.size)
    exclude = {name for file in args.exclude for name in read_split(file)}
    items = islice(open_sources(args.images, exclude).items, args.limit)
    decoded = (square for _, square in decode(items, preprocessing.size))
    squares = [square for square in decoded if isinstance(square, np.ndarray)]
    if not squares:
        raise UserError(f"{args.images[0]}: no image could be read")
    network = build_network(args.encoder, seed=args.seed)
    parts = max(1, len(squares) // BATCH)
    estimate_statistics(network, np.array_split(np.stack(squares), parts))
    recipe = {"encoder": args.encoder, "image_size": preprocessing.size, "seed": args.seed}
    recipe |= {"preprocessing": str(preprocessing), "pictures_seen": 0}
    save_encoder(network, args.output, recipe)
    print(f"{args.output}: random weights, batch statistics of {len(squares)} images")


if __name__ == "__main__":
    run(main)
