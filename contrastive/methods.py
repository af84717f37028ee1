"""The methods by name, each with its paper's settings scaled to the batch at hand."""

import math
from typing import NamedTuple

import keras

from captioning.cli import UserError
from captioning.training import learning_rate_schedule
from contrastive.byol import BYOL
from contrastive.lars import LARS
from contrastive.moco import MoCo
from contrastive.simclr import SimCLR


class Settings(NamedTuple):
    """Everything about a method and its optimizer that a user may set."""

    method: str
    optimizer: str
    learning_rate: float
    weight_decay: float
    temperature: float
    momentum: float
    queue_size: int


def settings_for(
    method: str, *, batch_size: int, pictures: int, **given: str | float | int | None
) -> Settings:
    """The settings that the user gave; the paper's for those that are None.

    - SimCLR: LARS, 0.075 x sqrt(batch) (its appendix B.1), decay 1e-6, temperature 0.2: the paper
      has 0.1 with 8192 pictures a batch and finds higher ones better with fewer.
    - MoCo v2: SGD, 0.03 x batch / 256, decay 1e-4, temperature 0.2, momentum 0.999, queue 65536,
      but at most a quarter of the pictures, so that no picture meets itself there.
    - BYOL: LARS, 0.2 x batch / 256, decay 1.5e-6, momentum 0.996.
    - AdamW, with any of them: 1e-3 x batch / 256, decay 1e-2.
    """
    optimizer = given["optimizer"] or {"moco": "sgd"}.get(method, "lars")
    linear = batch_size / 256
    rate, decay = {
        ("simclr", "lars"): (0.075 * math.sqrt(batch_size), 1e-6),
        ("byol", "lars"): (0.2 * linear, 1.5e-6),
    }.get((method, optimizer), {
        "lars": (0.3 * linear, 1e-6), "sgd": (0.03 * linear, 1e-4), "adamw": (1e-3 * linear, 1e-2),
    }[optimizer])  # fmt: skip
    queue_size = given["queue_size"]
    if queue_size is None:
        queue_size = max(1, min(65536, pictures // 4) // batch_size) * batch_size
    elif method == "moco" and queue_size % batch_size:
        raise UserError(f"--queue-size {queue_size} is not a multiple of --batch-size {batch_size}")
    return Settings(
        method=method,
        optimizer=optimizer,
        learning_rate=given["learning_rate"] or rate,
        weight_decay=decay if given["weight_decay"] is None else given["weight_decay"],
        temperature=given["temperature"] or 0.2,
        momentum={"byol": 0.996}.get(method, 0.999)
        if given["momentum"] is None
        else given["momentum"],
        queue_size=queue_size,
    )


def build_method(
    settings: Settings, encoder: keras.Model, image_size: int, *, steps: int, seed: int
) -> keras.Model:
    """The method around `encoder`, compiled for a run of so many steps."""
    if settings.method == "simclr":
        model = SimCLR(encoder, image_size, temperature=settings.temperature, seed=seed)
    elif settings.method == "moco":
        model = MoCo(
            encoder, image_size, temperature=settings.temperature, momentum=settings.momentum,
            queue_size=settings.queue_size, seed=seed,
        )  # fmt: skip
    else:
        model = BYOL(encoder, image_size, momentum=settings.momentum, total_steps=steps, seed=seed)
    model.compile(
        optimizer=_optimizer(settings, steps),
        # XLA is slower than oneDNN at convolutions on a CPU, and Keras compiles JAX by itself.
        jit_compile=keras.backend.backend() != "tensorflow",
    )
    return model


def _optimizer(settings: Settings, steps: int) -> keras.optimizers.Optimizer:
    """Warmed up, then falling along a half cosine; biases and normalisation are not decayed."""
    schedule = learning_rate_schedule(settings.learning_rate, steps)
    decay = settings.weight_decay
    if settings.optimizer == "lars":
        return LARS(schedule, decay=decay)
    if settings.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(schedule, momentum=0.9, weight_decay=decay)
    else:
        optimizer = keras.optimizers.AdamW(schedule, weight_decay=decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
    return optimizer
