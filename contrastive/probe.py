"""Online probes: do the features get better where the loss looks flat? Nothing is trained.

Each is called with the encoder and returns a share of 1: higher is better.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from captioning.cli import UserError
from captioning.datasets import find_pictures
from captioning.encoders.encoder import Encoder
from captioning.images.names import Excluded
from captioning.images.reading import decode_batches
from captioning.text import clean

NEIGHBOURS = 20
BATCH = 64
WORDS = 300
LARGEST = 3500  # pictures to fit a probe on: seconds, not minutes, on a CPU


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
        features = encode(encoder, self.pixels).astype(np.float64)
        features -= features.mean(axis=0)
        features /= np.linalg.norm(features, axis=1, keepdims=True) + 1e-12
        similarity = features @ features.T
        np.fill_diagonal(similarity, -np.inf)
        votes = neighbour_mean(similarity, np.eye(self.labels.max() + 1)[self.labels])
        return float((votes.argmax(axis=1) == self.labels).mean())


class CaptionProbe:
    """Share of the variance of captions' words that a ridge regression on the features explains.

    The regression (Hoerl and Kennard, 1970) is fitted on the training pictures' standardised
    features, to the share of each picture's captions that hold each of the `WORDS` commonest words.
    Its strength is the one with the least generalised cross-validation error (Golub et al., 1979)
    among the training pictures. The share is measured on held-out pictures, over all words
    together: 0 is what the training pictures' mean explains, and it can be negative.

    Args:
        pixels: uint8 (N, S, S, 3), with the captions of each, and whether each is held out (N,).
    """

    def __init__(
        self, pixels: np.ndarray, captions: Sequence[Sequence[str]], held_out: np.ndarray
    ) -> None:
        order = np.argsort(held_out, kind="stable")
        self.pixels, self.trained = pixels[order], int((~held_out).sum())
        self.targets = word_shares([captions[row] for row in order], self.trained)

    def __call__(self, encoder: keras.Model) -> float:
        """Share of the held-out pictures' variance."""
        return ridge_share(encode(encoder, self.pixels), self.targets, self.trained)


def ridge_share(features: np.ndarray, targets: np.ndarray, trained: int) -> float:
    """Share of variance that a ridge regression explains; see `CaptionProbe`.

    The first `trained` rows of `features` (N, D) and `targets` (N, V) are to fit.
    """
    features = np.asarray(features, np.float64)
    mean, deviation = features[:trained].mean(axis=0), features[:trained].std(axis=0)
    # A feature that is dead on all pictures but a few held-out ones would carry these away.
    alive = deviation > 1e-3 * deviation.max()
    features = (features[:, alive] - mean[alive]) / deviation[alive]
    centred = targets - targets[:trained].mean(axis=0)
    left, values, right = np.linalg.svd(features[:trained], full_matrices=False)
    along = left.T @ centred[:trained]
    missed = np.square(centred[:trained]).sum() - np.square(along).sum()

    def error(strength: float) -> float:
        kept = values**2 / (values**2 + strength)
        residual = missed + np.square((1 - kept)[:, None] * along).sum()
        return residual / (1 - kept.sum() / trained) ** 2

    strength = min(10.0 ** np.arange(0, 7, 0.5), key=error)
    weights = right.T @ ((values / (values**2 + strength))[:, None] * along)
    residual = centred[trained:] - features[trained:] @ weights
    return float(1 - np.square(residual).sum() / np.square(centred[trained:]).sum())


def caption_probe(
    folder: str | Path,
    captions: Mapping[str, Sequence[str]],
    size: int,
    held_out: Collection[str] = (),
) -> CaptionProbe:
    """A `CaptionProbe` of the captioned pictures in a folder.

    The pictures that `held_out` names (see `names.Excluded`) are, else every fourth one. At most
    `LARGEST` others are fitted.

    Raises:
        UserError: fewer than 40 pictures of the folder have captions, or none are held out.
    """
    pictures, _ = find_pictures(folder, {image_id: image_id for image_id in captions})
    owner = {path: image_id for image_id, path in pictures.items() if captions.get(image_id)}
    paths = sorted(owner)
    excluded = Excluded(held_out)
    out = [path for path in paths if str(path) in excluded] if held_out else paths[::4]
    rest = sorted(set(paths) - set(out))
    if len(out) + len(rest) < 40 or not out or not rest:
        raise UserError(
            f"{folder}: {len(paths)} of its pictures have captions in --probe-captions, and "
            f"{len(out)} of these are held out (the pictures of --exclude, if given); a probe "
            "needs at least 40, of both kinds"
        )
    rest = [rest[row] for row in np.random.default_rng(0).permutation(len(rest))[:LARGEST]]
    read, squares = [], []
    for good, pixels, _ in decode_batches([(p, p) for p in rest + out], size, BATCH):
        read += good
        squares.append(pixels)
    held = np.isin(np.array([str(p) for p in read]), [str(p) for p in out])
    return CaptionProbe(np.concatenate(squares), [captions[owner[p]] for p in read], held)


def encode(encoder: keras.Model, pixels: np.ndarray) -> np.ndarray:
    """Features (N, D) of uint8 pictures, without augmentation."""
    # A model of its own around the same layers: compiling the encoder would change the trained one.
    network = Encoder(keras.Model(encoder.input, encoder.output), {})
    size = min(BATCH, len(pixels))
    parts = [network.encode(pixels[i : i + size], size) for i in range(0, len(pixels), size)]
    return np.concatenate(parts)


def neighbour_mean(similarity: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean of the `values` (N, V) of the columns nearest by `similarity` (Q, N), nearer more."""
    count = min(NEIGHBOURS, similarity.shape[1] - 1)
    nearest = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
    # Temperature 0.07, as in the nearest-neighbour classifier of Wu et al. (arXiv 1805.01978).
    weights = np.exp(np.take_along_axis(similarity, nearest, axis=1) / 0.07)
    return np.einsum("qk,qkv->qv", weights / weights.sum(axis=1, keepdims=True), values[nearest])


def word_shares(captions: Sequence[Sequence[str]], trained: int) -> np.ndarray:
    """Share (N, V) of each picture's captions that hold each of the commonest words.

    Those are the `WORDS` commonest among the first `trained` pictures' captions.
    """
    cleaned = [[clean(text, "original") for text in texts] for texts in captions]
    counts = Counter(word for texts in cleaned[:trained] for words in texts for word in words)
    column = {word: number for number, (word, _) in enumerate(counts.most_common(WORDS))}
    shares = np.zeros((len(cleaned), len(column)))
    for row, texts in enumerate(cleaned):
        for words in texts:
            for word in set(words) & column.keys():
                shares[row, column[word]] += 1 / len(texts)
    return shares
