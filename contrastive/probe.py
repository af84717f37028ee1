"""Online probes: do the features get better where the loss looks flat? Nothing is trained.

Each is called with the encoder and returns a share from 0 to 1: higher is better.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from captioning.cli import UserError
from captioning.datasets import image_id
from captioning.encoders import Encoder
from captioning.images import decode_batches, list_images
from captioning.text import clean

NEIGHBOURS = 20
BATCH = 64
LARGEST = 2000  # pictures of a probe: seconds, not minutes, on a CPU


class ClassProbe:
    """Share of pictures whose class the nearest other pictures vote for (leave one out).

    Args:
        pixels: uint8 (N, S, S, 3), with a class number (N,) each, or -1 for none.
    """

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, seed: int = 0) -> None:
        rows = np.flatnonzero(labels >= 0)
        rows = np.random.default_rng(seed).permutation(rows)[:LARGEST]
        self.pixels, self.labels = pixels[np.sort(rows)], labels[np.sort(rows)]

    def __call__(self, encoder: keras.Model) -> float:
        """Accuracy."""
        features = encode(encoder, self.pixels)
        similarity = features @ features.T
        np.fill_diagonal(similarity, -np.inf)
        votes = neighbour_mean(similarity, np.eye(self.labels.max() + 1)[self.labels])
        return float((votes.argmax(axis=1) == self.labels).mean())


class CaptionProbe:
    """Share of pictures whose own captions are among the ten best for their neighbours' words.

    A quarter of the pictures are queries. The words of the other pictures that are nearest to a
    query predict its words; all queries' captions are ranked by their cosine similarity with
    that. By chance the share is ten divided by the number of queries.

    Args:
        pixels: uint8 (N, S, S, 3), with the captions of each.
    """

    def __init__(self, pixels: np.ndarray, captions: Sequence[Sequence[str]], seed: int = 0):
        order = np.random.default_rng(seed).permutation(len(pixels))
        self.pixels = pixels[order]
        self.words = word_vectors([captions[row] for row in order])
        self.queries = len(pixels) // 4

    def __call__(self, encoder: keras.Model) -> float:
        """Recall at ten."""
        features, count = encode(encoder, self.pixels), self.queries
        predicted = neighbour_mean(features[:count] @ features[count:].T, self.words[count:])
        scores = predicted @ self.words[:count].T
        rank = (scores > np.diag(scores)[:, None]).sum(axis=1)
        return float((rank < 10).mean())


def caption_probe(
    folder: str | Path, captions: Mapping[str, Sequence[str]], size: int
) -> CaptionProbe:
    """A `CaptionProbe` of the captioned pictures in a folder, at most `LARGEST` of them.

    Raises:
        UserError: fewer than 40 pictures of the folder have captions.
    """
    paths = [path for path in list_images([folder]) if captions.get(image_id(path.name))]
    paths = paths[:: -(-len(paths) // LARGEST) or 1]
    read, squares = [], []
    for good, pixels, _ in decode_batches(paths, size, BATCH):
        read += good
        squares.append(pixels)
    if len(read) < 40:
        raise UserError(
            f"{folder}: {len(read)} of its pictures are readable and have captions in "
            "--probe-captions; a probe needs at least 40"
        )
    return CaptionProbe(np.concatenate(squares), [captions[image_id(p.name)] for p in read])


def encode(encoder: keras.Model, pixels: np.ndarray) -> np.ndarray:
    """Centred unit features (N, D) of uint8 pictures, without augmentation."""
    # A model of its own around the same layers: compiling the encoder would change the trained one.
    network = Encoder(keras.Model(encoder.input, encoder.output), {})
    parts = [network.encode(pixels[i : i + BATCH], BATCH) for i in range(0, len(pixels), BATCH)]
    features = np.concatenate(parts).astype(np.float64)
    features -= features.mean(axis=0)
    return features / (np.linalg.norm(features, axis=1, keepdims=True) + 1e-12)


def neighbour_mean(similarity: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean of the `values` (N, V) of the columns nearest by `similarity` (Q, N), nearer more."""
    count = min(NEIGHBOURS, similarity.shape[1] - 1)
    nearest = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
    # Temperature 0.07, as in the nearest-neighbour classifier of Wu et al. (arXiv 1805.01978).
    weights = np.exp(np.take_along_axis(similarity, nearest, axis=1) / 0.07)
    return np.einsum("qk,qkv->qv", weights / weights.sum(axis=1, keepdims=True), values[nearest])


def word_vectors(captions: Sequence[Sequence[str]]) -> np.ndarray:
    """Unit vectors (N, V) of word counts weighted by rarity; words of a single picture left out."""
    counts = [Counter(word for text in texts for word in clean(text, "seed")) for texts in captions]
    pictures = Counter(word for count in counts for word in count)
    column = {word: c for c, word in enumerate(sorted(w for w, n in pictures.items() if n > 1))}
    vectors = np.zeros((len(counts), len(column)), np.float32)
    for row, count in enumerate(counts):
        for word, times in count.items():
            if word in column:
                vectors[row, column[word]] = times * np.log(len(counts) / pictures[word])
    return vectors / (np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-12)
