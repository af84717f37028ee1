"""AdamW as everything here is trained with it, and how its learning rate goes."""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import keras
import numpy as np
from keras import ops


@keras.saving.register_keras_serializable(package="captioning")
class AdamW(keras.optimizers.Adam):
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101), of which only matrices are decayed.

    Biases and the scales of normalisation are not: they are few, cannot overfit, and would be drawn
    away from what they stand for. A class of its own, because Keras' forgets what it was told not
    to decay when it is loaded, and works out the learning rate anew for every variable.

    Args:
        learning_rate: a number or a schedule.
        weight_decay: factor; a step takes off that share of a weight times the learning rate.
    """

    factors: Mapping[str, float] = MappingProxyType({})

    def __init__(self, learning_rate=1e-3, weight_decay=0.004, name="adamw", **kwargs) -> None:
        super().__init__(learning_rate, name=name, **kwargs)
        self.decay = weight_decay

    def slow_down(self, factors: Mapping[str, float]) -> None:
        """Let variables learn at a part of the rate, by their `path`; before the first step.

        Their decay stays what it is.
        """
        self.factors = dict(factors)

    def build(self, variables) -> None:
        """Set up the moments of `variables`, some of which learn slowly."""
        if not self.built:
            self.parts = tuple(self.factors.get(variable.path, 1.0) for variable in variables)
        super().build(variables)

    def update_step(self, gradient, variable, learning_rate) -> None:
        """One variable's update."""
        if self.decay and len(variable.shape) >= 2:
            rate = ops.cast(learning_rate, variable.dtype)
            self.assign_sub(variable, variable * self.decay * rate)
        part = self.parts[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * part)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "weight_decay": self.decay}


def learning_rate_schedule(
    peak: float, steps: int, warmup_share: float = 0.05
) -> keras.optimizers.schedules.CosineDecay:
    """Warm up linearly over the first of `steps`, then fall to 0 along a half cosine."""
    warmup = max(1, int(steps * warmup_share))
    return keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warmup), warmup_target=peak, warmup_steps=warmup
    )


def plateau_rate(first: float, losses: Sequence[float]) -> float:
    """The learning rate after epochs of these development losses: halved by each without a new low.

    It follows from the history alone, so that a resumed run has the same.
    """
    lows = np.minimum.accumulate([math.inf, *losses])[:-1]
    return first * 0.5 ** int(np.sum(np.array(losses) >= lows))
