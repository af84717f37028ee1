"""ResNet (He et al., arXiv 1512.03385) in the variant that public checkpoints have: v1.5.

The stride of a bottleneck is in its 3x3 convolution, and strided layers pad both sides alike, as
PyTorch does ("same" in Keras pads only the far side of an even picture).
"""

import keras
from keras import layers, ops

from captioning.encoders.networks.batch_norm import BatchNormalization
from captioning.encoders.networks.convolution import Conv2D


def resnet18(x):
    """Normalised pixels (B, H, W, 3) to a grid of features (B, H/32, W/32, 512)."""
    return _resnet(x, (2, 2, 2, 2), bottleneck=False)


def resnet50(x):
    """Normalised pixels (B, H, W, 3) to a grid of features (B, H/32, W/32, 2048)."""
    return _resnet(x, (3, 4, 6, 3), bottleneck=True)


def _resnet(x, blocks: tuple[int, ...], bottleneck: bool):
    x = _conv_norm(x, 64, 7, 2, "stem")
    x = layers.ReLU()(x)
    # Zeros pad as well as minus infinity would: what comes in is never negative.
    x = layers.ZeroPadding2D(1)(x)
    x = layers.MaxPooling2D(3, 2)(x)
    for stage, count in enumerate(blocks):
        for number in range(count):
            stride = 2 if stage > 0 and number == 0 else 1
            x = _block(x, 64 * 2**stage, stride, f"stage{stage + 1}_block{number}", bottleneck)
    return x


def zero_last_scales(network: keras.Model) -> None:
    """Let every residual block begin as its shortcut: the scale of its last normalisation is 0.

    As the official SimCLR, BYOL and MoCo v3 train (Goyal et al., arXiv 1706.02677, section 5.1).
    """
    for layer in network.layers:
        if isinstance(layer, layers.Add):
            last = layer.input[0]._keras_history.operation
            last.gamma.assign(ops.zeros_like(last.gamma))


def _block(x, channels: int, stride: int, name: str, bottleneck: bool):
    """Convolutions of 3 and 3, or as a bottleneck of 1, 3 and 1, beside a shortcut."""
    shortcut, outputs = x, 4 * channels if bottleneck else channels
    if stride > 1 or x.shape[-1] != outputs:
        shortcut = _conv_norm(x, outputs, 1, stride, f"{name}_shortcut")
    if bottleneck:
        x = layers.ReLU()(_conv_norm(x, channels, 1, 1, f"{name}_1"))
        x = layers.ReLU()(_conv_norm(x, channels, 3, stride, f"{name}_2"))
        x = _conv_norm(x, outputs, 1, 1, f"{name}_3")
    else:
        x = layers.ReLU()(_conv_norm(x, channels, 3, stride, f"{name}_1"))
        x = _conv_norm(x, outputs, 3, 1, f"{name}_2")
    return layers.ReLU()(layers.add([x, shortcut]))


def _conv_norm(x, channels: int, kernel: int, stride: int, name: str):
    if stride > 1 and kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2)(x)
    padding = "valid" if stride > 1 else "same"
    options = {"use_bias": False, "kernel_initializer": "he_normal", "name": f"{name}_conv"}
    x = Conv2D(channels, kernel, stride, padding, **options)(x)
    return BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")(x)
