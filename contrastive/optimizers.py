"""SGD as PyTorch's, and LARS (You et al., arXiv 1708.03888): what the papers trained with."""

import keras
from keras import ops


class SGD(keras.optimizers.SGD):
    """SGD with momentum, whose weight decay is part of the gradient.

    So it goes through the momentum, and in the long run moves a weight by 1 / (1 - momentum) times
    as much as Keras' `weight_decay`, which acts on the weight itself. It is what `torch.optim.SGD`
    does, and so what MoCo's 1e-4 means. All weights are decayed, those of normalisation too.
    """

    def __init__(self, learning_rate, decay: float, momentum: float = 0.9) -> None:
        super().__init__(learning_rate, momentum)
        self.decay = decay

    def update_step(self, gradient, variable, learning_rate) -> None:
        super().update_step(self.decayed(gradient, variable), variable, learning_rate)

    def decayed(self, gradient, variable):
        return gradient + self.decay * ops.cast(variable, gradient.dtype)


class LARS(SGD):
    """SGD whose steps are proportional to the norm of the layer's weights, for large batches.

    Biases and normalisation (vectors) take plain steps without decay, as in SimCLR and BYOL.
    """

    trust = 1e-3  # a step's length as a share of the weights' norm, before the learning rate

    def decayed(self, gradient, variable):
        """The gradient with that of the regularisation, scaled to the weights' norm."""
        if len(variable.shape) < 2:
            return gradient
        gradient = super().decayed(gradient, variable)
        weights, step = _norm(variable), _norm(gradient)
        usable = ops.logical_and(weights > 0, step > 0)
        scale = self.trust * weights / ops.where(usable, step, 1.0)
        return gradient * ops.where(usable, scale, 1.0)


def _norm(tensor):
    return ops.sqrt(ops.sum(ops.square(tensor)))
