"""AdamW decays matrices alone, also after it was loaded from a file."""

import keras
import numpy as np
import pytest
from keras import ops

from captioning.training.optimizers import AdamW, learning_rate_schedule


@pytest.mark.parametrize("loaded", [False, True])
def test_only_matrices_are_decayed(loaded):
    """Without a gradient a step is the decay alone: (1 - rate * decay) of a matrix."""
    optimizer = AdamW(0.1, weight_decay=0.5)
    if loaded:
        config = keras.saving.serialize_keras_object(optimizer)
        optimizer = keras.saving.deserialize_keras_object(config)
    layer = keras.layers.Dense(2, name="beta")  # a layer's name is not its weights'
    layer.build((None, 3))
    norm = keras.layers.LayerNormalization()
    norm.build((None, 3))
    weights = [*layer.trainable_variables, *norm.trainable_variables]
    for weight in weights:
        weight.assign(ops.ones_like(weight))
    optimizer.build(weights)
    optimizer.apply([ops.zeros(weight.shape) for weight in weights])
    found = {weight.name: float(ops.convert_to_numpy(weight.value).mean()) for weight in weights}
    assert found == pytest.approx({"kernel": 0.95, "bias": 1.0, "gamma": 1.0, "beta": 1.0})
    np.testing.assert_allclose(float(optimizer.learning_rate), 0.1, rtol=1e-6)


def test_some_variables_learn_at_a_part_of_the_rate():
    """Adam's first step is as long as its rate, whatever the gradient."""
    variables = [keras.Variable(np.zeros((2, 2)), name=name) for name in ("fast", "slow")]
    optimizer = AdamW(0.1, weight_decay=0.0)
    optimizer.slow_down({variables[1].path: 0.25})
    optimizer.apply([keras.ops.full((2, 2), 3.0)] * 2, variables)
    fast, slow = (keras.ops.convert_to_numpy(variable.value) for variable in variables)
    np.testing.assert_allclose(fast, -0.1, rtol=1e-4)
    np.testing.assert_allclose(slow, -0.025, rtol=1e-4)


def test_matrices_go_as_with_keras_own_under_a_schedule():
    """To the bit, over the warm-up and after: decay, clipping and moments."""
    steps = np.random.default_rng(0).normal(size=(6, 3, 4)).astype("f4")
    found = []
    for kind in (AdamW, keras.optimizers.AdamW):
        variable = keras.Variable(np.arange(12, dtype="f4").reshape(3, 4))
        rate = learning_rate_schedule(0.1, 6, warmup_share=0.5)
        optimizer = kind(rate, weight_decay=0.5, global_clipnorm=1.0)
        for gradient in steps:
            optimizer.apply([ops.convert_to_tensor(gradient)], [variable])
        found.append(ops.convert_to_numpy(variable.value))
    np.testing.assert_array_equal(*found)
