#!/usr/bin/env python3
"""The jigsaw's preparation beside the plain way of doing it, each pair in one run.

Run by hand on an idle machine:

    python benchmarks/jigsaw.py --images data/flickr8k/Flicker8k_Dataset

Conversion is measured against Pillow alone, in one process a core, which opens, decodes, crops and
resizes the same pictures and throws them away. The generator is measured against a loop over
pictures and tiles. The two sides of a pair take turns, so that a busy machine slows both alike, and
the best of the rounds counts.
"""

import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from captioning.arguments import positive_int
from captioning.cli import ArgumentParser, import_keras, run


def parse_arguments():
    parser = ArgumentParser(__doc__.split("\n")[0])
    add = parser.add_argument
    add("--images", default="data/flickr8k/Flicker8k_Dataset", help="folder of pictures")
    add("--count", type=positive_int, default=1000, help="pictures to convert")
    add("--size", type=positive_int, default=256, help="of the squares")
    add("--batch-size", type=positive_int, default=128, help="of the generator")
    add("--workers", type=positive_int, default=os.cpu_count(), help="of the generator")
    add("--rounds", type=positive_int, default=3, help="of which the best counts")
    return parser.parse_args()


def compare(sides: dict[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The highest rate of each side, which take turns; the first round is not counted."""
    best = dict.fromkeys(sides, 0.0)
    for number in range(rounds + 1):
        for name, rate in sides.items():
            found = rate()
            best[name] = max(best[name], found if number else 0.0)
    return best


def report(title: str, best: dict[str, float], unit: str) -> None:
    """A line for each side, and how ours compares."""
    ours, plain = best.values()
    print(title)
    for name, rate in best.items():
        print(f"  {name:44} {rate:9.1f} {unit}")
    print(f"  ratio {ours / plain:.2f}")


# ---- conversion ------------------------------------------------------------------------------


def plain_square(path: Path, size: int) -> None:
    """One picture, by Pillow alone."""
    with Image.open(path) as image:
        image = image.convert("RGB")
        side = min(image.size)
        left, top = (random.randint(0, length - side) for length in image.size)
        image = image.crop((left, top, left + side, top + side))
        image.resize((size, size), Image.Resampling.LANCZOS)


def conversion(args, paths: list[Path], output: Path) -> dict[str, float]:
    """Pictures a second of ours, to the HDF5 file `output`, and of Pillow alone."""
    from captioning.images.sources import open_sources
    from jigsaw.image_sets import convert

    cores = os.cpu_count()
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            (Path(folder) / path.name).symlink_to(path.resolve())

        def ours() -> float:
            began = time.perf_counter()
            convert(open_sources([folder]), output, size=args.size, splits=(0.8, 0.1, 0.1), seed=0)
            return len(paths) / (time.perf_counter() - began)

        def pillow(pool) -> float:
            jobs = [(path, args.size) for path in paths]
            began = time.perf_counter()
            pool.starmap(plain_square, jobs)
            return len(paths) / (time.perf_counter() - began)

        with multiprocessing.get_context("spawn").Pool(cores) as pool:
            return compare({"to_hdf5": ours, "Pillow alone": lambda: pillow(pool)}, args.rounds)


# ---- puzzles ---------------------------------------------------------------------------------


def plain_puzzle(picture, permutations, crop_size, cell_size, tile_size, grey_share=0.3):
    """One puzzle, tile by tile: tiles (9, t, t, 3) and the permutation's number."""
    if random.random() < grey_share:
        grey = np.dot(picture, [0.299, 0.587, 0.114]).astype(np.uint8)
        picture = np.dstack([grey, grey, grey])
    else:
        shifts = [(random.randint(-2, 2), random.randint(-2, 2)) for _ in range(3)]
        picture = np.dstack(
            [np.roll(picture[:, :, c], shift, axis=(0, 1)) for c, shift in enumerate(shifts)]
        )
    number = random.randrange(len(permutations))
    top, left = (random.randint(2, len(picture) - crop_size - 2) for _ in range(2))
    tiles = np.zeros((9, tile_size, tile_size, 3), np.uint8)
    for place, cell in enumerate(permutations[number]):
        y = top + cell // 3 * cell_size + random.randint(0, cell_size - tile_size)
        x = left + cell % 3 * cell_size + random.randint(0, cell_size - tile_size)
        tiles[place] = picture[y : y + tile_size, x : x + tile_size]
    return tiles, number


def puzzles(args, path: Path, count: int = 10) -> dict[str, float]:
    """Puzzles a second of `DataGenerator` and of the plain loop, over `count` batches."""
    import keras

    from jigsaw.DataGenerator import DataGenerator
    from jigsaw.image_preprocessing.image_transform import JigsawCreator, default_sizes
    from jigsaw.image_sets import open_splits
    from jigsaw.permutations import all_permutations, greedy

    permutations = greedy(all_permutations(9), 100, "mean")
    creator = JigsawCreator(permutations, **default_sizes(args.size, 9))
    sizes = (creator.crop_size, creator.cell_size, creator.tile_size)

    def ours() -> float:
        generator = DataGenerator(pictures["train"], creator, batch_size=args.batch_size)
        steps = min(count, len(generator))
        began = time.perf_counter()
        with ThreadPoolExecutor(args.workers) as pool:  # as Keras has it in fit
            list(pool.map(generator.__getitem__, range(steps)))
        return steps * args.batch_size / (time.perf_counter() - began)

    def plain() -> float:
        data = pictures["train"]
        rows = np.random.permutation(len(data))[: args.batch_size]
        began = time.perf_counter()
        found = [plain_puzzle(data[row], permutations, *sizes) for row in rows]
        np.array([tiles for tiles, _ in found])
        keras.utils.to_categorical([number for _, number in found], len(permutations))
        return len(rows) / (time.perf_counter() - began)

    sides = {f"DataGenerator, {args.workers} threads": ours, "plain loop": plain}
    with open_splits(path) as pictures:
        return compare(sides, args.rounds)


# ---- permutations ----------------------------------------------------------------------------


def permutation_sets(folder: Path) -> None:
    """Seconds and memory of `maximal_hamming.py`, started as a user starts it."""
    print("maximal_hamming.py")
    for selection in ("mean", "min"):
        for count in (100, 500, 1000):
            script = f"{ROOT}/jigsaw/maximal_hamming.py {count} --selection {selection} --output"
            command = [sys.executable, *script.split(), str(folder / "set.txt")]
            began = time.perf_counter()
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - began
            assert status == 0
            print(f"  {selection} {count:5}: {seconds:5.2f} s, {usage.ru_maxrss / 1000:.0f} MB")


def main() -> None:
    args = parse_arguments()
    from captioning.images.folders import list_images

    paths = list_images([args.images])[: args.count]
    with tempfile.TemporaryDirectory() as folder:
        permutation_sets(Path(folder))
        output = Path(folder) / "pictures.hdf5"
        report(
            f"conversion of {len(paths)} pictures to {args.size} px (goal 0.90)",
            conversion(args, paths, output),
            "pictures/s",
        )
        import_keras()
        report(
            f"puzzles of {args.size}-px pictures, batch {args.batch_size}",
            puzzles(args, output),
            "puzzles/s",
        )


if __name__ == "__main__":
    run(main)
