#!/usr/bin/env python3
"""Peak memory of stages 1 and 2 by the number of pictures: 10,000, 50,000 and 200,000.

    python benchmarks/memory.py
    python benchmarks/memory.py --rows 10000 --kinds pooled

Every measurement is a process of its own. Stage 1 reads pictures that are links to one small
picture, and its encoder gives made-up numbers, so that what is measured is what grows with the
number of pictures; its grids are 49 vectors of 128 numbers, to spare the disk. Stage 2 trains for
30 steps on features that lie in a file with holes (vectors of 1280 numbers, grids of 49 of them,
25 GB at 200,000 pictures) and five captions a picture, all of them read. It takes some minutes,
and 8 GB of disk in the folder for temporary files.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from processes import apart

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from captioning.arguments import positive_int
from captioning.cli import ArgumentParser, import_keras, run

PLACES, SIZE = 49, 1280  # efficientnet_lite0's grid
WORDS = [f"word{number}" for number in range(5000)]
STEPS = 30


def peak() -> int:
    """Most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def only_imports(rows: int, kind: str) -> int:
    """What the program has before it reads anything."""
    import_keras()
    import captioning.captioners.loading
    import captioning.encoders.loading  # noqa: F401
    from captioning.features import extraction  # noqa: F401
    from captioning.training import teacher_forcing  # noqa: F401

    return peak()


def stage_1(rows: int, kind: str) -> int:
    """Find so many pictures, read them and write their features."""
    keras = import_keras()
    from captioning.datasets import find_images
    from captioning.encoders.encoder import Encoder
    from captioning.features.extraction import extract

    pixels = keras.Input((None, None, 3))
    pooled = keras.layers.Dense(SIZE)(keras.layers.GlobalAveragePooling2D()(pixels))
    cells = keras.layers.Dense(PLACES * 128)(pooled)
    outputs = {"pooled": pooled, "grid": keras.layers.Reshape((7, 7, 128))(cells)}
    encoder = Encoder(keras.Model(pixels, outputs), {"encoder": "made up", "image_size": 32})
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work) / "pictures"
        folder.mkdir()
        Image.new("RGB", (32, 32), "red").save(folder / "0000000.jpg")
        for number in range(1, rows):
            (folder / f"{number:07d}.jpg").symlink_to(folder / "0000000.jpg")
        images, _ = find_images(folder, {})
        output = Path(work) / "features.h5"
        extract(encoder, images, output, batch_size=32, resume=False, grid=kind == "grid")
    return peak()


def stage_2(rows: int, kind: str) -> int:
    """Read so many features and five captions each, fit the expected words, train some steps."""
    keras = import_keras()
    from captioning.datasets.descriptions import read_descriptions
    from captioning.decoders.expected_words import sizes_for
    from captioning.decoders.table import decoder_class
    from captioning.features.reading import read_features
    from captioning.text import build_vocabulary
    from captioning.training.batches import CaptionBatches

    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_hollow_features(work / "features.h5", rows, kind)
        random = np.random.default_rng(0)
        with open(work / "descriptions.txt", "w", encoding="utf-8") as file:
            for number in range(5 * rows):
                words = " ".join(random.choice(WORDS, random.integers(6, 16)))
                file.write(f"{number // 5:07d} {words}\n")

        features = read_features(work / "features.h5")
        descriptions, rules = read_descriptions(work / "descriptions.txt")
        vocabulary = build_vocabulary(descriptions, list(features), rules)
        batches = CaptionBatches(
            features, descriptions, list(features), vocabulary, batch_size=128, seed=0
        )
        grid = {"positions": PLACES} if kind == "grid" else {}
        model = decoder_class("attention" if grid else "merge")(
            SIZE,
            vocabulary.words,
            vocabulary.max_length,
            expected_sizes=sizes_for(rows, SIZE, vocabulary),
            **grid,
        )
        model.expected_words.fit(features, descriptions, list(features), vocabulary)
        model.compile(optimizer=keras.optimizers.AdamW(1e-3), jit_compile=False)
        model.fit(batches, steps_per_epoch=STEPS, shuffle=False, verbose=0)
    return peak()


def write_hollow_features(path: Path, rows: int, kind: str) -> None:
    """A features file of zeros, which take no room on the disk."""
    import h5py

    vector = kind == "pooled"
    with h5py.File(path, "w") as file:
        file["image_id"] = np.array([f"{number:07d}".encode() for number in range(rows)])
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        layout.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        shape = (rows, SIZE) if vector else (rows, PLACES, SIZE)
        kind_of_number = h5py.h5t.NATIVE_FLOAT if vector else h5py.h5t.IEEE_F16LE
        space = h5py.h5s.create_simple(shape)
        h5py.h5d.create(file.id, b"features", kind_of_number, space, dcpl=layout)


def main() -> None:
    parser = ArgumentParser(__doc__.split("\n")[0])
    parser.add_argument("--rows", nargs="+", type=positive_int, default=[10_000, 50_000, 200_000])
    parser.add_argument(
        "--kinds", nargs="+", choices=("pooled", "grid"), default=["pooled", "grid"]
    )
    args = parser.parse_args()
    print(f"imports alone: {apart(only_imports, 0, '')} MB")
    print("pictures  features  stage 1, MB  stage 2, MB  seconds", flush=True)
    for kind in args.kinds:
        for rows in args.rows:
            began = time.perf_counter()
            first, second = apart(stage_1, rows, kind), apart(stage_2, rows, kind)
            seconds = time.perf_counter() - began
            print(f"{rows:8,}  {kind:8}  {first:11,}  {second:11,}  {seconds:7.0f}", flush=True)


if __name__ == "__main__":
    run(main)
