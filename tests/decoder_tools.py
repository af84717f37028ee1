"""Tiny decoders of every kind, and features for them."""

import keras
import numpy as np

from captioning.decoders.base import Decoder
from captioning.decoders.table import DECODERS, decoder_class

NAMES = DECODERS
LETTERS = ["startseq", "endseq", *"abcdefgh"]  # a word of one letter may repeat
SIZE, PLACES = 5, 4
TINY = {
    "merge": {"units": 16},
    "attention": {"positions": PLACES, "units": 16, "width": 12, "output_dropout": 0.0},
    "transformer": {"positions": PLACES, "width": 16, "depth": 2, "heads": 2},
}


def tiny(name: str, words: list[str], max_length: int, seed: int = 3, **options) -> Decoder:
    """A decoder of few units with random weights, without dropout unless it is asked for."""
    keras.utils.set_random_seed(seed)
    return decoder_class(name)(SIZE, words, max_length, **{"dropout": 0.0, **TINY[name], **options})


def features_for(model: Decoder, images: int, seed: int = 4) -> np.ndarray:
    """Vectors, or grids in half precision, of so many images."""
    random = np.random.default_rng(seed)
    values = 2 * random.normal(size=(images, *model.feature_shape))
    return values.astype(np.float16 if model.grid else np.float32)


def training_loss(model: Decoder, inputs: dict, targets: np.ndarray):
    """What a training step on these captions lowers."""
    return model.compute_loss(inputs, targets, model(inputs, training=True), training=True)
