import keras
import numpy as np
import pytest
from keras import ops

from captioning.encoders.networks.batch_norm import BatchNormalization, estimate_statistics

SHAPE = (4, 5, 6, 3)


@pytest.fixture
def activations() -> np.ndarray:
    return np.random.default_rng(0).normal([1, -2, 30], [1, 3, 10], SHAPE).astype(np.float32)


def new_layer(kind=BatchNormalization, **options):
    """With a scale and an offset that are not 1 and 0."""
    layer = kind(momentum=0.9, epsilon=1e-5, **options)
    layer.build(SHAPE)
    layer.gamma.assign([0.5, 2.0, -1.0])
    layer.beta.assign([0.1, 0.2, 0.3])
    return layer


def test_output_is_that_of_the_formula(activations):
    found = ops.convert_to_numpy(new_layer()(activations, training=True))
    mean, variance = activations.mean((0, 1, 2)), activations.var((0, 1, 2))
    wanted = (activations - mean) / np.sqrt(variance + 1e-5) * [0.5, 2.0, -1.0] + [0.1, 0.2, 0.3]
    np.testing.assert_allclose(found, wanted, atol=1e-5)


class Inference(keras.layers.BatchNormalization):
    """Keras' layer, which always goes by its running statistics."""

    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training=False, mask=mask)


@pytest.mark.parametrize(
    ("frozen", "plain"), [(False, keras.layers.BatchNormalization), (True, Inference)]
)
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_a_training_step_is_that_of_keras(activations, dtype, frozen, plain):
    """A dense layer below, so that the gradients by all inputs of the normalisation count."""
    weights = []
    for kind in (BatchNormalization, plain):
        norm = new_layer(kind, dtype=dtype)
        norm.moving_mean.assign([1.0, -1.0, 20.0])
        norm.frozen_statistics = frozen
        below = keras.layers.Dense(3, kernel_initializer="identity", dtype=dtype)
        model = keras.Sequential([keras.Input(SHAPE[1:]), below, norm])
        model.compile(optimizer=keras.optimizers.SGD(0.001 if frozen else 0.1), loss="mse")
        model.train_on_batch(activations, np.roll(activations, 1, axis=0) / 10)
        weights.append(model.get_weights())
    for found, wanted in zip(*weights, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5 if dtype == "float32" else 0.05)


def test_frozen_layer_normalises_by_running_statistics(activations):
    layer = new_layer()
    layer.trainable = False
    trained = ops.convert_to_numpy(layer(activations, training=True))
    np.testing.assert_array_equal(trained, ops.convert_to_numpy(layer(activations)))


def test_statistics_are_estimated_by_the_pictures_given():
    """The mean over the batches, in both layers; weights and momentum stay."""
    pixels = keras.Input((None, None, 3))
    first, second = BatchNormalization(name="first"), keras.layers.BatchNormalization(name="second")
    conv = keras.layers.Conv2D(4, 3)
    network = keras.Model(pixels, {"pooled": second(keras.layers.ReLU()(conv(first(pixels))))})
    kernel = ops.convert_to_numpy(conv.kernel)
    batches = np.random.default_rng(0).normal(5, 3, (3, 8, 6, 6, 3)).astype(np.float32)

    estimate_statistics(network, batches)

    def moments(x):
        return x.mean((0, 1, 2)), x.var((0, 1, 2))

    of_first = [moments(batch) for batch in batches]
    of_second = []
    for batch, (mean, variance) in zip(batches, of_first, strict=True):
        normalized = (batch - mean) / np.sqrt(variance + first.epsilon)
        of_second.append(moments(np.maximum(ops.convert_to_numpy(conv(normalized)), 0)))
    for layer, found in ((first, of_first), (second, of_second)):
        mean, variance = np.mean(found, axis=0)
        np.testing.assert_allclose(ops.convert_to_numpy(layer.moving_mean), mean, rtol=1e-4)
        np.testing.assert_allclose(ops.convert_to_numpy(layer.moving_variance), variance, rtol=1e-4)
        assert layer.momentum == 0.99
    np.testing.assert_array_equal(ops.convert_to_numpy(conv.kernel), kernel)
