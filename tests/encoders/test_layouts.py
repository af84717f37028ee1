"""Public layouts against PyTorch: random weights in each, the same features out."""

import os

import keras
import numpy as np
import pytest

from captioning.cli import UserError
from captioning.encoders.layouts import fit
from captioning.encoders.loading import load_encoder
from captioning.encoders.table import build_network
from captioning.untrusted.checkpoints import read_checkpoint

RESNETS = [
    "torchvision",
    "moco",
    "lightning bolts",
    "moco v3",
    "simsiam",
    "vissl",
    "lightly",
    "solo-learn",
    "dino",
]


@pytest.fixture(scope="module")
def networks():
    """The module with PyTorch in it, which is imported by tests alone that need it."""
    pytest.importorskip("torch")
    from tests import torch_networks

    assert [*torch_networks.RESNET_LAYOUTS] == RESNETS
    return torch_networks


@pytest.fixture(scope="module")
def resnet18(networks):
    return networks.randomise(networks.ResNet())


@pytest.fixture(scope="module")
def ours() -> keras.Model:
    return build_network("resnet18")


def assert_same_features(networks, network, encoder, size: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    expected, got = networks.features(network, pixels), encoder.encode_few(pixels)
    assert np.abs(got - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("layout", RESNETS[:2])
def test_resnet_features(layout, networks, resnet18, tmp_path):
    networks.save(networks.RESNET_LAYOUTS[layout](resnet18), tmp_path / "checkpoint.pth")
    encoder = load_encoder("resnet18", tmp_path / "checkpoint.pth")
    assert_same_features(networks, resnet18, encoder, 64)


@pytest.mark.parametrize("layout", RESNETS[2:])
def test_resnet_layouts_have_the_weights_of_torchvisions(
    layout, networks, resnet18, ours, tmp_path
):
    plain = {key: tensor.numpy() for key, tensor in resnet18.state_dict().items()}
    networks.save(networks.RESNET_LAYOUTS[layout](resnet18), tmp_path / "checkpoint.pth")
    found = fit(ours, read_checkpoint(tmp_path / "checkpoint.pth"), "resnet")
    assert found.problems == []
    expected = fit(ours, plain, "resnet").arrays
    assert found.arrays.keys() == expected.keys()
    for layer, arrays in expected.items():
        for one, wanted in zip(found.arrays[layer], arrays, strict=True):
            np.testing.assert_array_equal(one, wanted)


def test_resnet50(networks, tmp_path):
    network = networks.randomise(networks.ResNet(networks.Bottleneck, (3, 4, 6, 3)))
    networks.save(
        {"state_dict": networks.prefixed(network, "module.encoder_q.")}, tmp_path / "moco.pth.tar"
    )
    encoder = load_encoder("resnet50", tmp_path / "moco.pth.tar")
    assert_same_features(networks, network, encoder, 64)


@pytest.mark.parametrize(("layout", "zipped"), [("plain", False), ("dino", True)])
def test_vit(layout, zipped, networks, tmp_path):
    network = networks.randomise(networks.ViT())
    state = networks.VIT_LAYOUTS[layout](network)
    networks.save(state, tmp_path / "vit.pth", _use_new_zipfile_serialization=zipped)
    assert_same_features(networks, network, load_encoder("vit_small", tmp_path / "vit.pth"), 224)


def test_moco_v3_vit_has_twelve_heads(networks, tmp_path):
    network = networks.randomise(networks.ViT(heads=12))
    path = tmp_path / "mocov3.pth.tar"
    networks.save({"state_dict": networks.prefixed(network, "module.base_encoder.")}, path)
    assert_same_features(networks, network, load_encoder("vit_small", path), 224)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "npz", "bfloat16"])
def test_formats(kind, networks, resnet18, tmp_path):
    from safetensors.torch import save_file

    state = resnet18.state_dict()
    path = tmp_path / {"safetensors": "w.safetensors", "npz": "w.npz"}.get(kind, "w.pth")
    if kind == "safetensors":
        save_file(state, path)
    elif kind == "npz":
        np.savez(path, **{key: value.numpy() for key, value in state.items()})
    elif kind == "bfloat16":
        networks.save({k: v.bfloat16() for k, v in state.items()}, path)
    else:
        networks.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    tensors = read_checkpoint(path)
    assert set(tensors) == set(state)
    for key, value in state.items():
        if kind == "bfloat16":
            value = value.bfloat16().float()
        np.testing.assert_array_equal(tensors[key], value.numpy())


def test_safetensors_bfloat16(tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    value = torch.randn(3, 5).bfloat16()
    save_file({"a": value}, tmp_path / "a.safetensors")
    [array] = read_checkpoint(tmp_path / "a.safetensors").values()
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, value.float().numpy())


def test_views_of_one_storage(networks, tmp_path):
    torch = pytest.importorskip("torch")
    base = torch.arange(24.0).reshape(4, 6)
    networks.save({"view": base[1:3, ::2], "turned": base.T}, tmp_path / "views.pth")
    read = read_checkpoint(tmp_path / "views.pth")
    np.testing.assert_array_equal(read["view"], base[1:3, ::2].numpy())
    np.testing.assert_array_equal(read["turned"], base.T.numpy())


def test_misfits_are_listed_and_refused(networks, resnet18, ours, tmp_path, capsys):
    state = resnet18.state_dict()
    del state["layer3.1.conv2.weight"]
    state["layer2.0.bn1.weight"] = state["bn1.weight"][:5]
    state["layer4.2.conv1.weight"] = state["bn1.weight"][:5]
    path = tmp_path / "misfit.pth"
    networks.save(state, path)
    found = fit(ours, read_checkpoint(path), "resnet")
    assert found.problems == [
        "layer2.0.bn1.weight has shape (5,)",
        "layer3.1.conv2.weight is missing",
        "layer4.2.conv1.weight is left over",
    ]
    with pytest.raises(UserError, match=r"conv2.weight is missing"):
        load_encoder("resnet18", path)
    load_encoder("resnet18", path, partial=True)
    assert "WARNING" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["resnet50", "vit_small", "efficientnet_lite0"])
def test_another_architecture_is_refused(name, networks, resnet18, tmp_path):
    networks.save(resnet18.state_dict(), tmp_path / "r18.pth")
    with pytest.raises(UserError, match=f"does not fit {name}"):
        load_encoder(name, tmp_path / "r18.pth")


class Hostile:
    """Runs a command when it is unpickled by `pickle.load`."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", [True, False])
def test_hostile_checkpoint_is_refused_and_not_run(zipped, networks, resnet18, tmp_path):
    touched = tmp_path / "touched"
    state = {"state_dict": resnet18.state_dict(), "args": Hostile(f"touch {touched}")}
    path = tmp_path / "hostile.pth"
    networks.save(state, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"refused, because this checkpoint asks for '\w+\.system'"):
        load_encoder("resnet18", path)
    assert not touched.exists()
