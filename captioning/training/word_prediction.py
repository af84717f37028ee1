"""Prediction of the words of a picture's captions, which an encoder learns before any decoder.

It costs a fraction of a decoder's training, and no language model can guess most of the words from
those before (Joulin et al., arXiv 1511.02251).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

LEAST_AREA = 0.35  # of a picture in a view: less than a decoder's, because no word needs its place


def word_predictor(network: keras.Model, words: int, dropout: float = 0.3) -> keras.Model:
    """A model of `pixels` (B, H, W, 3) to logits (B, V) of the words that captions have.

    Other than in fine-tuning with a decoder, the network's batch normalisation learns: a batch
    here has images enough for that. `words` is V, index 0, which is no word, counted.
    """
    pixels = keras.Input((None, None, 3), name="pixels")
    vector = network(pixels)["pooled"]
    # Features of encoders differ in scale by orders.
    vector = layers.BatchNormalization(center=False, scale=False, dtype="float32")(vector)
    vector = layers.Dropout(dropout)(vector)
    return keras.Model({"pixels": pixels}, layers.Dense(words, dtype="float32")(vector))


def mix(
    pixels: np.ndarray, shares: np.ndarray, random: np.random.Generator, alpha: float
) -> tuple[np.ndarray, np.ndarray]:
    """Images (B, H, W, 3) and their targets (B, V), mixed in pairs (mixup, arXiv 1710.09412).

    An image's own share is drawn from the Beta distribution with `alpha`.
    """
    count = len(pixels)
    kept = random.beta(alpha, alpha, count).astype(np.float32)
    pairs = random.permutation(count)
    share = kept.reshape(count, 1, 1, 1)
    pixels = share * pixels + (1 - share) * pixels[pairs]
    return pixels.astype(np.uint8), kept[:, None] * shares + (1 - kept[:, None]) * shares[pairs]


def word_weights(captions: Iterable[Sequence[int]], words: int) -> np.ndarray:
    """What each of `words` words counts, (V,): the inverse root of the share of captions with it.

    Without it articles would drown what can be seen. Index 0, and a word of no caption, count 0.
    """
    count, total = np.zeros(words), 0
    for caption in captions:
        count[list(set(caption))] += 1
        total += 1
    count[0] = 0
    return np.sqrt(np.divide(total, count, out=np.zeros(words), where=count > 0)).astype("float32")


def word_shares(tokens: np.ndarray, images: int, weights: np.ndarray) -> np.ndarray:
    """The share (B, V) of each word in what is said of each of B images; a row sums to 1.

    Of `tokens` (B * n, T) the n captions of an image are neighbours, each ending in 0s. A word that
    a caption has twice counts once, times the weight that `word_weights` gives.
    """
    shares = np.zeros((images, len(weights)), np.float32)
    for number, caption in enumerate(tokens):
        shares[number * images // len(tokens), np.unique(caption)] += 1
    shares *= weights
    return shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-12)


def batches_of_words(
    passed: Iterable[tuple[dict[str, Any], np.ndarray]],
    weights: np.ndarray,
    *,
    mixup: float = 0.0,
    seed: Sequence[int] = (),
) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """What is `passed` by `ImageBatches.epoch`, with shares of words instead of the next words.

    With `mixup`, `mix`'s alpha, images are mixed in pairs that follow from the seed.
    """
    random = np.random.default_rng(seed)
    for inputs, targets in passed:
        pixels = inputs["pixels"]
        shares = word_shares(targets, len(pixels), weights)
        if mixup:
            pixels, shares = mix(pixels, shares, random, mixup)
        yield {"pixels": pixels}, shares
