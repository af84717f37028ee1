"""The file of an encoder's weights, and networks at other sizes than their own."""

import keras
import numpy as np
import pytest

from captioning.cli import UserError
from captioning.encoders.loading import load_encoder
from captioning.encoders.table import build_network
from captioning.encoders.weights import read_recipe, save_encoder
from tests.pretext_tools import patterns, weights_of

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("half", [True, False])
def test_encoder_weights_carry_their_recipe(half, tmp_path):
    network = build_network("resnet18", seed=3)
    path = tmp_path / "r18.weights.h5"
    save_encoder(network, path, {"encoder": "resnet18", "image_size": 96}, half=half)
    encoder = load_encoder("resnet18", path)
    assert encoder.info["image_size"] == 96
    assert read_recipe(path) == {"encoder": "resnet18", "image_size": 96}
    assert (path.stat().st_size < 24e6) == half
    for got, expected in zip(weights_of(encoder.network), weights_of(network), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-3 if half else 0, atol=1e-7 * half)
    with pytest.raises(UserError, match="holds a resnet18, not a resnet50"):
        load_encoder("resnet50", path)


def test_vit_takes_other_sizes_than_its_own():
    network = build_network("vit_small")
    assert network.count_params() == 21_665_664
    for size, patches in ((64, 4), (96, 6)):
        out = network(patterns(2, size).astype("f4"))
        assert out["pooled"].shape == (2, 384)
        assert out["grid"].shape == (2, patches, patches, 384)
    again = keras.models.clone_model(network)  # MoCo and BYOL copy it
    again.set_weights(network.get_weights())
    pixels = patterns(1, 64).astype("f4")
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(again(pixels)["pooled"]),
        keras.ops.convert_to_numpy(network(pixels)["pooled"]), atol=1e-5,
    )  # fmt: skip
