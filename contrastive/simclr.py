"""SimCLR (Chen et al., arXiv 2002.05709): views of a picture find each other in the batch."""

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
        decoupled: without a picture's own views in the denominator, see `nt_xent`.
        projection: length of the vectors that the loss compares.
    """

    def __init__(
        self,
        encoder,
        views,
        temperature: float = 0.2,
        decoupled: bool = False,
        projection: int = 128,
        **kwargs,
    ) -> None:
        super().__init__(encoder, views, **kwargs)
        self.temperature, self.decoupled, self.projection = temperature, decoupled, projection
        self.head = mlp(self.width, self.width, projection, norms=2, name="projection_head")
        self.built = True

    def embed(self, views, training: bool) -> dict[str, Any]:
        """Projections (V, B, D) of the two views, and of the small crops where there are any.

        Views of a size share a pass, and so their batch statistics.
        """
        return {
            name: self._project(same, training)
            for name, same in (("views", views[:2]), ("small", views[2:]))
            if len(same)
        }

    def _project(self, views, training: bool):
        pixels = ops.concatenate(views, axis=0)
        projected = self.head(self.encoder(pixels, training=training)["pooled"], training=training)
        return ops.reshape(projected, (len(views), -1, self.projection))

    def loss_of(self, embedded: dict[str, Any]):
        """NT-Xent."""
        first, second = embedded["views"][0], embedded["views"][1]
        small = embedded.get("small")
        others = [small[number] for number in range(len(self.views) - 2)]
        self.watch_spread(first)
        return nt_xent(first, second, self.temperature, others, self.decoupled)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "temperature": self.temperature,
            "decoupled": self.decoupled,
            "projection": self.projection,
        }
