"""AdamW as everything here is trained with it, how its learning rate goes, and when to stop."""

import math
from collections.abc import Mapping, Sequence

import keras


class AdamW(keras.optimizers.Adam):
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101), of which only matrices are decayed.

    Biases and the scales of normalisation are few, and cannot overfit.

    A step takes off `weight_decay` of a weight times the learning rate. `factors` are what the
    learning rate of some variables is multiplied by, by their `path`, but not their decay.
    """

    def __init__(
        self,
        learning_rate,
        weight_decay: float = 0.0,
        factors: Mapping[str, float] | None = None,
        **options,
    ) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay or None, **options)
        self.factors = factors or {}

    def build(self, variables) -> None:
        if not self.built:
            self.exclude_from_weight_decay([v for v in variables if len(v.shape) < 2])
            self.parts = [self.factors.get(variable.path, 1.0) for variable in variables]
        super().build(variables)

    def update_step(self, gradient, variable, learning_rate) -> None:
        part = self.parts[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * part)


def learning_rate_schedule(
    peak: float, steps: int, warmup_share: float = 0.05
) -> keras.optimizers.schedules.CosineDecay:
    """Warm up linearly over the first of `steps`, then fall to 0 along a half cosine."""
    warmup = max(1, int(steps * warmup_share))
    return keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warmup), warmup_target=peak, warmup_steps=warmup
    )


def plateau_rate(
    first: float, losses: Sequence[float], factor: float = 0.5, patience: int = 1
) -> float:
    """The learning rate after epochs of these losses: times `factor` by `patience` without a low.

    It follows from the history alone, so that a resumed run has the same.
    """
    lowest, waited, rate = math.inf, 0, first
    for loss in losses:
        waited = 0 if loss < lowest else waited + 1
        lowest = min(lowest, loss)
        if waited == patience:
            waited, rate = 0, rate * factor
    return rate


def is_exhausted(losses: Sequence[float], patience: int) -> bool:
    """Whether the last `patience` epochs brought no new low; 0: never."""
    if not 0 < patience < len(losses):
        return False
    return min(losses[-patience:]) >= min(losses[:-patience])
