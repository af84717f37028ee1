"""Online probe: do the features get better where the loss looks flat? Nothing is trained."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
from keras import ops

from captioning.cli import UserError, check_most_read, report_skipped
from captioning.datasets import find_images
from captioning.encoders.encoder import Encoder
from captioning.images.names import Excluded
from captioning.images.reading import ToSquare, decode_batches, squash
from captioning.text import clean

BATCH = 64
WORDS = 300
LARGEST = 3500  # pictures to fit a probe on, or to judge it: seconds, not minutes, on a CPU


class CaptionProbe:
    """Share of the variance of captions' words that a ridge regression on the features explains.

    The regression (Hoerl and Kennard, 1970) is fitted on the training pictures' normalised
    features, to the share of each picture's captions that hold each of the `WORDS` commonest words,
    with the strength of the least generalised cross-validation error (Golub et al., 1979). It is
    measured on held-out pictures, over all words together: 0 is what the mean explains.

    Of the images in `pixels`, uint8 (N, S, S, 3), the first `fitted` are fitted.
    """

    def __init__(self, pixels: np.ndarray, captions: Sequence[Sequence[str]], fitted: int) -> None:
        self.pixels, self.fitted = pixels, fitted
        self.targets = word_shares(captions, fitted)

    def __call__(self, encoder: keras.Model) -> float:
        """Share of the held-out pictures' variance."""
        return self._shares(encoder, [encoder.output["pooled"]])[0]

    def by_stage(self, encoder: keras.Model, stages: Sequence[str]) -> list[float]:
        """The same of what each stage gives, its mean over all places; of the last, `pooled`.

        The best stage is what pretext tasks are judged by in Kolesnikov et al., arXiv 1901.09005.
        `stages` are as the table of encoders has them: how each one's layers' names begin.
        """
        firsts = [next(x for x in encoder.layers if x.name.startswith(name)) for name in stages[1:]]
        grids = [ops.cast(layer.input, "float32") for layer in firsts]  # (B, ..., D)
        means = [ops.mean(grid, axis=tuple(range(1, len(grid.shape) - 1))) for grid in grids]
        return self._shares(encoder, [*means, encoder.output["pooled"]])

    def _shares(self, encoder: keras.Model, outputs: list[keras.KerasTensor]) -> list[float]:
        """Share by each of the outputs (B, D)."""
        # A model of its own around the same layers: compiling the encoder would change the trained.
        joined = {"pooled": ops.concatenate([*outputs], axis=-1)}
        network = Encoder(keras.Model(encoder.input, joined), {"encoder": encoder.name})
        ends = np.cumsum([output.shape[-1] for output in outputs])
        each = np.split(network.encode(self.pixels, BATCH), ends[:-1], axis=1)
        return [ridge_share(features, self.targets, self.fitted) for features in each]


def ridge_share(features: np.ndarray, targets: np.ndarray, fitted: int) -> float:
    """Share of variance that a ridge regression explains; see `CaptionProbe`.

    The first `fitted` rows of `features` (N, D) and `targets` (N, V) are to fit.
    """
    features = np.asarray(features, np.float64)
    mean, std = features[:fitted].mean(axis=0), features[:fitted].std(axis=0)
    # A feature that is dead on all pictures but a few held-out ones would carry these away.
    alive = std > 1e-3 * std.max()
    features = (features[:, alive] - mean[alive]) / std[alive]
    centred = targets - targets[:fitted].mean(axis=0)
    left, values, right = np.linalg.svd(features[:fitted], full_matrices=False)
    along = left.T @ centred[:fitted]
    missed = np.square(centred[:fitted]).sum() - np.square(along).sum()

    def error(strength: float) -> float:
        kept = values**2 / (values**2 + strength)
        residual = missed + np.square((1 - kept)[:, None] * along).sum()
        return residual / (1 - kept.sum() / fitted) ** 2

    strength = min(10.0 ** np.arange(0, 7, 0.5), key=error)
    weights = right.T @ ((values / (values**2 + strength))[:, None] * along)
    residual = centred[fitted:] - features[fitted:] @ weights
    return float(1 - np.square(residual).sum() / np.square(centred[fitted:]).sum())


def caption_probe(
    folder: str | Path,
    captions: Mapping[str, Sequence[str]],
    size: int,
    held_out: Collection[str] = (),
    square: ToSquare = squash,
) -> CaptionProbe:
    """A `CaptionProbe` of the captioned pictures in a folder, made squares by `square`.

    The pictures that `held_out` names (see `names.Excluded`) are, else every fourth one. Of either
    kind at most `LARGEST` are taken.

    Raises:
        UserError: fewer than 40 pictures of the folder have captions, or none are held out.
    """
    images, _ = find_images(folder, {image_id: image_id for image_id in captions})
    id_of = {path: image_id for image_id, path in images.items() if captions.get(image_id)}
    paths = sorted(id_of)
    excluded = Excluded(held_out)
    out = [path for path in paths if str(path) in excluded] if held_out else paths[::4]
    rest = sorted(set(paths) - set(out))
    if len(paths) < 40 or not out or not rest:
        raise UserError(
            f"{folder}: {len(paths)} of its pictures have captions, and {len(out)} of these are "
            "held out (by --exclude or --split); a probe needs at least 40, of both kinds"
        )
    rest = [rest[row] for row in np.random.default_rng(0).permutation(len(rest))[:LARGEST]]
    out = [out[row] for row in np.random.default_rng(0).permutation(len(out))[:LARGEST]]
    jobs = [(path, path) for path in rest + out]
    [(read, pixels, errors)] = decode_batches(jobs, size, len(jobs), square_of=lambda _: square)
    unreadable = [str(error) for error in errors]
    check_most_read(unreadable, len(jobs))
    report_skipped("unreadable images", unreadable)
    fitted = len(set(read) & set(rest))
    return CaptionProbe(pixels, [captions[id_of[path]] for path in read], fitted)


def word_shares(captions: Sequence[Sequence[str]], fitted: int) -> np.ndarray:
    """Share (N, V) of each picture's captions that hold each of the commonest words.

    Those are the `WORDS` commonest among the first `fitted` pictures' captions.
    """
    cleaned = [[clean(text, "original") for text in texts] for texts in captions]
    counts = Counter(word for texts in cleaned[:fitted] for words in texts for word in words)
    column = {word: number for number, (word, _) in enumerate(counts.most_common(WORDS))}
    shares = np.zeros((len(cleaned), len(column)))
    for row, texts in enumerate(cleaned):
        for words in texts:
            for word in set(words) & column.keys():
                shares[row, column[word]] += 1 / len(texts)
    return shares
