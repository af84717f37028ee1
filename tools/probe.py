#!/usr/bin/env python3
"""Probe: how much of captions' words do an encoder's features explain, stage by stage?

    python tools/probe.py --encoder resnet18 --weights runs/simclr/resnet18-simclr.weights.h5

Nothing is trained but a ridge regression, in about a minute. Early stages of an encoder may tell
more than its last one does.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from captioning.arguments import CAPTIONS, IMAGES, shared
from captioning.cli import ArgumentParser, import_keras, run
from captioning.encoders.table import TABLE


def parse_arguments():
    parser = ArgumentParser(__doc__.split("\n")[0], epilog="example:" + __doc__.split("\n")[2])
    shared(parser, "--encoder", choices=TABLE, default="resnet18", help="network")
    shared(parser, "--weights", help="encoder weights; default: the supervised, or random ones")
    parser.add_argument("--images", default=IMAGES, metavar="FOLDER", help="folder of images")
    parser.add_argument("--captions", default=CAPTIONS, metavar="FILE", help="their captions")
    shared(parser, "--split", help="images that judge; the regression is fitted on others")
    shared(parser, "--split-seed", "--image-size", "--dtype", "--seed")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    import_keras()
    from captioning.datasets import read_captions, read_split
    from captioning.encoders.loading import load_encoder
    from contrastive.probe import caption_probe

    held_out = {name for file in args.split for name in read_split(file, seed=args.split_seed)}
    encoder = load_encoder(args.encoder, args.weights, dtype=args.dtype, seed=args.seed)
    encoder.resize(args.image_size)
    size, square = encoder.preprocessing.size, encoder.preprocessing.square
    probe = caption_probe(args.images, read_captions(args.captions), size, held_out, square)
    fitted, judged = probe.fitted, len(probe.pixels) - probe.fitted
    print(f"variance of caption words explained, {judged} images of {size} px, fitted on {fitted}:")
    shares = probe.by_stage(encoder.network, TABLE[args.encoder].stages)
    for number, share in enumerate(shares, start=1):
        print(f"stage {number}: {share:.2%}")


if __name__ == "__main__":
    run(main)
