#!/usr/bin/env python3
"""Choose permutations of a puzzle's tiles with large Hamming distances, greedily."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from captioning.arguments import number, positive_int, shared
from captioning.cli import ArgumentParser, UserError, run
from jigsaw.permutations import all_permutations, distances, greedy

LARGEST_TILES = 9  # up to which all permutations are looked at
SAMPLE = 362_880  # as many as there are of 9 tiles


def parse_arguments():
    parser = ArgumentParser(__doc__, epilog="example: python jigsaw/maximal_hamming.py 100")
    add = parser.add_argument
    add("count", nargs="?", type=positive_int, metavar="N", help="the same as --permutations N")
    add("--permutations", type=positive_int, default=100, metavar="N", help="number to choose")
    what = f"tiles per puzzle; above {LARGEST_TILES}, choose from a random sample"
    add("--tiles", type=number(int, least=2, below=101), default=9, help=what)
    what = "add the one with the largest mean, or minimum, distance to those chosen before"
    add("--selection", choices=("mean", "min"), default="mean", help=what)
    shared(parser, "--seed", help="random seed of the first choice and of ties")
    shared(parser, "--output", help="text file; default: permutations_N.txt")
    args = parser.parse_args()
    args.permutations = args.count or args.permutations
    return args


def main() -> None:
    args = parse_arguments()
    from captioning.files import check_writable, write_text

    output = Path(args.output or f"permutations_{args.permutations}.txt")
    check_writable(output)
    if args.tiles <= LARGEST_TILES:
        candidates = all_permutations(args.tiles)
    else:
        rows = np.tile(np.arange(args.tiles, dtype=np.uint8), (SAMPLE, 1))
        candidates = np.random.default_rng(args.seed).permuted(rows, axis=1)
    if args.permutations > len(candidates):
        there_are = f"there are only {len(candidates)} of {args.tiles} tiles to choose from"
        raise UserError(f"--permutations {args.permutations}: {there_are}")
    chosen = greedy(candidates, args.permutations, args.selection, args.seed)
    write_text(output, "".join(" ".join(map(str, row)) + "\n" for row in chosen.tolist()))
    summary = f"{output}: {len(chosen)} permutations of {args.tiles} tiles"
    if len(chosen) > 1:
        mean, least = distances(chosen)
        summary += f", mean distance {mean:.3f}, minimum {least}"
    print(summary)


if __name__ == "__main__":
    run(main)
