"""BYOL (Grill et al., arXiv 2006.07733): predict the target network's view; no negatives."""

import math

import keras
from keras import ops

from contrastive.losses import byol_loss
from contrastive.pretext import Pretext, ema_copy, mlp, project, update_ema

HIDDEN, PROJECTION = 4096, 256  # width of the heads, and length of what is predicted


class BYOL(Pretext):
    """An online network predicts what its slow copy, the target, makes of the other view.

    In every step the target follows the online network, with a momentum that rises from
    `momentum` to 1 along a half cosine over `steps`, the length of the run.
    """

    def __init__(
        self, encoder, views, seed: int = 0, momentum: float = 0.996, steps: int = 1
    ) -> None:
        super().__init__(encoder, views, seed)
        self.momentum, self.steps = momentum, steps
        self.head = mlp(self.width, HIDDEN, PROJECTION, norms=1, name="projection_head")
        self.predictor = mlp(PROJECTION, HIDDEN, PROJECTION, norms=1, name="predictor")
        self.target_encoder, self.target_head = ema_copy(encoder), ema_copy(self.head)
        self.step = keras.Variable(0, dtype="int32", trainable=False, name="step")

    def loss_of(self, views):
        """The BYOL loss, both ways round: from each view the other's target is predicted."""
        progress = ops.minimum(ops.cast(self.step, "float32") / self.steps, 1.0)
        momentum = 1 - (1 - self.momentum) * (ops.cos(math.pi * progress) + 1) / 2
        update_ema(self.target_encoder, self.encoder, momentum)
        update_ema(self.target_head, self.head, momentum)
        self.step.assign(self.step + 1)
        both, swapped = ops.concatenate(views, axis=0), ops.concatenate(views[::-1], axis=0)
        projected = project(self.encoder, self.head, both)
        predictions = self.predictor(projected, training=True)
        targets = ops.stop_gradient(project(self.target_encoder, self.target_head, swapped))
        return 2 * byol_loss(predictions, targets), targets
