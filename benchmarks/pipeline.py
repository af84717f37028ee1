#!/usr/bin/env python3
"""Our pipeline against the original's way of doing it, side by side, in one run.

Run by hand on an idle machine, on Flickr8k as data/README.md lays it out:

    python benchmarks/pipeline.py
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
from processes import apart

from captioning.arguments import positive_int
from captioning.cli import ArgumentParser, import_keras, run
from captioning.datasets import read_captions, read_split
from captioning.features.reading import Features
from captioning.images.folders import list_images
from captioning.images.reading import decode_batches, load_rgb
from captioning.text import build_vocabulary, clean_all

FOLDER = Path("data/flickr8k")
TEXT = FOLDER / "Flickr8k_text"


def rate(count: int, work) -> float:
    """How many a second `work()` does, which handles `count`."""
    started = time.perf_counter()
    work()
    return count / (time.perf_counter() - started)


# ---- feature extraction ----------------------------------------------------------------------


def extraction(encoder_name: str, images: int, singles: int, batch_size: int) -> dict:
    """Images a second: bare network, ours in both precisions, and one at a time."""
    import_keras()
    from captioning.encoders.loading import load_encoder

    paths = list_images([FOLDER / "Flicker8k_Dataset"])[:images]
    pixels = np.stack([load_rgb(path, 224) for path in paths[:batch_size]])
    whole = len(paths) // batch_size * batch_size  # in whole batches
    result, features = {}, {}
    for dtype in ("float32", "bfloat16"):
        encoder = load_encoder(encoder_name, dtype=dtype)
        encoder.encode(pixels, batch_size)  # compiles

        def ours(encoder=encoder, dtype=dtype):
            stream = decode_batches([(path, path) for path in paths], 224, batch_size)
            rows = [encoder.encode(batch, batch_size) for _, batch, _ in stream]
            features[dtype] = np.concatenate(rows)

        def bare(encoder=encoder):
            for _ in range(whole // batch_size):
                encoder.encode(pixels, batch_size)

        # Interleaved, because the machine's speed drifts: bare, ours, bare, ours.
        rates = [(rate(whole, bare), rate(len(paths), ours)) for _ in range(2)]
        result[dtype] = dict(zip(("bare", "ours"), np.mean(rates, axis=0), strict=True))
        if dtype == "float32":

            def one_at_a_time(encoder=encoder):
                for path in paths[:singles]:
                    encoder.network(load_rgb(path, 224)[None], training=False)

            result["one at a time, eager"] = rate(singles, one_at_a_time)
    exact, rough = features["float32"], features["bfloat16"]
    cosine = (exact * rough).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(rough, axis=1)
    result["least cosine of bfloat16 with float32"] = float(cosine.min())
    return result


# ---- training and decoding -------------------------------------------------------------------


def load_text(train_images: int):
    """Descriptions, ids and vocabulary of the original rules, and features that are made up."""
    raw = read_captions(TEXT / "Flickr8k.token.txt")
    descriptions, _ = clean_all(raw, "original", TEXT)
    train_ids = read_split(TEXT / "Flickr_8k.trainImages.txt")
    vocabulary = build_vocabulary(descriptions, train_ids, "original")
    matrix = np.random.default_rng(0).random((len(descriptions), 2048), np.float32)
    features = Features(list(descriptions), matrix, {})
    return descriptions, train_ids[:train_images], vocabulary, features


def ours_training(dtype: str) -> dict:
    """Captions a second, and peak memory, of one pass a caption."""
    keras = import_keras()
    from captioning.decoders.merge import MergeDecoder
    from captioning.training.batches import CaptionBatches

    descriptions, ids, vocabulary, features = load_text(6000)
    batches = CaptionBatches(features, descriptions, ids, vocabulary, batch_size=128, seed=0)
    model = MergeDecoder(2048, vocabulary.words, vocabulary.max_length, dtype=dtype)
    model.compile(optimizer=keras.optimizers.Adam(1e-3), jit_compile=False)
    model.fit(batches, steps_per_epoch=10, verbose=0, shuffle=False)  # compiles
    captions = sum(len(rows) for rows, _ in batches.groups)
    speed = rate(captions, lambda: model.fit(batches, verbose=0, shuffle=False))
    return {"captions/s": speed, "peak memory, GB": peak_memory()}


def original_training(images: int) -> dict:
    """The same of the original's way: every prefix a padded row, every target one-hot."""
    keras = import_keras()
    from keras import layers

    descriptions, ids, vocabulary, features = load_text(images)
    longest, size = vocabulary.max_length, len(vocabulary) + 1
    vectors, prefixes, words = [], [], []
    for one in ids:
        for caption in descriptions[one]:
            tokens = vocabulary.encode(caption)
            for end in range(1, len(tokens)):
                vectors.append(features[one])
                prefixes.append([0] * (longest - end) + tokens[:end])
                words.append(keras.utils.to_categorical(tokens[end], size))
    rows = [np.array(part) for part in (vectors, prefixes, words)]

    image, prefix = keras.Input((2048,)), keras.Input((longest,))
    x = layers.Dense(256, activation="relu")(layers.Dropout(0.5)(image))
    y = layers.Embedding(size, 256, mask_zero=True)(prefix)
    y = layers.LSTM(256)(layers.Dropout(0.5)(y))
    z = layers.Dense(256, activation="relu")(layers.add([x, y]))
    model = keras.Model([image, prefix], layers.Dense(size, activation="softmax")(z))
    model.compile(loss="categorical_crossentropy", optimizer="adam", jit_compile=False)
    model.fit(rows[:2], rows[2], steps_per_epoch=3, verbose=0)  # compiles
    captions = sum(len(descriptions[one]) for one in ids)
    speed = rate(captions, lambda: model.fit(rows[:2], rows[2], verbose=0))
    return {"captions/s": speed, "peak memory, GB": peak_memory(), "captions": captions}


def peak_memory() -> float:
    """Of this process, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def decoding(singles: int) -> dict:
    """Seconds for 1,000 images, greedily: ours, and `predict` per word on a few of them."""
    keras = import_keras()
    from captioning.captioners.loading import find_captioner, load_captioner
    from captioning.decoders.search import generate

    model = load_captioner(find_captioner())
    vocabulary, shape = model.vocabulary, model.feature_shape
    # Plausible features; real ones only change which words come out.
    vectors = np.random.default_rng(0).gamma(0.5, 0.8, (1000, *shape)).astype(np.float32)
    generate(model, vectors[:10])
    started = time.perf_counter()
    found = generate(model, vectors)
    ours = time.perf_counter() - started

    class NextWords(keras.Model):
        def call(self, inputs):
            return model.next_words(inputs)

    whole = NextWords()
    longest = vocabulary.max_length

    def predict_per_word():
        for vector, hypothesis in zip(vectors[:singles], found, strict=False):
            tokens = vocabulary.encode(hypothesis.caption)
            for end in range(1, len(tokens)):
                padded = np.array([[0] * (longest - end) + tokens[:end]])
                whole.predict({"features": vector[None], "tokens": padded}, verbose=0)

    predict_per_word()  # compiles
    started = time.perf_counter()
    predict_per_word()
    theirs = (time.perf_counter() - started) / singles * 1000
    return {"ours, s": ours, "predict per word, s": theirs, "ratio": theirs / ours}


# ---- start-up --------------------------------------------------------------------------------


def first_forward_pass(_) -> float:
    """Seconds of an encoder's first pass over one picture."""
    import_keras()
    from captioning.encoders.loading import load_encoder

    encoder = load_encoder("efficientnet_lite0")
    started = time.perf_counter()
    encoder.encode_few(np.zeros((1, 224, 224, 3), np.uint8))
    return time.perf_counter() - started


def startup() -> dict:
    """Seconds for one caption, and of what cannot be avoided; the best of three, warm disk."""

    def seconds(*command: str) -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        return time.perf_counter() - started

    picture = str(ROOT / "examples" / "cat.jpg")
    caption = min(seconds(str(ROOT / "5_test.py"), picture) for _ in range(3))
    floor = min(seconds("-c", "import tensorflow") for _ in range(3)) + apart(first_forward_pass, 0)
    helps = {
        path.name: min(seconds(str(path), "--help") for _ in range(3))
        for path in sorted(ROOT.glob("[1-5]_*.py"))
    }
    return {
        "5_test.py, s": caption,
        "import and one forward pass, s": floor,
        "ratio": caption / floor,
        "--help, s": helps,
    }


# ---- all together ----------------------------------------------------------------------------


def main() -> None:
    parser = ArgumentParser(__doc__.split("\n")[0])
    add = parser.add_argument
    add("--encoder", default="resnet50", help="the original's is resnet50")
    add("--images", type=positive_int, default=320, help="for extraction")
    add("--batch-size", type=positive_int, default=32, help="for extraction")
    add("--original-images", type=positive_int, default=30, help="for prefix expansion")
    add("--singles", type=positive_int, default=20, help="for what goes one at a time")
    add("--only", choices=("extraction", "training", "decoding", "startup"))
    args = parser.parse_args()
    if args.only in (None, "extraction"):
        extracted = apart(extraction, args.encoder, args.images, args.singles, args.batch_size)
        print(json.dumps({"extraction, images/s": extracted}, indent=1))
        f32, bf16 = extracted["float32"], extracted["bfloat16"]
        print(f"ours / bare network {f32['ours'] / f32['bare']:.3f} (goal 0.95)")
        print(f"bfloat16 / float32 {bf16['ours'] / f32['ours']:.2f} (goal 1.4)")
        print(f"ours / one at a time {f32['ours'] / extracted['one at a time, eager']:.1f}")
    if args.only in (None, "training"):
        theirs = apart(original_training, args.original_images)
        print(json.dumps({"training, prefixes": theirs}, indent=1))
        for name, dtype in (("float32", "float32"), ("bfloat16", "mixed_bfloat16")):
            ours = apart(ours_training, dtype)
            print(json.dumps({f"training, ours, {name}": ours}, indent=1))
            ratio = ours["captions/s"] / theirs["captions/s"]
            print(f"ours / prefixes {ratio:.1f} (goal 30)")
    if args.only in (None, "decoding"):
        print(
            json.dumps({"greedy decoding of 1,000 images": apart(decoding, args.singles)}, indent=1)
        )
    if args.only in (None, "startup"):
        print(json.dumps({"one caption": startup()}, indent=1))


if __name__ == "__main__":
    run(main)
