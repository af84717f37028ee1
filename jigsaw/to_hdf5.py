#!/usr/bin/env python3
"""Convert images to one HDF5 file of squares, in training, validation and test splits."""

import argparse
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from captioning.arguments import number, shared
from captioning.cli import ArgumentParser, report_skipped, run


def shares(text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not min(numbers) >= 0 or not math.isclose(sum(numbers), 1):
        raise argparse.ArgumentTypeError(f"'{text}' is not three shares that add up to 1")
    return numbers


def parse_arguments():
    parser = ArgumentParser(
        __doc__, epilog="example: python jigsaw/to_hdf5.py --images FOLDER --output images.hdf5"
    )
    add = parser.add_argument
    what = "folders, zips or tars of images, or HDF5 files of uint8 (N, H, W, 3)"
    shared(parser, "--images", required=True, metavar="PATH", default=None, help=what)
    shared(parser, "--exclude", "--split-seed")
    shared(parser, "--output", required=True, metavar="FILE.hdf5")
    add("--size", type=number(int, 8, below=4097), default=256, help="side of a square in pixels")
    add("--splits", type=shares, default="0.85,0.10,0.05", help="training, validation and test")
    shared(parser, "--seed", help="random seed of the splits and of each image's crop")
    shared(parser, "--workers")
    shared(parser, "--limit", help="quick test: use only the first N images")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    from captioning.datasets import read_split
    from captioning.files import check_writable, lock
    from captioning.images.sources import open_sources
    from jigsaw.image_sets import convert

    output = Path(args.output)
    check_writable(output, ".hdf5", ".h5")
    lock(output)
    exclude = {name for file in args.exclude for name in read_split(file, seed=args.split_seed)}
    options = {name: getattr(args, name) for name in ("size", "splits", "seed", "limit", "workers")}
    rows, unreadable = convert(open_sources(args.images, exclude), output, **options)
    report_skipped("unreadable images", unreadable)
    counts = ", ".join(f"{count} {name}" for name, count in rows.items())
    print(f"{output}: {counts}, {args.size} px")


if __name__ == "__main__":
    run(main)
