"""The slow network of MoCo and BYOL: a copy that follows the trained one."""

import keras
from keras import ops


def follower(network: keras.Model) -> keras.Model:
    """A copy of a network with the same weights, which training leaves alone."""
    slow = keras.models.clone_model(network)
    slow.set_weights(network.get_weights())
    slow.trainable = False
    return slow


def follow(slow: keras.Model, fast: keras.Model, momentum) -> None:
    """Move every weight of `slow` towards `fast`: slow = momentum * slow + (1 - momentum) * fast.

    The statistics of batch normalisation move along with the weights, and the slow network
    normalises by them instead of by its batch (EMAN, Cai et al., arXiv 2101.08482). That is the
    substitute for MoCo's shuffling of batches over GPUs: no key can be told from the others by
    the statistics of the batch that it came in.
    """
    for mine, other in zip(slow.weights, fast.weights, strict=True):
        target = ops.stop_gradient(ops.cast(other, mine.dtype))
        mine.assign(momentum * mine + (1 - momentum) * target)


def warmed_up(momentum, step):
    """`momentum`, but at most (1 + step) / (10 + step): a new network is followed more closely.

    Otherwise a short run would spend its first thousand steps comparing with noise.
    """
    step = ops.cast(step, "float32")
    return ops.minimum(momentum, (1 + step) / (10 + step))
