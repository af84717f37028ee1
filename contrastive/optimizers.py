"""LARS (You et al., arXiv 1708.03888): a learning rate for every layer, for large batches."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="contrastive")
class LARS(keras.optimizers.SGD):
    """SGD with momentum whose steps are proportional to the norm of the layer's weights.

    Biases and normalisation (vectors) take plain steps without decay, as in SimCLR and BYOL.

    Args:
        learning_rate: a number or a schedule.
        decay: factor of L2 regularisation.
        trust: step length as a share of the weights' norm, before the learning rate.
        momentum: of SGD.
    """

    def __init__(
        self, learning_rate=0.3, decay=1e-6, trust=1e-3, momentum=0.9, name="lars", **kwargs
    ) -> None:
        super().__init__(learning_rate, momentum, name=name, **kwargs)
        self.decay, self.trust = decay, trust

    def update_step(self, gradient, variable, learning_rate) -> None:
        """One variable's update."""
        if len(variable.shape) > 1:
            gradient = gradient + self.decay * ops.cast(variable, gradient.dtype)
            weights, step = _norm(variable), _norm(gradient)
            usable = ops.logical_and(weights > 0, step > 0)
            scale = self.trust * weights / ops.where(usable, step, 1.0)
            gradient = gradient * ops.where(usable, scale, 1.0)
        super().update_step(gradient, variable, learning_rate)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "decay": self.decay, "trust": self.trust}


def _norm(tensor):
    return ops.sqrt(ops.sum(ops.square(tensor)))
