"""SimCLR (Chen et al., arXiv 2002.05709): two views of a picture find each other in the batch."""

from typing import Any

import keras
from keras import ops

from contrastive.losses import nt_xent
from contrastive.pretext import Pretext, mlp


@keras.saving.register_keras_serializable(package="contrastive")
class SimCLR(Pretext):
    """Encoder and projection head under NT-Xent; see `Pretext` for the other arguments.

    Args:
        temperature: of NT-Xent.
        projection: length of the vectors that the loss compares.
    """

    def __init__(
        self, encoder, image_size, temperature: float = 0.2, projection: int = 128, **kwargs
    ) -> None:
        super().__init__(encoder, image_size, **kwargs)
        self.temperature, self.projection = temperature, projection
        self.head = mlp(self.width, self.width, projection, norms=2, name="projection_head")
        self.built = True

    def embed(self, first, second, training: bool) -> dict[str, Any]:
        """Projections of both views, from one pass over both."""
        views = ops.concatenate([first, second], axis=0)
        projected = self.head(self.encoder(views, training=training)["pooled"], training=training)
        first, second = ops.split(projected, 2, axis=0)
        return {"first": first, "second": second}

    def loss_of(self, embedded: dict[str, Any]):
        """NT-Xent."""
        self.watch_spread(embedded["first"])
        return nt_xent(embedded["first"], embedded["second"], self.temperature)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "temperature": self.temperature,
            "projection": self.projection,
        }
