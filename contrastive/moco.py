"""MoCo v2 (He et al., arXiv 1911.05722; Chen et al., arXiv 2003.04297): a queue of keys."""

from typing import Any

import keras
import numpy as np
from keras import ops

from contrastive.losses import info_nce, unit
from contrastive.momentum import follow, follower
from contrastive.pretext import Pretext, mlp


@keras.saving.register_keras_serializable(package="contrastive")
class MoCo(Pretext):
    """One view is the query, the other its key among many of earlier batches.

    In every step the momentum encoder follows the encoder, makes the keys, and these replace the
    oldest ones in the queue. See `Pretext` for the other arguments.

    Args:
        temperature: of InfoNCE.
        momentum: of the momentum encoder.
        queue_size: negatives; a multiple of the batch size.
        projection: length of queries and keys.
        groups: parts of a batch that are normalised apart, drawn anew in every step, for queries
            and keys each. By statistics of the whole batch a key would be told from the queue's
            by the company it came in (arXiv 1911.05722, section 3.3, which shuffles over 8 GPUs).
            A batch comes sorted by source: queries in groups of neighbours would be normalised
            within one source, and their keys across all.
    """

    def __init__(
        self,
        encoder,
        views,
        temperature: float = 0.2,
        momentum: float = 0.999,
        queue_size: int = 65536,
        projection: int = 128,
        groups: int = 1,
        **kwargs,
    ) -> None:
        super().__init__(encoder, views, **kwargs)
        self.temperature, self.momentum = temperature, momentum
        self.queue_size, self.projection, self.groups = queue_size, projection, groups
        self.shuffler = keras.random.SeedGenerator(self.seed + 1)  # not a view's
        self.head = mlp(self.width, self.width, projection, norms=0, name="projection_head")
        self.momentum_encoder = follower(encoder)
        self.momentum_head = follower(self.head)
        # Random directions, until keys have taken their places.
        start = np.random.default_rng(self.seed).normal(size=(queue_size, projection))
        start /= np.linalg.norm(start, axis=1, keepdims=True)
        self.queue = self.state_variable("queue", start.astype(np.float32))
        self.position = self.state_variable("position", np.array(0, np.int32))
        self.built = True

    def embed(self, views, training: bool) -> dict[str, Any]:
        """Queries of the first views, keys of the second."""
        first, second = views
        if not training:
            keys = self._project(self.momentum_encoder, self.momentum_head, second, False)
            queries = self._project(self.encoder, self.head, first, False)
            return {"queries": queries, "keys": ops.stop_gradient(unit(keys))}
        follow(self.momentum_encoder, self.encoder, self.momentum)
        follow(self.momentum_head, self.head, self.momentum)
        keys = self._in_groups(self.momentum_encoder, self.momentum_head, second)
        queries = self._in_groups(self.encoder, self.head, first)
        return {"queries": queries, "keys": ops.stop_gradient(unit(keys))}

    def _in_groups(self, encoder, head, views):
        """Projections of the views, in training, a random group of them at a time."""
        order = keras.random.shuffle(ops.arange(ops.shape(views)[0]), seed=self.shuffler)
        shuffled = ops.take(views, order, axis=0)
        parts = ops.reshape(shuffled, (self.groups, -1, *views.shape[1:]))
        projected = ops.concatenate(
            [self._project(encoder, head, parts[number], True) for number in range(self.groups)]
        )
        return ops.take(projected, ops.argsort(order), axis=0)

    @staticmethod
    def _project(encoder, head, views, training: bool):
        return head(encoder(views, training=training)["pooled"], training=training)

    def loss_of(self, embedded: dict[str, Any]):
        """InfoNCE against the queue as it was; then the keys join it."""
        queries, keys = embedded["queries"], embedded["keys"]
        self.watch_spread(queries)
        queue = ops.stop_gradient(ops.convert_to_tensor(self.queue))
        loss = info_nce(queries, keys, queue, self.temperature)
        self.queue.assign(ops.slice_update(queue, (self.position.value, 0), keys))
        self.position.assign((self.position + ops.shape(keys)[0]) % self.queue_size)
        return loss

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "temperature": self.temperature,
            "momentum": self.momentum,
            "queue_size": self.queue_size,
            "projection": self.projection,
            "groups": self.groups,
        }
