"""What the three methods share: an encoder, random views of every picture, a head, a slow copy."""

from collections.abc import Sequence

import keras
from keras import layers, ops

from contrastive.augment import Augmentation
from contrastive.losses import spread
from contrastive.presets import View

PROJECTION = 128  # length of the vectors that SimCLR and MoCo compare


class Pretext(keras.Model):
    """Base of the methods: uint8 pictures in, a loss out; `encoder` is what is saved of it.

    A subclass turns the views (B, H, W, 3) of the same pictures into the loss, a scalar, and the
    vectors (B, D) whose spread is logged, which shows a collapse (`loss_of`). Whatever changes
    without a gradient (target network, queue, counters) is a non-trainable variable, which
    `loss_of` assigns.

    `encoder` takes pixels (B, H, W, 3), 0 to 255, to a dictionary with `pooled` (B, D); for `views`
    see `presets.views_for`.
    """

    def __init__(self, encoder: keras.Model, views: Sequence[View], seed: int = 0) -> None:
        super().__init__()
        self.encoder = encoder
        self.width = encoder.output["pooled"].shape[-1]  # D
        self.augmentations = [
            Augmentation(view, seed + 1000 * number) for number, view in enumerate(views)
        ]
        self.spread = keras.metrics.Mean(name="spread")
        self.built = True

    def call(self, images):
        """What `loss_of` gives for views of uint8 images (B, S, S, 3)."""
        return self.loss_of([augment(images) for augment in self.augmentations])

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss, vectors = y_pred
        self.spread.update_state(spread(ops.stop_gradient(vectors)))
        return loss


def project(encoder: keras.Model, head: keras.Model, images):
    """The head's vectors (B, D) of images (B, H, W, 3), in training."""
    return head(encoder(images, training=True)["pooled"], training=True)


def mlp(inputs: int, hidden: int, outputs: int, *, norms: int, name: str) -> keras.Sequential:
    """A head of two dense layers, in float32, with batch normalisation after the first `norms`.

    Its cost is nothing beside an encoder's, and a loss of small differences wants the bits.
    """
    kind = {"dtype": "float32"}
    parts = [keras.Input((inputs,), **kind)]
    for number, units in enumerate((hidden, outputs)):
        normalised = number < norms
        parts.append(layers.Dense(units, use_bias=not normalised, name=f"dense{number}", **kind))
        if normalised:
            parts.append(layers.BatchNormalization(momentum=0.9, name=f"norm{number}", **kind))
        if number == 0:
            parts.append(layers.ReLU(**kind))
    return keras.Sequential(parts, name=name)


def ema_copy(network: keras.Model) -> keras.Model:
    """A copy of a network with the same weights, which no gradient reaches, see `update_ema`.

    Its variables are not trainable, but its layers are: batch normalisation in a Keras layer that
    is not trainable goes by running statistics, which belong to other weights than the moving
    averages. MoCo and BYOL then collapsed within a few hundred steps of a ResNet-18.
    """
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    for variable in copy.variables:
        variable.trainable = False
    return copy


def update_ema(copy: keras.Model, network: keras.Model, momentum) -> None:
    """Move every weight of `copy`: copy = momentum * copy + (1 - momentum) * network.

    The running statistics of batch normalisation are left to the copy's own passes.
    """
    for average, weight in zip(copy.weights, network.weights, strict=True):
        if weight.trainable:
            target = ops.stop_gradient(ops.cast(weight, average.dtype))
            average.assign(momentum * average + (1 - momentum) * target)
