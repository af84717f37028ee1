"""Expected words: those that an image's captions will have, told from its features.

The most probable caption is a plain one. Of a beam's captions the better one has the words that
people would use: a consensus with the captions of similar training images (Devlin et al., arXiv
1505.04467). No training caption is kept for it: a regression stands for them.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from keras import layers, ops

from captioning.distribution import from_first_process
from captioning.features.reading import Features
from captioning.text import Vocabulary

DIRECTIONS, WAVES, RANK = 256, 2048, 256  # at most; measured in docs/lab-notes/captions.md
RIDGE = 1e-4
IMAGES = 1000  # whose features are read at once
MOST = 20_000  # images that it is fitted on: they bound the memory, to half a gigabyte


def sizes_for(images: int, feature_size: int, vocabulary: Vocabulary) -> tuple[int, int, int]:
    """Principal directions, random waves and rank that so many training images allow."""
    waves = min(WAVES, images)
    return min(DIRECTIONS, images, feature_size), waves, min(RANK, waves, len(vocabulary))


def mean_and_std(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each of D numbers in rows (N, D).

    A number that hardly moves is not blown up: a std is at least a hundredth of the mean one.
    """
    std = rows.std(axis=0)
    return rows.mean(axis=0), np.maximum(std, std.mean() / 100 + 1e-12)


def caption_vectors(captions: Sequence[str], vocabulary: Vocabulary, rarity) -> np.ndarray:
    """Counts of words (C, V) times their `rarity` (V,), of length 1; word 0 is none."""
    vectors = np.zeros((len(captions), len(vocabulary) + 1), np.float32)
    for vector, caption in zip(vectors, captions, strict=True):
        np.add.at(vector, [vocabulary.word_index.get(word, 0) for word in caption.split()], 1)
    vectors *= rarity
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


class ExpectedWords(layers.Layer):
    """Features (N, D) or (N, L, D) to the mean of the `caption_vectors` of such images, (N, V).

    Kernel ridge regression with a Gaussian kernel, by random Fourier features (Rahimi and Recht,
    NIPS 2007) of the main principal components, in a matrix of low rank.
    """

    def __init__(self, feature_size: int, outputs: int, sizes: Sequence[int], **kwargs) -> None:
        super().__init__(trainable=False, autocast=False, dtype="float32", **kwargs)
        directions, waves, rank = sizes
        for name, shape in {
            "mean": (feature_size,),
            "std": (feature_size,),
            "directions": (feature_size, directions),
            "frequencies": (directions, waves),
            "phases": (waves,),
            "mean_wave": (waves,),
            "to_rank": (waves, rank),
            "to_words": (rank, outputs),
            "mean_words": (outputs,),
            "rarity": (outputs,),
        }.items():
            first = "ones" if name == "std" else "zeros"
            setattr(self, name, self.add_weight(shape, first, name=name))
        self.built = True

    def call(self, features):
        features = ops.cast(features, "float32")
        if len(features.shape) == 3:
            features = ops.mean(features, axis=1)
        components = ops.matmul((features - self.mean) / self.std, self.directions)
        waves = ops.cos(ops.matmul(components, self.frequencies) + self.phases) - self.mean_wave
        return ops.matmul(ops.matmul(waves, self.to_rank), self.to_words) + self.mean_words

    def fit(
        self,
        features: Features,
        captions: Mapping[str, Sequence[str]],
        image_ids: Sequence[str],
        vocabulary: Vocabulary,
    ) -> None:
        """Find all weights from features and captions of training images, of up to `MOST`."""
        image_ids = image_ids[:: -(-len(image_ids) // MOST)]
        rows = features.of(image_ids)
        blocks = [slice(first, first + IMAGES) for first in range(0, len(rows), IMAGES)]
        parts = (rows[block].astype(np.float32) for block in blocks)
        pooled = np.concatenate([part.mean(axis=1) if part.ndim == 3 else part for part in parts])
        mean, std = mean_and_std(pooled)
        pooled = (pooled - mean) / std

        # 1. Principal components, scaled so that two images are a distance of about 1 apart.
        count = self.directions.shape[1]
        if len(pooled) < pooled.shape[1]:
            directions = np.linalg.svd(pooled, full_matrices=False)[2][:count].T
        else:  # quicker
            directions = np.linalg.eigh(pooled.T @ pooled)[1][:, -count:]
        components = pooled @ directions
        scale = np.sqrt((components**2).sum(axis=1).mean()) + 1e-12
        rng = np.random.default_rng(0)
        frequencies = rng.standard_normal(self.frequencies.shape, np.float32)
        phases = rng.uniform(0, 2 * np.pi, self.phases.shape).astype(np.float32)
        waves = np.cos(components / scale @ frequencies + phases)
        mean_wave = waves.mean(axis=0)
        waves -= mean_wave

        # 2. What is regressed on: of each image the mean vector of its captions.
        of_images = [[*captions[image_id]] for image_id in image_ids]
        known = vocabulary.word_index
        seen = Counter(word for some in of_images for word in {*" ".join(some).split()})
        rarity = np.zeros(len(vocabulary) + 1, np.float32)
        for word in seen.keys() & known.keys():
            rarity[known[word]] = np.log(len(of_images) / seen[word])
        product, sum_of_words = 0.0, 0.0  # waves with words, (W, V)
        for block in blocks:
            words = np.stack(
                [caption_vectors(s, vocabulary, rarity).mean(axis=0) for s in of_images[block]]
            )
            product = product + waves[block].T @ words
            sum_of_words = sum_of_words + words.sum(axis=0)

        # 3. Ridge regression; of its answers the main directions, in the metric of the images.
        gram = waves.T @ waves
        gram += RIDGE * len(waves) * waves.shape[1] / 2 * np.eye(len(gram), dtype=np.float32)
        root = np.linalg.cholesky(gram)
        answers = np.linalg.solve(root, product)
        main = np.linalg.eigh(answers @ answers.T)[1][:, -self.to_rank.shape[1] :]
        found = {
            "mean": mean,
            "std": std * scale,
            "directions": directions,
            "frequencies": frequencies,
            "phases": phases,
            "mean_wave": mean_wave,
            "to_rank": np.linalg.solve(root.T, main),
            "to_words": main.T @ answers,
            "mean_words": sum_of_words / len(of_images),
            "rarity": rarity,
        }
        for name, value in from_first_process(found).items():
            getattr(self, name).assign(value)

    def likeness(
        self, captions: Sequence[str], expected: np.ndarray, vocabulary: Vocabulary
    ) -> np.ndarray:
        """How like captions are to an image's `expected` words (V,): (C,), from 0 to 1."""
        return caption_vectors(captions, vocabulary, ops.convert_to_numpy(self.rarity)) @ expected
