"""The methods by name, ready to train."""

import pkgutil
from collections.abc import Sequence
from typing import Any

import keras

from captioning.training.optimizers import AdamW, learning_rate_schedule
from contrastive.optimizers import LARS, SGD
from contrastive.presets import TABLE, Settings

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
    entry = TABLE[settings.method]
    known = {**settings._asdict(), "total_steps": steps, "groups": groups_of(batch_size)}
    model = pkgutil.resolve_name(entry.model)(
        encoder, views, seed=seed, **{name: known[name] for name in entry.arguments}
    )
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
