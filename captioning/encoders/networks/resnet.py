"""ResNet (He et al., arXiv 1512.03385) in the variant that public checkpoints have: v1.5.

The stride of a bottleneck is in its 3x3 convolution, and strided layers pad both sides alike, as
PyTorch does ("same" in Keras pads only the far side of an even picture).
"""

import keras
from keras import layers, ops

from captioning.encoders.networks.batch_norm import BatchNormalization
from captioning.encoders.networks.convolution import Conv2D


def resnet18(x):
    """See `resnet`: basic blocks, D = 512."""
    return resnet(x, "resnet18")


def resnet50(x):
    """See `resnet`: bottlenecks, D = 2048."""
    return resnet(x, "resnet50")


BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}


def resnet(x, name: str):
    """Normalised pixels (B, H, W, 3) to a grid of features (B, H/32, W/32, D).

    D is 512 for `resnet18`, which is made of basic blocks, and 2048 for `resnet50`.
    """
    make_block = _basic if name == "resnet18" else _bottleneck
    x = _conv_norm(x, 64, 7, 2, "stem")
    x = layers.ReLU()(x)
    # Zeros pad as well as minus infinity would: what comes in is never negative.
    x = layers.ZeroPadding2D(1)(x)
    x = layers.MaxPooling2D(3, 2)(x)
    for stage, blocks in enumerate(BLOCKS[name]):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            x = make_block(x, 64 * 2**stage, stride, f"stage{stage + 1}_block{block}")
    return x


def zero_last_scales(network: keras.Model) -> None:
    """Let every residual block begin as its shortcut: the scale of its last normalisation is 0.

    As the official SimCLR, BYOL and MoCo v3 train (Goyal et al., arXiv 1706.02677, section 5.1).
    """
    for layer in network.layers:
        if isinstance(layer, layers.Add):
            last = layer.input[0]._keras_history.operation
            last.gamma.assign(ops.zeros_like(last.gamma))


def _basic(x, channels: int, stride: int, name: str):
    shortcut = _shortcut(x, channels, stride, name)
    x = layers.ReLU()(_conv_norm(x, channels, 3, stride, f"{name}_1"))
    x = _conv_norm(x, channels, 3, 1, f"{name}_2")
    return layers.ReLU()(layers.add([x, shortcut]))


def _bottleneck(x, channels: int, stride: int, name: str):
    shortcut = _shortcut(x, 4 * channels, stride, name)
    x = layers.ReLU()(_conv_norm(x, channels, 1, 1, f"{name}_1"))
    x = layers.ReLU()(_conv_norm(x, channels, 3, stride, f"{name}_2"))
    x = _conv_norm(x, 4 * channels, 1, 1, f"{name}_3")
    return layers.ReLU()(layers.add([x, shortcut]))


def _shortcut(x, channels: int, stride: int, name: str):
    if stride == 1 and x.shape[-1] == channels:
        return x
    return _conv_norm(x, channels, 1, stride, f"{name}_shortcut")


def _conv_norm(x, channels: int, kernel: int, stride: int, name: str):
    if stride > 1 and kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2)(x)
    x = Conv2D(
        channels,
        kernel,
        stride,
        padding="valid" if stride > 1 else "same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")(x)
