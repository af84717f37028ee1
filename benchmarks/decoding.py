#!/usr/bin/env python3
"""How fast the decoders train and caption: merge, attention and transformer side by side.

On features that are made up and random weights, so that nothing is needed but the program: speed
does not depend on the numbers. Every caption is made as long as the model allows, so that what is
measured does not depend on when a caption happens to end. Trained models can be given beside.

    python benchmarks/decoding.py
    python benchmarks/decoding.py --model-path checkpoints/best_model.keras --features features.h5

Run it on an idle machine; each measurement has a process of its own.
"""

import json
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
from processes import apart

from captioning.arguments import positive_int
from captioning.cli import ArgumentParser, import_keras, run
from captioning.decoders.search_settings import Search
from captioning.features.reading import Features, read_features

DECODERS = ("merge", "attention", "transformer")
WORDS = 7_500  # about as many as Flickr8k's training captions have
PLACES, SIZE = 49, 1280  # efficientnet_lite0's grid


def new_model(name: str, longest: int, **options):
    """A decoder with random weights, whose captions have up to `longest` words."""
    import_keras()
    from captioning.decoders.table import decoder_class

    words = ["startseq", "endseq", *(f"word{number}" for number in range(WORDS - 2))]
    grid = {} if name == "merge" else {"positions": PLACES}
    return decoder_class(name)(SIZE, words, longest + 2, **grid, **options)


def made_up(name: str, images: int) -> np.ndarray:
    """Vectors or grids of so many images."""
    shape = (images, SIZE) if name == "merge" else (images, PLACES, SIZE)
    kind = np.float32 if name == "merge" else np.float16
    return np.random.default_rng(0).random(shape, np.float32).astype(kind)


def timed(work) -> dict[str, float]:
    """Seconds by the clock, and of all processors, which a busy machine distorts less."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return {
        "s": round(time.perf_counter() - wall, 2),
        "processor s": round(time.process_time() - processor, 2),
    }


# ---- captioning ------------------------------------------------------------------------------


def search(name: str, images: int, runs: list[tuple[int, int]]) -> list[dict]:
    """Seconds of beam search over `images`, for each (beam width, length of the captions)."""
    import_keras()
    from captioning.decoders.search import generate

    features, results = made_up(name, images), []
    for width, longest in runs:
        model = new_model(name, longest)
        generate(model, features[:4], Search(width))
        whole = Search(width, min_length=longest, no_repeat_ngram=0)
        seconds = timed(lambda: generate(model, features, whole))  # noqa: B023
        results.append({"decoder": name, "beam width": width, "words": longest, **seconds})
    return results


def search_trained(path: str, features_path: str, images: int, width: int) -> dict:
    """The same of a trained model over real features, captions as long as they come."""
    import_keras()
    from captioning.captioners.loading import check_features, load_captioner
    from captioning.decoders.search import generate

    features, model = read_features(features_path), load_captioner(path)
    check_features(model, Path(path), features, Path(features_path))
    chosen = features.of(list(features)[:images])
    generate(model, chosen[:4], Search(width))
    found = []
    seconds = timed(lambda: found.extend(generate(model, chosen, Search(width))))
    words = float(np.mean([len(one.caption.split()) for one in found]))
    return {"decoder": path, "beam width": width, "words": round(words, 1), **seconds}


# ---- training --------------------------------------------------------------------------------


def training(name: str, dtype: str, steps: int, batch_size: int) -> dict:
    """Captions a second of training on captions as long as Flickr8k's, and the compilation."""
    keras = import_keras()
    from captioning.text import Vocabulary
    from captioning.training.batches import CaptionBatches

    model = new_model(
        name, 35, tied=name != "merge", label_smoothing=0.1 * (name != "merge"), dtype=dtype
    )
    random = np.random.default_rng(0)
    ids = [f"image{number}" for number in range(1000)]
    lengths = np.clip(random.gamma(9.0, 1.2, 5000).round(), 3, 33).astype(int)  # 10.8 on average
    captions = {one: [] for one in ids}
    for number, length in enumerate(lengths):
        words = [f"word{word}" for word in random.integers(0, WORDS - 2, length)]
        captions[ids[number % 1000]].append(" ".join(words))
    vocabulary = Vocabulary(model.vocabulary.words, 37)
    features = Features(ids, made_up(name, 1000), {})
    batches = CaptionBatches(features, captions, ids, vocabulary, batch_size=batch_size, seed=0)
    model.compile(optimizer=keras.optimizers.AdamW(1e-4, global_clipnorm=1.0), jit_compile=False)
    fit = {"verbose": 0, "shuffle": False}
    compiling = timed(lambda: model.fit(batches, steps_per_epoch=2, **fit))
    batches.start_epoch(1)
    count = sum(len(chosen) for _, chosen in batches.batches[:steps])
    seconds = timed(lambda: model.fit(batches, steps_per_epoch=steps, **fit))
    return {
        "decoder": name,
        "dtype": dtype,
        "weights": int(model.count_params()),
        "first 2 steps": compiling,
        "captions/s": round(count / seconds["s"], 1),
        "captions/processor s": round(count / seconds["processor s"], 1),
    }


def main() -> None:
    parser = ArgumentParser(__doc__.split("\n")[0])
    add = parser.add_argument
    add("--images", type=positive_int, default=1000, help="to caption")
    add("--steps", type=positive_int, default=20, help="of training to measure")
    add("--batch-size", type=positive_int, default=128, help="captions a step of training")
    add("--decoders", nargs="+", choices=DECODERS, default=DECODERS)
    add("--dtypes", nargs="+", default=["float32", "mixed_bfloat16"])
    add("--only", choices=("search", "training"))
    add("--model-path", nargs="+", default=[], help="trained models to measure as well")
    add("--features", help="for --model-path")
    args = parser.parse_args()
    if args.model_path and not args.features:
        parser.error("--model-path: give --features, too")
    print(f"{os.cpu_count()} processors, {args.images} images")
    for name in args.decoders:
        if args.only != "training":
            runs = [(3, 12), (1, 12), (6, 12), (3, 6), (3, 24)]
            results = apart(search, name, args.images, runs)
            for result in results:
                print(json.dumps(result))
            base, narrow, wide, short, long = (result["s"] for result in results)
            print(
                f"{name}: beam 6 / beam 3 {wide / base:.2f}, beam 3 / beam 1 {base / narrow:.2f} "
                f"(linear: 2, 3)"
            )
            print(
                f"{name}: 24 / 12 words {long / base:.2f}, 12 / 6 words {base / short:.2f} "
                f"(linear: 2, 2)"
            )
        if args.only != "search":
            for dtype in args.dtypes:
                print(json.dumps(apart(training, name, dtype, args.steps, args.batch_size)))
    for path in args.model_path:
        print(json.dumps(apart(search_trained, path, args.features, args.images, 3)))


if __name__ == "__main__":
    run(main)
