"""MoCo v2 (He et al., arXiv 1911.05722; Chen et al., arXiv 2003.04297): a queue of keys."""

import keras
import numpy as np
from keras import ops

from contrastive.losses import info_nce, l2_normalize
from contrastive.pretext import PROJECTION, Pretext, ema_copy, mlp, update_ema

MOST_GROUPS, LEAST_GROUP = 8, 16  # as many as the official run has GPUs, of so many pictures


class MoCo(Pretext):
    """One view is the query, the other its key among many of earlier batches.

    In every step the momentum encoder follows the encoder, makes the keys, and these replace the
    oldest ones in the queue. A batch is normalised in random groups, drawn anew in every step, for
    queries and keys each. By statistics of the whole batch a key would be told from the queue's by
    the company it came in (arXiv 1911.05722, section 3.3, which shuffles over 8 GPUs). Queries are
    shuffled, too, because a batch comes sorted by source. `queue_size` is the number of negatives,
    a multiple of `batch_size`.
    """

    def __init__(
        self,
        encoder,
        views,
        seed: int = 0,
        temperature: float = 0.2,
        momentum: float = 0.999,
        queue_size: int = 65536,
        batch_size: int = 256,
    ) -> None:
        super().__init__(encoder, views, seed)
        self.temperature, self.momentum, self.queue_size = temperature, momentum, queue_size
        self.groups = groups_of(batch_size)
        self.shuffler = keras.random.SeedGenerator(seed + 1)  # not a view's
        self.head = mlp(self.width, self.width, PROJECTION, norms=0, name="projection_head")
        self.momentum_encoder, self.momentum_head = ema_copy(encoder), ema_copy(self.head)
        # Random directions, until keys have taken their places.
        start = np.random.default_rng(seed).normal(size=(queue_size, PROJECTION))
        start /= np.linalg.norm(start, axis=1, keepdims=True)
        self.queue = keras.Variable(start, dtype="float32", trainable=False, name="queue")
        self.position = keras.Variable(0, dtype="int32", trainable=False, name="position")

    def loss_of(self, views):
        """InfoNCE of the first views against the queue as it was; the second ones then join it."""
        first, second = views
        update_ema(self.momentum_encoder, self.encoder, self.momentum)
        update_ema(self.momentum_head, self.head, self.momentum)
        keys = self._project(self.momentum_encoder, self.momentum_head, second)
        keys = ops.stop_gradient(l2_normalize(keys))
        queries = self._project(self.encoder, self.head, first)
        queue = ops.stop_gradient(ops.convert_to_tensor(self.queue))
        loss = info_nce(queries, keys, queue, self.temperature)
        self.queue.assign(ops.slice_update(queue, (self.position.value, 0), keys))
        self.position.assign((self.position + ops.shape(keys)[0]) % self.queue_size)
        return loss, queries

    def _project(self, encoder, head, views):
        """Projections (B, D) of the views, a random group of them at a time."""
        order = keras.random.shuffle(ops.arange(ops.shape(views)[0]), seed=self.shuffler)
        groups = ops.reshape(ops.take(views, order, axis=0), (self.groups, -1, *views.shape[1:]))
        vectors = [encoder(groups[n], training=True)["pooled"] for n in range(self.groups)]
        projected = head(ops.concatenate(vectors), training=True)
        return ops.take(projected, ops.argsort(order), axis=0)


def groups_of(batch_size: int) -> int:
    """Into how many equal groups a batch falls: the most whose groups are large enough, else 2."""
    divisors = [n for n in range(2, MOST_GROUPS + 1) if batch_size % n == 0]
    large = [n for n in divisors if batch_size // n >= LEAST_GROUP]
    return max(large, default=2 if 2 in divisors else 1)
