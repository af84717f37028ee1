#!/usr/bin/env python3
"""Permutations of the puzzle's tiles that are far apart, chosen greedily, as a text file."""

import math
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from captioning.cli import ArgumentParser, UserError, positive_int, run, seed
from jigsaw.permutations import all_permutations, distances, greedy

LARGEST_TILES = 9  # up to which all permutations are looked at: 9! = 362,880
SELECTIONS = ("mean", "min")


def parse_arguments():
    parser = ArgumentParser(__doc__)
    add = parser.add_argument
    add("count", nargs="?", type=positive_int, metavar="N", help="the same as --permutations N")
    add("--permutations", type=positive_int, default=100, metavar="N", help="how many to choose")
    add(
        "--tiles", type=positive_int, default=9,
        help=f"of a puzzle; above {LARGEST_TILES} the choice is among a random sample",
    )  # fmt: skip
    add(
        "--selection", choices=SELECTIONS, default="mean",
        help="mean adds the permutation with the largest mean distance to those chosen, min the "
        "one with the largest minimum distance",
    )  # fmt: skip
    add("--seed", type=seed, default=0, help="of the first choice, and of choices among equals")
    add("--output", help="text file, a permutation a line; default: permutations_N.txt")
    args = parser.parse_args()
    args.permutations = args.count or args.permutations
    return args


def candidates_for(tiles: int, count: int, seed: int) -> np.ndarray:
    """What `greedy` chooses from: all permutations, or a sample of many.

    Raises:
        UserError: there are not `count`.
    """
    if tiles < 2 or tiles > 100:
        raise UserError(f"--tiles {tiles}: a puzzle has 4, 9, 16, ... tiles, at most 100")
    exist = math.factorial(tiles)
    if count > exist:
        raise UserError(f"--permutations {count}: {tiles} tiles have only {exist} permutations")
    if tiles <= LARGEST_TILES:
        return all_permutations(tiles)
    sample = math.factorial(LARGEST_TILES)
    if count > sample // 10:
        raise UserError(f"--permutations {count}: at most {sample // 10} of {tiles} tiles")
    rows = np.tile(np.arange(tiles, dtype=np.uint8), (sample, 1))
    return np.random.default_rng(seed).permuted(rows, axis=1, out=rows)


def main() -> None:
    args = parse_arguments()
    from captioning.files import check_writable, write_text

    output = Path(args.output or f"permutations_{args.permutations}.txt")
    check_writable(output)
    candidates = candidates_for(args.tiles, args.permutations, args.seed)
    chosen = greedy(candidates, args.permutations, args.selection, args.seed)
    write_text(output, "".join(" ".join(map(str, row)) + "\n" for row in chosen.tolist()))
    summary = f"{output}: {len(chosen)} permutations of {args.tiles} tiles"
    if len(chosen) > 1:
        mean, least = distances(chosen)
        summary += f", mean distance {mean:.3f}, minimum {least}"
    print(summary)


if __name__ == "__main__":
    run(main)
