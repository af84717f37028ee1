"""The table of encoders: what a new one needs is an entry here and its network beside the others.

Nothing here imports Keras before a network is built, so that help texts come at once.
"""

import pkgutil
from typing import NamedTuple

from captioning.images.preprocessing import Channels, Preprocessing, parse


class Entry(NamedTuple):
    """What is to be known of an encoder.

    Args:
        network: `module:function` that takes normalised pixels (B, H, W, 3) and gives a grid
            (B, h, w, D), which is averaged, or a vector (B, D) and a grid.
        preprocessing: what it does with pictures where its weights do not say otherwise.
        stages: how the names of the layers begin that each stage begins with, the first stage
            first; what is before them is the stem. Fine-tuning lets some of the last ones learn.
        layout: of public checkpoints, see `load_encoder`; None: it takes files of our own only.
        pretext: which pretext stages can train it.
        supervised: `module:function` that gives the file of the weights that it has without
            `--weights`; None: it has none.
    """

    network: str
    preprocessing: str
    stages: tuple[str, ...]
    layout: str | None = None
    pretext: tuple[str, ...] = ("contrastive",)
    supervised: str | None = None


_NETWORKS = "captioning.encoders.networks"
_RESNET50 = Entry(
    f"{_NETWORKS}.resnet:resnet50",
    "squash(224)|imagenet",
    ("stage1_", "stage2_", "stage3_", "stage4_"),
    layout="resnet",
    pretext=("contrastive", "jigsaw"),
)
TABLE = {
    "efficientnet_lite0": Entry(
        f"{_NETWORKS}.efficientnet:efficientnet_lite0",
        "squash(224)|centred",
        ("blocks_1_", "blocks_3_", "blocks_5_", "blocks_8_", "blocks_11_"),
        layout="efficientnet",
        supervised=f"{_NETWORKS}.efficientnet:supervised_weights",
    ),
    "resnet18": _RESNET50._replace(network=f"{_NETWORKS}.resnet:resnet18"),
    "resnet50": _RESNET50,
    "vit_small": Entry(
        f"{_NETWORKS}.vit:vit_small",
        "squash(224)|imagenet",
        ("block0_", "block3_", "block6_", "block9_"),
        layout="vit",
    ),
    "alexnet": Entry(
        f"{_NETWORKS}.alexnet:alexnet",
        "squash(224)|imagenet",
        ("conv1", "conv2", "conv3", "conv4"),
        pretext=("jigsaw",),
    ),
}
# A puzzle solver is a whole model in a file of its own, with other ways: `jigsaw_solver.py`.
ENCODERS = (*TABLE, "jigsaw")


def trained_by(pretext: str) -> tuple[str, ...]:
    """The encoders that a pretext stage, `contrastive` or `jigsaw`, can train."""
    return tuple(name for name, entry in TABLE.items() if pretext in entry.pretext)


def preprocessing_of(name: str) -> Preprocessing:
    """What encoder `name` does with pictures where nothing else is said."""
    return parse(TABLE[name].preprocessing, Preprocessing())


def build_network(
    name: str,
    *,
    dtype: str = "float32",
    seed: int = 0,
    scale: tuple[Channels, Channels] | tuple[None, None] | None = None,
):
    """Build an encoder's network, a `keras.Model`, with random weights.

    In: pixels (B, H, W, 3), 0 to 255. Out: a dictionary of `pooled` (B, D) and `grid`
    (B, H/32, W/32, D), float32; `vit_small` has H/16 and W/16. `dtype` "bfloat16" computes in
    bfloat16 on float32 weights. `scale` is the pixels' mean and deviation, if not the encoder's
    own; see `Preprocessing`.
    """
    import keras
    from keras import layers

    keras.utils.set_random_seed(seed)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if dtype == "bfloat16" else "float32")
    try:
        mean, std = scale or preprocessing_of(name)[2:]
        pixels = keras.Input((None, None, 3), name="pixels")
        if std is None:  # of each image's channels
            scaling = layers.GroupNormalization(-1, center=False, scale=False, dtype="float32")
        else:
            offset = [-m / d for m, d in zip(mean, std, strict=True)]
            scaling = layers.Rescaling([1 / d for d in std], offset, dtype="float32")
        output = pkgutil.resolve_name(TABLE[name].network)(scaling(pixels))
        vector, grid = output if isinstance(output, tuple) else (None, output)
        # Averaged in float32: a mean of 49 numbers loses bits in bfloat16 for nothing.
        grid = layers.Activation("linear", dtype="float32", name="grid")(grid)
        if vector is None:
            pooled = layers.GlobalAveragePooling2D(dtype="float32", name="pooled")(grid)
        else:
            pooled = layers.Activation("linear", dtype="float32", name="pooled")(vector)
        return keras.Model(pixels, {"pooled": pooled, "grid": grid}, name=name)
    finally:
        keras.config.set_dtype_policy(before)
