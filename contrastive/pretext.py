"""What the three methods share: an encoder, random views of every picture, a head."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from contrastive.augment import Augmentation
from contrastive.losses import spread


class Pretext(keras.Model):
    """Base of the methods: uint8 pictures in, a loss out; `encoder` is what is kept of it.

    A subclass turns the views of the pictures into what its loss needs (`embed`) and computes the
    loss (`loss_of`). Whatever changes without a gradient (target network, queue, counters) is a
    non-trainable variable that those two assign. Keras then trains it by its own `train_step` on
    every backend, and saves all of it.

    Args:
        encoder: from pixels (B, H, W, 3), 0 to 255, to a dictionary with `pooled` (B, D).
        views: settings of `Augmentation` for each view of a picture; see `presets.views_for`.
        seed: of the augmentation.
    """

    def __init__(
        self,
        encoder: keras.Model,
        views: Sequence[dict[str, Any]],
        seed: int = 0,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.encoder = encoder
        self.views, self.seed = [dict(view) for view in views], seed
        self.augmentations = [
            Augmentation(**view, seed=seed + 1000 * number) for number, view in enumerate(views)
        ]
        self.spread = keras.metrics.Mean(name="spread")

    @property
    def width(self) -> int:
        """Length D of the encoder's vectors."""
        return self.encoder.output["pooled"].shape[-1]

    def call(self, pictures, training: bool = False):
        """What the loss needs of uint8 `pictures` (B, S, S, 3)."""
        return self.embed([augment(pictures) for augment in self.augmentations], training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The method's loss of a batch."""
        return self.loss_of(y_pred)

    def embed(self, views: Sequence, training: bool) -> dict[str, Any]:
        """What the loss needs of the views (B, H, W, 3) of the same pictures."""
        raise NotImplementedError

    def loss_of(self, embedded: dict[str, Any]):
        """A scalar, from what `embed` returned."""
        raise NotImplementedError

    def state_variable(self, name: str, start: np.ndarray) -> keras.Variable:
        """A variable that the method assigns itself, saved with the weights."""
        return self.add_weight(
            name=name, shape=start.shape, dtype=start.dtype.name, trainable=False,
            initializer=lambda shape, dtype: ops.convert_to_tensor(start, dtype),
        )  # fmt: skip

    def watch_spread(self, vectors) -> None:
        """Log how far apart `vectors` (B, D) lie, which shows a collapse."""
        self.spread.update_state(spread(ops.stop_gradient(vectors)))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "views": self.views,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Pretext":
        """The inverse of `get_config`."""
        encoder = keras.saving.deserialize_keras_object(config.pop("encoder"))
        return cls(encoder, **config)


def mlp(inputs: int, hidden: int, outputs: int, *, norms: int, name: str) -> keras.Sequential:
    """A head of two dense layers, in float32, with batch normalisation after the first `norms`.

    Its cost is nothing beside an encoder's, and a loss of small differences wants the bits.
    """
    layer = {"dtype": "float32"}
    parts = [keras.Input((inputs,), dtype="float32")]
    for number, units in enumerate((hidden, outputs)):
        normalised = number < norms
        parts.append(layers.Dense(units, use_bias=not normalised, name=f"dense{number}", **layer))
        if normalised:
            parts.append(layers.BatchNormalization(momentum=0.9, name=f"norm{number}", **layer))
        if number == 0:
            parts.append(layers.ReLU(**layer))
    return keras.Sequential(parts, name=name)
