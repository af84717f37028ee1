"""The slow network of MoCo and BYOL: a copy that follows the trained one."""

import keras
from keras import ops


def follower(network: keras.Model) -> keras.Model:
    """A copy of a network with the same weights, which no gradient reaches.

    Its variables are not trainable, but its layers are: batch normalisation in a Keras layer that
    is not trainable goes by running statistics, which belong to other weights than the ones that
    follow. Both methods then collapsed within a few hundred steps of a ResNet-18.
    """
    slow = keras.models.clone_model(network)
    slow.set_weights(network.get_weights())
    for variable in slow.variables:
        variable.trainable = False
    return slow


def follow(slow: keras.Model, fast: keras.Model, momentum) -> None:
    """Move every weight of `slow` towards `fast`: slow = momentum * slow + (1 - momentum) * fast.

    The running statistics of batch normalisation are left to the slow network's own passes.
    """
    for mine, other in zip(slow.weights, fast.weights, strict=True):
        if other.trainable:
            target = ops.stop_gradient(ops.cast(other, mine.dtype))
            mine.assign(momentum * mine + (1 - momentum) * target)
