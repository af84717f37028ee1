"""Convolution's gradients against Keras' own."""

import keras
import numpy as np
import pytest
from keras import layers

from captioning.encoders.networks import convolution
from captioning.encoders.networks.convolution import Conv2D

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="under other backends it is Keras' own layer"
)
SHAPES = [
    # side, kernel, stride, padding
    (4, 3, 1, "same"), (3, 3, 1, "same"), (2, 3, 1, "same"), (1, 3, 1, "same"), (4, 5, 1, "same"),
    (4, 3, 1, "valid"), (10, 3, 2, "valid"), (6, 3, 2, "valid"), (7, 3, 2, "valid"),
    (4, 1, 2, "valid"), (5, 1, 2, "valid"), (8, 1, 1, "same"), (9, 3, 1, "same"),
    (9, 3, 1, "valid"), (9, 3, 3, "valid"), (8, 2, 1, "same"), (17, 3, 2, "same"),
]  # fmt: skip


def problem(side: int, kernel: int, dtype: str = "float32", **options):
    """Pixels, our layer, and Keras' own of the same weights in float32."""
    pixels = np.random.default_rng(0).normal(size=(5, side, side, 6)).astype(np.float32)
    ours = Conv2D(7, kernel, use_bias=False, dtype=dtype, **options)
    theirs = layers.Conv2D(7, kernel, use_bias=False, dtype="float32", **options)
    for layer in (ours, theirs):
        layer.build(pixels.shape)
    theirs.set_weights(ours.get_weights())
    return pixels, ours, theirs


def gradients(layer: layers.Layer, pixels: np.ndarray) -> list[np.ndarray]:
    """Of the sum of squares of what comes out, by the pixels and by the kernel."""
    import tensorflow as tf

    pixels = tf.constant(pixels)
    with tf.GradientTape() as tape:
        tape.watch(pixels)
        loss = tf.reduce_sum(tf.square(layer(pixels)))
    return [gradient.numpy() for gradient in tape.gradient(loss, [pixels, layer.kernel.value])]


@pytest.mark.parametrize("words", [{"avx2"}, {"avx2", "avx512f", "avx512_bf16"}])
@pytest.mark.parametrize(("side", "kernel", "stride", "padding"), SHAPES)
def test_gradients_equal_those_of_keras(monkeypatch, side, kernel, stride, padding, words):
    monkeypatch.setattr(convolution, "processor", lambda: words)
    pixels, ours, theirs = problem(side, kernel, strides=stride, padding=padding)
    np.testing.assert_array_equal(ours(pixels), theirs(pixels))
    for got, expected in zip(gradients(ours, pixels), gradients(theirs, pixels), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("side", "stride", "padding", "words", "bound"),
    [
        (9, 2, "same", {"avx2"}, 0.01), (9, 1, "same", {"avx2"}, 0.01),
        (4, 1, "same", {"avx2"}, 0.01), (9, 2, "valid", {"avx2"}, 0.01),
        (9, 2, "same", {"bf16"}, 0.02),  # oneDNN's own, which may sum in bfloat16
    ],
)  # fmt: skip
def test_bfloat16_gradients_are_those_of_float32_rounded(
    monkeypatch, side, stride, padding, words, bound
):
    monkeypatch.setattr(convolution, "processor", lambda: words)
    keras.utils.set_random_seed(0)
    pixels, ours, exact = problem(side, 3, "mixed_bfloat16", strides=stride, padding=padding)
    for got, expected in zip(gradients(ours, pixels), gradients(exact, pixels), strict=True):
        assert np.linalg.norm(got - expected) < bound * np.linalg.norm(expected)


def test_weights_of_keras_layer_fit():
    ours, theirs = Conv2D(4, 3), layers.Conv2D(4, 3)
    for layer in (ours, theirs):
        layer.build((None, 8, 8, 3))
    described = [[(w.name, w.shape) for w in layer.weights] for layer in (ours, theirs)]
    assert described[0] == described[1]
    assert ours.get_config().keys() == theirs.get_config().keys()
