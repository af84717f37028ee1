"""The table of methods, with every number that their papers give: views, and the optimizer.

Nothing here imports Keras before a model is built, so that help texts come at once. Sources:

- SimCLR: arXiv 2002.05709, appendix A (crop, jitter of strength 1, grey, blur), B.1 (LARS, rate
  by the root of the batch, decay) and B.9 (jitter of half the strength for small pictures).
- MoCo v2: arXiv 2003.04297, and `--aug-plus` of its official `main_moco.py`.
- BYOL: arXiv 2006.07733, appendix B (table 6) and the official `configs/byol.py`, which has rate,
  decay and momentum by the number of epochs.
"""

import math
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from captioning.cli import UserError

SMALL_PICTURE = 64  # pixels: views up to this get SimCLR's jitter for small pictures
JITTER = ("brightness", "contrast", "saturation", "hue")


class View(NamedTuple):
    """How a random view of a picture is drawn; the defaults change nothing."""

    size: int = 224  # side of the view in pixels
    min_area: float = 1.0  # least share of the picture that a crop covers, and the most; or less
    max_area: float = 1.0  # where its width or height would be more than the picture's
    aspect: float = 1.0  # width to height, beside the picture's: from 1 / aspect to aspect
    flip: float = 0.0  # probability of a mirrored view
    jitter: float = 0.0  # probability of a colour jitter
    brightness: float = 0.0  # a factor is drawn from 1 - x to 1 + x; so for the next two
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0  # part of a full turn, drawn from -x to x
    grey: float = 0.0  # probability of a view without colour
    blur: float = 0.0  # probability of a Gaussian blur, of std 0.1 to 2 pixels in a view of 224
    solarize: float = 0.0  # probability that pixels of 128 and more are inverted


_CROP = View(min_area=0.08, aspect=4 / 3, flip=0.5, jitter=0.8, grey=0.2)
_SIMCLR = _CROP._replace(brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, blur=0.5)
_BYOL = _CROP._replace(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)
_MOCO = _BYOL._replace(min_area=0.2, saturation=0.4, blur=0.5)


class Entry(NamedTuple):
    """What is to be known of a method."""

    model: str  # `module:class`, of a subclass of `Pretext`
    views: tuple[View, View]  # the first and the second
    optimizer: str  # the paper's
    arguments: tuple[str, ...]  # which of a run's settings the class takes


_BYOL_VIEWS = _BYOL._replace(blur=1.0), _BYOL._replace(blur=0.1, solarize=0.2)
_SIMCLR_ARGUMENTS = ("temperature", "decoupled")
_MOCO_ARGUMENTS = ("temperature", "momentum", "queue_size", "batch_size")
TABLE = {
    "simclr": Entry("contrastive.simclr:SimCLR", (_SIMCLR,) * 2, "lars", _SIMCLR_ARGUMENTS),
    "moco": Entry("contrastive.moco:MoCo", (_MOCO,) * 2, "sgd", _MOCO_ARGUMENTS),
    "byol": Entry("contrastive.byol:BYOL", _BYOL_VIEWS, "lars", ("momentum", "steps")),
}
METHODS = tuple(TABLE)
OPTIMIZERS = {
    "lars": "contrastive.optimizers:LARS",
    "sgd": "contrastive.optimizers:SGD",
    "adamw": "captioning.training.optimizers:AdamW",
}
# Small crops beside two large ones: SwAV (arXiv 2006.09882, section 3.2 and appendix A.1).
LARGE_AREA = {"min_area": 0.14, "max_area": 1.0}
SMALL_AREA = {"min_area": 0.05, "max_area": 0.14}
# BYOL by epochs: learning rate of a batch of 256, decay, momentum of the target network.
_BYOL_RUNS = {
    40: (0.45, 1e-6, 0.97),
    100: (0.45, 1e-6, 0.99),
    300: (0.3, 1e-6, 0.99),
    1000: (0.2, 1.5e-6, 0.996),
}


def settings_for(
    given: Mapping[str, Any], *, batch_size: int, images: int, epochs: float
) -> dict[str, Any]:
    """What a method and its optimizer are set to: as given, or the paper's where that is None.

    `given` has `method`, and any of what is returned. SimCLR's temperature is 0.1 in the paper,
    with 8192 pictures a batch, which finds higher ones better with fewer. MoCo's queue has at most
    a quarter of the pictures, so that no picture meets itself there. BYOL goes by the official run
    whose number of epochs is nearest. AdamW is of no paper.

    Raises:
        UserError: a queue that is no multiple of the batch.
    """
    method = given["method"]
    optimizer = given.get("optimizer") or TABLE[method].optimizer
    linear = batch_size / 256
    nearest = min(_BYOL_RUNS, key=lambda length: abs(math.log(epochs / length)))
    byol_rate, byol_decay, byol_momentum = _BYOL_RUNS[nearest]
    rules = {
        "adamw": (1e-3 * math.sqrt(linear), 1e-2),
        "sgd": (0.03 * linear, 1e-4),
        "simclr": (0.075 * math.sqrt(batch_size), 1e-6),
        "byol": (byol_rate * linear, byol_decay),
    }
    rate, decay = rules.get(optimizer) or rules.get(method) or (0.3 * linear, 1e-6)
    defaults = {
        "learning_rate": rate,
        "weight_decay": decay,
        "temperature": 0.2,
        "momentum": byol_momentum if method == "byol" else 0.999,
        "queue_size": max(1, min(65536, images // 4) // batch_size) * batch_size,
        "decoupled": False,
    }
    names = {"learning_rate", "weight_decay", *TABLE[method].arguments}
    given = {name: value for name, value in given.items() if value is not None}
    chosen = {name: given.get(name, default) for name, default in defaults.items() if name in names}
    if (queue_size := chosen.get("queue_size", 0)) % batch_size:
        raise UserError(f"--queue-size {queue_size} is not a multiple of --batch-size {batch_size}")
    return {"method": method, "optimizer": optimizer, **chosen}


def paper_jitter(method: str, image_size: int) -> float:
    """Strength of the paper's colour jitter: SimCLR's is half in `SMALL_PICTURE` pixels at most."""
    return 0.5 if method == "simclr" and image_size <= SMALL_PICTURE else 1.0


def views_for(
    method: str, image_size: int, *, strength: float | None = None, small_crops: int = 0
) -> list[View]:
    """Every view of a picture: two, then `small_crops` of half the side.

    `strength` multiplies the four numbers of the colour jitter; None takes `paper_jitter`.
    """
    strength = paper_jitter(method, image_size) if strength is None else strength
    views = []
    for view in TABLE[method].views:
        jitter = {name: strength * getattr(view, name) for name in JITTER}
        views.append(view._replace(size=image_size, **jitter))
    if not small_crops:
        return views
    small = views[0]._replace(size=image_size // 2, **SMALL_AREA)
    return [view._replace(**LARGE_AREA) for view in views] + [small] * small_crops


def build_method(settings: Mapping[str, Any], encoder, views: Sequence[View]):
    """The method around `encoder`, a compiled `Pretext`, by the `settings` of a run."""
    import keras

    from captioning.training.optimizers import learning_rate_schedule

    entry = TABLE[settings["method"]]
    arguments = {name: settings[name] for name in ("seed", *entry.arguments)}
    model = pkgutil.resolve_name(entry.model)(encoder, views, **arguments)
    schedule = learning_rate_schedule(settings["learning_rate"], settings["steps"])
    optimizer = pkgutil.resolve_name(OPTIMIZERS[settings["optimizer"]])
    model.compile(
        optimizer=optimizer(schedule, settings["weight_decay"]),
        # XLA is slower than oneDNN at convolutions on a CPU, and Keras compiles JAX by itself.
        jit_compile=keras.backend.backend() != "tensorflow",
    )
    return model
