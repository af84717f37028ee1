"""The methods by name, ready to train."""

from collections.abc import Sequence
from typing import Any

import keras

from captioning.training.optimizers import AdamW, learning_rate_schedule
from contrastive.byol import BYOL
from contrastive.moco import MoCo
from contrastive.optimizers import LARS, SGD
from contrastive.presets import Settings
from contrastive.simclr import SimCLR

GROUPS, LEAST_GROUP = 8, 16  # MoCo's parts of a batch: as many as its GPUs, of so many pictures


def build_method(
    settings: Settings,
    encoder: keras.Model,
    views: Sequence[dict[str, Any]],
    *,
    steps: int,
    batch_size: int,
    seed: int,
) -> keras.Model:
    """The method around `encoder`, compiled for a run of so many steps; see `presets.views_for`."""
    if settings.method == "simclr":
        model = SimCLR(encoder, views, temperature=settings.temperature, seed=seed)
    elif settings.method == "moco":
        model = MoCo(
            encoder, views, temperature=settings.temperature, momentum=settings.momentum,
            queue_size=settings.queue_size, groups=groups_of(batch_size), seed=seed,
        )  # fmt: skip
    else:
        model = BYOL(encoder, views, momentum=settings.momentum, total_steps=steps, seed=seed)
    model.compile(
        optimizer=_optimizer(settings, steps),
        # XLA is slower than oneDNN at convolutions on a CPU, and Keras compiles JAX by itself.
        jit_compile=keras.backend.backend() != "tensorflow",
    )
    return model


def groups_of(batch_size: int) -> int:
    """Into how many equal groups MoCo's batch falls: the most, up to 8, that are large enough."""
    fits = (n for n in range(GROUPS, 1, -1) if batch_size % n == 0)
    return next((n for n in fits if batch_size // n >= LEAST_GROUP), 2 - batch_size % 2)


def _optimizer(settings: Settings, steps: int) -> keras.optimizers.Optimizer:
    """Warmed up, then falling along a half cosine."""
    schedule = learning_rate_schedule(settings.learning_rate, steps)
    decay = settings.weight_decay
    if settings.optimizer == "lars":
        return LARS(schedule, decay=decay)
    if settings.optimizer == "sgd":
        return SGD(schedule, decay=decay)
    return AdamW(schedule, weight_decay=decay)
