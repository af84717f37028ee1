"""The learning rate: how it rises, when it falls, and when training ends."""

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from captioning.training.optimizers import learning_rate_schedule

PLATEAU, PATIENCE = 3, 6  # epochs without progress until the rate falls, and until the end
FALL = 0.1  # what the rate is multiplied by on a plateau


def make_optimizer(
    schedule: str, peak: float, warmup_steps: int, steps: int
) -> keras.optimizers.Optimizer:
    """Adam whose rate rises over `warmup_steps`.

    Then it falls to 0 at the end of `steps` ("cosine"), or stays until it is lowered ("plateau").
    """
    if schedule == "plateau":
        return WarmUpAdam(peak, warmup_steps)
    return keras.optimizers.Adam(learning_rate_schedule(peak, steps, warmup_steps / steps))


class WarmUpAdam(keras.optimizers.Adam):
    """Adam whose learning rate, which may be set anew, rises linearly over the first steps.

    At the full rate from the first step, the loss often stays at ln(N) for hundreds of steps, or
    for good: the dense layers grow large before the trunk has anything to tell them.
    """

    def __init__(self, learning_rate: float, warmup_steps: int) -> None:
        super().__init__(learning_rate)
        self.warmup_steps = warmup_steps

    def update_step(self, gradient, variable, learning_rate) -> None:
        """One variable's update."""
        progress = (ops.cast(self.iterations, "float32") + 1) / self.warmup_steps
        rate = learning_rate * ops.cast(ops.minimum(progress, 1.0), learning_rate.dtype)
        super().update_step(gradient, variable, rate)


def rate_after(val_losses: Sequence[float], peak: float) -> float:
    """The learning rate after epochs with these losses: lower by `FALL` after each plateau.

    It follows from the history alone, so that a resumed run needs to know no more.
    """
    best, waited, rate = math.inf, 0, peak
    for loss in val_losses:
        waited = 0 if loss < best else waited + 1
        best = min(best, loss)
        if waited == PLATEAU:
            waited, rate = 0, rate * FALL
    return rate


def exhausted(val_losses: Sequence[float]) -> bool:
    """Whether the last `PATIENCE` epochs brought nothing."""
    return bool(val_losses) and len(val_losses) - int(np.argmin(val_losses)) > PATIENCE
