"""The table of methods, with every number that their papers give: views, and the optimizer.

Views are settings of `augment.Augmentation`, a set for each of the two views. Sources:

- SimCLR: arXiv 2002.05709, appendix A (crop, jitter of strength 1, grey, blur), B.1 (LARS, rate
  by the root of the batch, decay) and B.9 (jitter of half the strength for small pictures).
- MoCo v2: arXiv 2003.04297, and `--aug-plus` of its official `main_moco.py`.
- BYOL: arXiv 2006.07733, appendix B (table 6) and the official `configs/byol.py`, which has rate,
  decay and momentum by the number of epochs.
"""

import math
from typing import Any, NamedTuple

from captioning.cli import UserError

OPTIMIZERS = ("lars", "sgd", "adamw")
SMALL_PICTURE = 64  # pixels: views up to this get SimCLR's jitter for small pictures

_CROP = {"max_area": 1.0, "aspect": 4 / 3, "flip": 0.5}
_SIMCLR = {
    **_CROP, "min_area": 0.08, "jitter": 0.8, "brightness": 0.8, "contrast": 0.8,
    "saturation": 0.8, "hue": 0.2, "grey": 0.2, "blur": 0.5, "solarize": 0.0,
}  # fmt: skip
_MOCO = {
    **_CROP, "min_area": 0.2, "jitter": 0.8, "brightness": 0.4, "contrast": 0.4,
    "saturation": 0.4, "hue": 0.1, "grey": 0.2, "blur": 0.5, "solarize": 0.0,
}  # fmt: skip
_BYOL = {
    **_CROP, "min_area": 0.08, "jitter": 0.8, "brightness": 0.4, "contrast": 0.4,
    "saturation": 0.2, "hue": 0.1, "grey": 0.2,
}  # fmt: skip


class Entry(NamedTuple):
    """What is to be known of a method.

    Args:
        model: `module:class`, of a registered subclass of `Pretext`.
        views: settings of `augment.Augmentation` for the first view and for the second.
        optimizer: the paper's; its rate and decay are in `settings_for`.
        arguments: what the class takes beside encoder, views and seed: of `Settings`, of
            `total_steps` and of `groups`, into which MoCo divides a batch.
    """

    model: str
    views: tuple[dict[str, float], dict[str, float]]
    optimizer: str = "lars"
    arguments: tuple[str, ...] = ()


TABLE = {
    "simclr": Entry(
        "contrastive.simclr:SimCLR",
        (_SIMCLR, _SIMCLR),
        arguments=("temperature", "decoupled"),
    ),
    "moco": Entry(
        "contrastive.moco:MoCo", (_MOCO, _MOCO), "sgd",
        ("temperature", "momentum", "queue_size", "groups"),
    ),
    "byol": Entry(
        "contrastive.byol:BYOL",
        ({**_BYOL, "blur": 1.0, "solarize": 0.0}, {**_BYOL, "blur": 0.1, "solarize": 0.2}),
        arguments=("momentum", "total_steps"),
    ),
}  # fmt: skip
METHODS = tuple(TABLE)
# Small crops beside two large ones: SwAV (arXiv 2006.09882, section 3.2 and appendix A.1).
LARGE_AREA, SMALL_AREA = (0.14, 1.0), (0.05, 0.14)

# BYOL by epochs: learning rate of a batch of 256, decay, momentum of the target network.
_BYOL_RUNS = {
    40: (0.45, 1e-6, 0.97), 100: (0.45, 1e-6, 0.99),
    300: (0.3, 1e-6, 0.99), 1000: (0.2, 1.5e-6, 0.996),
}  # fmt: skip
_MOMENTUM = 0.999  # of MoCo's momentum encoder
_QUEUE = 65536


class Settings(NamedTuple):
    """Everything about a method and its optimizer that a user may set."""

    method: str
    optimizer: str
    learning_rate: float
    weight_decay: float
    temperature: float
    momentum: float
    queue_size: int
    decoupled: bool


def settings_for(
    method: str, *, batch_size: int, pictures: int, epochs: float, **given: Any
) -> Settings:
    """The settings that the user gave; the paper's for those that are None, or not there.

    - SimCLR: LARS, 0.075 x sqrt(batch), decay 1e-6, temperature 0.2: the paper has 0.1 with 8192
      pictures a batch and finds higher ones better with fewer.
    - MoCo v2: SGD, 0.03 x batch / 256, decay 1e-4, temperature 0.2, momentum 0.999, queue 65536,
      but at most a quarter of the pictures, so that no picture meets itself there.
    - BYOL: LARS, rate x batch / 256, decay and momentum of the official run whose number of epochs
      is nearest: 40, 100, 300 or 1,000.
    - AdamW, with any of them: 1e-3 x sqrt(batch / 256), decay 1e-2.

    Raises:
        UserError: a queue that is no multiple of the batch.
    """
    given = {name: value for name, value in given.items() if value is not None}
    optimizer = given.get("optimizer", TABLE[method].optimizer)
    linear = batch_size / 256
    nearest = min(_BYOL_RUNS, key=lambda length: abs(math.log(epochs / length)))
    byol_rate, byol_decay, byol_momentum = _BYOL_RUNS[nearest]
    rate, decay = {
        ("simclr", "lars"): (0.075 * math.sqrt(batch_size), 1e-6),
        ("byol", "lars"): (byol_rate * linear, byol_decay),
    }.get((method, optimizer), {
        "lars": (0.3 * linear, 1e-6), "sgd": (0.03 * linear, 1e-4),
        "adamw": (1e-3 * math.sqrt(linear), 1e-2),
    }[optimizer])  # fmt: skip
    queue_size = max(1, min(_QUEUE, pictures // 4) // batch_size) * batch_size
    if method == "moco" and given.get("queue_size", queue_size) % batch_size:
        raise UserError(
            f"--queue-size {given['queue_size']} is not a multiple of --batch-size {batch_size}"
        )
    defaults = {
        "learning_rate": rate, "weight_decay": decay, "temperature": 0.2, "queue_size": queue_size,
        "momentum": byol_momentum if method == "byol" else _MOMENTUM,
        "decoupled": False,
    }  # fmt: skip
    return Settings(**{**defaults, **given, "method": method, "optimizer": optimizer})


def views_for(
    method: str, image_size: int, *, strength: float | None = None, small_crops: int = 0
) -> list[dict[str, Any]]:
    """Settings of `augment.Augmentation` for every view of a picture: two, then `small_crops`.

    `strength` multiplies the four numbers of the colour jitter; None takes the paper's, which for
    SimCLR is half where views are of `SMALL_PICTURE` pixels at most. Small crops have half the
    side of the others.
    """
    if strength is None:
        strength = 0.5 if method == "simclr" and image_size <= SMALL_PICTURE else 1.0
    jitter = ("brightness", "contrast", "saturation", "hue")
    views = [
        {**view, **{name: strength * view[name] for name in jitter}, "size": image_size}
        for view in TABLE[method].views
    ]
    if small_crops:
        small = {**views[0], "size": image_size // 2}
        small["min_area"], small["max_area"] = SMALL_AREA
        for view in views:
            view["min_area"], view["max_area"] = LARGE_AREA
        views += [small] * small_crops
    return views
