"""SimCLR (Chen et al., arXiv 2002.05709): views of a picture find each other in the batch."""

from typing import Any

from keras import ops

from contrastive.losses import nt_xent
from contrastive.pretext import PROJECTION, Pretext, mlp, project


class SimCLR(Pretext):
    """Encoder and projection head under NT-Xent, `temperature` and `decoupled` being of that."""

    def __init__(
        self, encoder, views, seed: int = 0, temperature: float = 0.2, decoupled: bool = False
    ) -> None:
        super().__init__(encoder, views, seed)
        self.temperature, self.decoupled = temperature, decoupled
        self.head = mlp(self.width, self.width, PROJECTION, norms=2, name="projection_head")

    def embed(self, views, training: bool) -> dict[str, Any]:
        """Projections (V, B, D) of the two views, and of the small crops where there are any.

        Views of a size share a pass, and so their batch statistics.
        """
        embedded = {"views": self._project(views[:2], training)}
        if len(views) > 2:
            embedded["small"] = self._project(views[2:], training)
        return embedded

    def _project(self, views, training: bool):
        projected = project(self.encoder, self.head, ops.concatenate(views, axis=0), training)
        return ops.reshape(projected, (len(views), -1, PROJECTION))

    def loss_of(self, embedded: dict[str, Any]):
        first, second = embedded["views"][0], embedded["views"][1]
        small = [embedded["small"][n] for n in range(len(self.augmentations) - 2)]
        self.watch_spread(first)
        return nt_xent(first, second, self.temperature, small, self.decoupled)
