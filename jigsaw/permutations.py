"""Sets of permutations of a puzzle's tiles: choosing them, and reading what was chosen."""

import math
from pathlib import Path

import numpy as np

from captioning.cli import UserError
from captioning.datasets import read_text
from captioning.files import existing_file


def all_permutations(tiles: int) -> np.ndarray:
    """All permutations of 0 ... tiles - 1, uint8 (tiles!, tiles)."""
    rows = np.zeros((1, 1), np.uint8)
    for tile in range(1, tiles):
        positions = range(tile + 1)
        rows = np.concatenate([np.insert(rows, position, tile, axis=1) for position in positions])
    return rows


def greedy(candidates: np.ndarray, count: int, selection: str, seed: int = 0) -> np.ndarray:
    """Choose `count` rows of `candidates`, uint8 (M, tiles), far apart in Hamming distance.

    The paper's algorithm (Noroozi and Favaro, arXiv 1603.09246, algorithm 1): a random first, then
    always the one with the largest mean ("mean") or minimum ("min", ties by mean) distance to
    those chosen. No row is chosen twice.

    Raises:
        ValueError: there are fewer than `count` different candidates.
    """
    random = np.random.default_rng(seed)
    columns = np.ascontiguousarray(candidates.T)
    total = np.zeros(len(candidates), np.int32)
    nearest = np.full(len(candidates), 255, np.uint8)
    distance, differs = np.empty_like(nearest), np.empty(len(candidates), bool)
    chosen = [int(random.integers(len(candidates)))]
    while len(chosen) < count:
        distance[:] = 0
        for column, tile in zip(columns, candidates[chosen[-1]], strict=True):
            np.not_equal(column, tile, out=differs)
            distance += differs.view(np.uint8)
        total += distance
        np.minimum(nearest, distance, out=nearest)
        farthest = nearest.max()
        if farthest == 0:
            raise ValueError(f"only {len(chosen)} different candidates")
        if selection == "mean":
            total[distance == 0] = np.iinfo(np.int32).min // 2  # chosen: never again
            equals = np.flatnonzero(total == total.max())
        else:
            equals = np.flatnonzero(nearest == farthest)
            sums = total[equals]
            equals = equals[sums == sums.max()]
        chosen.append(int(random.choice(equals)))
    return candidates[chosen]


def distances(permutations: np.ndarray) -> tuple[float, int]:
    """Mean and minimum Hamming distance between the rows of (N, tiles), of which N > 1."""
    total, least = 0, permutations.shape[1]
    for row in range(1, len(permutations)):
        apart = (permutations[:row] != permutations[row]).sum(axis=1)
        total, least = total + int(apart.sum()), min(least, int(apart.min()))
    return total / math.comb(len(permutations), 2), least


def read_permutations(path: str | Path, tiles: int, count: int | None = None) -> np.ndarray:
    """The first `count` (default: all) permutations of a file, uint8 (count, tiles).

    A row is a permutation of 0 ... tiles - 1, or of 1 ... tiles: the tile that lies at each place.
    The file is text or, as public sets are, an array (N, tiles) of `numpy.save`.

    Raises:
        UserError: no such file, rows that are no permutations, are repeated or have another number
            of tiles, or fewer than `count` rows.
    """
    make = "make it with jigsaw/maximal_hamming.py"
    path = existing_file(path, "permutation file", make)
    try:
        rows = np.array(_read_rows(path), float, ndmin=2)  # numpy.savetxt writes 1.000e+00
        if rows.shape[1:] != (tiles,):
            raise ValueError(f"holds {rows.shape} numbers")
    except (ValueError, TypeError) as error:  # damaged, or words, or rows of unlike lengths
        text = f"{path}: is not rows of {tiles} tiles; give --tiles, or {make} ({error})"
        raise UserError(text) from error
    if len(rows) < (count or 2):
        raise UserError(f"{path}: holds {len(rows)} permutations, not {count or 2}; {make}")
    first = 1 if rows.min() >= 1 else 0
    expected = np.arange(first, first + tiles)
    if wrong := np.flatnonzero((np.sort(rows) != expected).any(axis=1)).tolist():
        text = f"row {wrong[0] + 1} is no permutation of {first} to {expected[-1]}"
        raise UserError(f"{path}: {text}; {make}")
    if len(np.unique(rows, axis=0)) < len(rows):
        raise UserError(f"{path}: has a permutation more than once; {make}")
    return (rows[:count] - first).astype(np.uint8)


def _read_rows(path: Path) -> np.ndarray | list[list[str]]:
    with open(path, "rb") as file:
        is_array = file.read(6) == b"\x93NUMPY"
    if is_array:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    lines = read_text(path, "permutation file").splitlines()
    return [words for line in lines if (words := line.partition("#")[0].split())]
