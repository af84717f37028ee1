"""SimCLR (Chen et al., arXiv 2002.05709): views of a picture find each other in the batch."""

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

    def loss_of(self, views):
        """NT-Xent of the two views, and of the small crops where there are any."""
        first, second = self._project(views[:2])
        small = self._project(views[2:]) if len(views) > 2 else ()
        return nt_xent(first, second, self.temperature, small, self.decoupled), first

    def _project(self, views) -> list:
        """Projections (B, D) of views of a size, which share a pass, and so batch statistics."""
        projected = project(self.encoder, self.head, ops.concatenate(views, axis=0))
        return ops.split(projected, len(views))
