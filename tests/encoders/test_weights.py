"""Files of encoders' weights: half the size, and with their recipe."""

import json
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from captioning.cli import UserError
from captioning.encoders.loading import load_encoder
from captioning.encoders.table import build_network
from captioning.encoders.weights import half_copy, read_recipe, save_encoder

RECIPE = {"encoder": "alexnet", "preprocessing": "squash(96)|unit"}


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """AlexNet, which is small; its variances and one of its kernels are beyond half precision."""
    network = build_network("alexnet", seed=3)
    network.get_layer("norm1").moving_variance.assign(np.full(64, 1e6))
    network.get_layer("conv2").kernel.assign(network.get_layer("conv2").kernel * 1e6)
    return network


@pytest.fixture
def saved(network, tmp_path) -> Path:
    save_encoder(network, tmp_path / "a.weights.h5", RECIPE)
    return tmp_path / "a.weights.h5"


def test_weights_come_back_from_half_precision(saved, network):
    encoder = load_encoder("alexnet", saved)
    for weight, wanted in zip(encoder.network.weights, network.weights, strict=True):
        np.testing.assert_allclose(weight, wanted, rtol=1e-3, atol=1e-7)
    kernels = {weight.path: np.array(weight) for weight in encoder.network.weights}
    np.testing.assert_array_equal(kernels["conv2/kernel"], network.get_layer("conv2").kernel)
    in_float32 = network.get_layer("conv2").kernel.shape
    full = 4 * network.count_params()
    assert saved.stat().st_size < full / 2 + 2 * np.prod(in_float32) + 1e5


def test_two_that_write_into_one_folder_share_no_file(network, tmp_path, monkeypatch):
    written = []
    save_weights = keras.Model.save_weights
    monkeypatch.setattr(
        keras.Model,
        "save_weights",
        lambda self, path: save_weights(self, written.append(path) or path),
    )
    save_encoder(network, tmp_path / "a.weights.h5", RECIPE)
    save_encoder(network, tmp_path / "b.weights.h5", RECIPE)
    assert len(set(written)) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.weights.h5", "b.weights.h5"]


def test_the_recipe_is_in_the_file(saved):
    assert read_recipe(saved) == RECIPE
    with pytest.raises(UserError, match="is of alexnet, not of resnet18"):
        load_encoder("resnet18", saved)


@pytest.mark.parametrize("recipe", ["[1]", "{"])
def test_a_damaged_recipe_is_none(saved, recipe):
    assert read_recipe("dino") == {}  # nor has what is no file of ours
    with h5py.File(saved, "r+") as file:
        file.attrs["recipe"] = recipe
    assert read_recipe(saved) == {}


@pytest.mark.parametrize("text", ["squash(1000000000)", "squash(4)", 7])
def test_a_recipe_for_pictures_that_cannot_be_is_refused(saved, text):
    with h5py.File(saved, "r+") as file:
        file.attrs["recipe"] = json.dumps(RECIPE | {"preprocessing": text})
    with pytest.raises(UserError, match=r"a\.weights\.h5: preprocessing"):
        load_encoder("alexnet", saved)


def test_weights_that_point_out_of_the_file_are_refused(saved):
    with h5py.File(saved, "r+") as file:
        name = "layers/conv2d/vars/0"
        del file[name]
        file.create_dataset(name, (64,), "f4", external=[("/etc/hostname", 0, 256)])
    with pytest.raises(UserError, match=r"a\.weights\.h5: refused, because .*other files"):
        load_encoder("alexnet", saved)


def test_weights_of_ours_that_are_not_finite_are_not_loaded(saved):
    with h5py.File(saved, "r+") as file:
        file["layers/batch_normalization/vars/0"][3] = np.nan
    with pytest.raises(UserError, match=r"a\.weights\.h5: its weights are not finite"):
        load_encoder("alexnet", saved)


def test_half_copies_keep_everything_but_the_kernels_precision(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as source, h5py.File(tmp_path / "b.h5", "w") as target:
        source.attrs["who"] = "me"
        source["kernels/small"] = np.full((2, 2), 3.0, np.float32)
        source["kernels/large"] = np.full((2, 2), 70_000.0, np.float32)
        source["vector"] = np.full(2, 70_000.0, np.float32)
        source["seed"] = np.array([1, 2], np.uint32)
        half_copy(source, target)
        kinds = {name: target[name].dtype for name in ("kernels/small", "kernels/large", "seed")}
        assert kinds == {"kernels/small": "f2", "kernels/large": "f4", "seed": "u4"}
        assert target["kernels/large"][0, 0] == target["vector"][0] == 70_000
        assert target.attrs["who"] == "me"
