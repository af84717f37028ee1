"""AlexNet's convolutions in one column (Krizhevsky, arXiv 1404.5997): the smallest encoder here.

Batch normalisation stands in for the local response normalisation of 2012, which nothing computes
fast, and there are no dense layers. It is for pretext training on a CPU: of tiles of 32 px, it
takes two fifths of the multiplications of a ResNet-18.
"""

from keras import layers

from captioning.encoders.networks.batch_norm import BatchNormalization
from captioning.encoders.networks.convolution import Conv2D

_CHANNELS = (64, 192, 384, 256, 256)
_KERNELS = (11, 5, 3, 3, 3)
_POOLED = (0, 1, 4)  # convolutions that pooling follows


def alexnet(x):
    """Normalised pixels (B, H, W, 3) to a grid of features (B, H/32, W/32, 256)."""
    for number, (channels, kernel) in enumerate(zip(_CHANNELS, _KERNELS, strict=True)):
        options = {"padding": "same", "use_bias": False, "kernel_initializer": "he_normal"}
        stride = 4 if number == 0 else 1
        x = Conv2D(channels, kernel, stride, name=f"conv{number + 1}", **options)(x)
        x = BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"norm{number + 1}")(x)
        x = layers.ReLU()(x)
        if number in _POOLED:
            x = layers.MaxPooling2D(3, 2, padding="same")(x)
    return x
