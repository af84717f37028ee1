"""BYOL (Grill et al., arXiv 2006.07733): predict the target network's view; no negatives."""

import math
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from contrastive.losses import byol_loss
from contrastive.momentum import follow, follower
from contrastive.pretext import Pretext, mlp


@keras.saving.register_keras_serializable(package="contrastive")
class BYOL(Pretext):
    """An online network predicts what its slow copy, the target, makes of the other view.

    In every step the target follows the online network, with a momentum that rises from
    `momentum` to 1 along a half cosine over `total_steps`. See `Pretext` for the other arguments.

    Args:
        momentum: of the target network at the start.
        total_steps: length of the run.
        projection: length of the vectors that are predicted.
        hidden: width of projection head and predictor.
        predictor: without it the network may collapse, which shows what it is for.
    """

    def __init__(
        self,
        encoder,
        views,
        momentum: float = 0.996,
        total_steps: int = 1,
        projection: int = 256,
        hidden: int = 4096,
        predictor: bool = True,
        **kwargs,
    ) -> None:
        super().__init__(encoder, views, **kwargs)
        self.momentum, self.total_steps = momentum, total_steps
        self.projection, self.hidden, self.predictor = projection, hidden, predictor
        self.head = mlp(self.width, hidden, projection, norms=1, name="projection_head")
        self.predict_head = (
            mlp(projection, hidden, projection, norms=1, name="predictor")
            if predictor
            else keras.Sequential([keras.Input((projection,)), layers.Identity()])
        )
        self.target_encoder = follower(encoder)
        self.target_head = follower(self.head)
        self.step = self.state_variable("step", np.array(0, np.int32))
        self.built = True

    def embed(self, views, training: bool) -> dict[str, Any]:
        """Predictions from both views, and the targets from the other view of each."""
        if training:
            momentum = self.momentum_at(self.step)
            follow(self.target_encoder, self.encoder, momentum)
            follow(self.target_head, self.head, momentum)
            self.step.assign(self.step + 1)
        pixels = ops.concatenate(views, axis=0)
        projected = self.head(self.encoder(pixels, training=training)["pooled"], training=training)
        predictions = self.predict_head(projected, training=training)
        others = ops.concatenate(views[::-1], axis=0)
        slow = self.target_encoder(others, training=training)["pooled"]
        targets = self.target_head(slow, training=training)
        return {"predictions": predictions, "targets": ops.stop_gradient(targets)}

    def loss_of(self, embedded: dict[str, Any]):
        """The BYOL loss, both ways round."""
        self.watch_spread(embedded["targets"])
        return 2 * byol_loss(embedded["predictions"], embedded["targets"])

    def momentum_at(self, step):
        """The target's momentum in a step, counted from 0."""
        progress = ops.minimum(ops.cast(step, "float32") / self.total_steps, 1.0)
        return 1 - (1 - self.momentum) * (ops.cos(math.pi * progress) + 1) / 2

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "total_steps": self.total_steps,
            "projection": self.projection,
            "hidden": self.hidden,
            "predictor": self.predictor,
        }
