"""Models whose variables begin with values from a file."""

import keras
import numpy as np
from keras import layers

from captioning.deferred import build_and_fill

KERNEL = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_variables_begin_with_what_is_assigned_and_the_others_as_usual():
    def build() -> keras.Model:
        return keras.Sequential([keras.Input((2,)), layers.Dense(3, bias_initializer="ones")])

    model = build_and_fill(build, lambda model: model.layers[0].kernel.assign(KERNEL))

    np.testing.assert_array_equal(model(np.eye(2, dtype=np.float32)), KERNEL + 1)
