"""AdamW decays matrices alone; schedules, plateaus and patience."""

import keras
import numpy as np
import pytest
from keras import ops

from captioning.training.optimizers import AdamW, is_exhausted, learning_rate_schedule, plateau_rate


def test_only_matrices_are_decayed():
    """Without a gradient a step is the decay alone: (1 - rate * decay) of a matrix."""
    optimizer = AdamW(0.1, weight_decay=0.5)
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


def test_some_variables_learn_at_a_part_of_the_rate_and_decay_at_the_whole():
    """Adam's first step is as long as its rate, whatever the gradient."""
    variables = [keras.Variable(np.ones((2, 2)), name=name) for name in ("fast", "slow")]
    optimizer = AdamW(0.1, weight_decay=0.5, factors={variables[1].path: 0.25})
    optimizer.apply([keras.ops.full((2, 2), 3.0)] * 2, variables)
    fast, slow = (keras.ops.convert_to_numpy(variable.value) for variable in variables)
    np.testing.assert_allclose(fast, 0.95 - 0.1, rtol=1e-4)
    np.testing.assert_allclose(slow, 0.95 - 0.025, rtol=1e-4)


@pytest.mark.parametrize("warmup", [5, 20])
def test_schedule_rises_then_falls_to_zero(warmup):
    schedule = learning_rate_schedule(0.1, 100, warmup / 100)
    values = [float(schedule(step)) for step in range(101)]
    assert values[0] == 0
    assert max(values) == pytest.approx(0.1, rel=0.01)
    assert values.index(max(values)) == warmup
    assert values[-1] == pytest.approx(0, abs=1e-6)


LOSSES = [3.0, 2.0, 2.0, 2.5, 1.9, 1.8]


def test_plateau_halves_the_rate_after_every_epoch_without_a_new_low():
    rates = [plateau_rate(0.8, LOSSES[:epochs]) for epochs in range(7)]
    assert rates == [0.8, 0.8, 0.8, 0.4, 0.2, 0.2, 0.2]


def test_rate_falls_when_kerass_own_callback_lets_it_fall():
    losses = [3.0, 2.5, 2.6, 2.5, 2.7, 2.4, 2.41, 2.42, 2.43, 2.44, 2.45, 2.46, 2.3, 2.2]
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(1.0), "mse")
    callback = keras.callbacks.ReduceLROnPlateau(patience=3, factor=0.1, min_delta=0)
    callback.set_model(model)
    callback.on_train_begin()
    for epoch, loss in enumerate(losses):
        callback.on_epoch_end(epoch, {"val_loss": loss})
        expected = float(model.optimizer.learning_rate)
        assert plateau_rate(1.0, losses[: epoch + 1], 0.1, 3) == pytest.approx(expected, rel=1e-5)


def test_patience_ends_so_many_epochs_after_the_first_of_the_lowest():
    ends = [is_exhausted(LOSSES[:epochs], 2) for epochs in range(7)]
    assert ends == [False, False, False, False, True, False, False]
    assert not is_exhausted([1.0] * 9, 0)
