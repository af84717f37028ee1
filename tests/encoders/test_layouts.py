"""Public layouts against PyTorch: random weights in each, the same features out."""

import keras
import numpy as np
import pytest

from captioning.captioners.loading import encoder_of
from captioning.cli import UserError
from captioning.decoders.table import decoder_class
from captioning.encoders.layouts import fit
from captioning.encoders.loading import load_encoder
from captioning.encoders.table import build_network
from captioning.untrusted.checkpoints import read_checkpoint
from tests.conftest import Hostile

RESNETS = (
    "torchvision,moco,lightning bolts,moco v3,simsiam,vissl,lightly,solo-learn,dino,lightly dino"
)
RESNETS = RESNETS.split(",")


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


def test_resnet18(networks, resnet18, tmp_path):
    networks.torch.save(resnet18.state_dict(), tmp_path / "torchvision.pth")
    encoder = load_encoder("resnet18", tmp_path / "torchvision.pth")
    assert_same_features(networks, resnet18, encoder, 64)


@pytest.mark.parametrize("layout", RESNETS[1:])
def test_resnet_layouts_have_the_weights_of_torchvisions(
    layout, networks, resnet18, ours, tmp_path
):
    plain = {key: tensor.numpy() for key, tensor in resnet18.state_dict().items()}
    networks.torch.save(networks.RESNET_LAYOUTS[layout](resnet18), tmp_path / "checkpoint.pth")
    arrays, problems, _ = fit(ours, read_checkpoint(tmp_path / "checkpoint.pth"), "resnet")
    assert problems == []
    expected = fit(ours, plain, "resnet").arrays
    keras.tree.map_structure(np.testing.assert_array_equal, arrays, expected)


def test_resnet50(networks, tmp_path):
    network = networks.randomise(networks.ResNet(networks.Bottleneck, (3, 4, 6, 3)))
    state = {"state_dict": networks.prefixed(network, "module.encoder_q.")}
    networks.torch.save(state, tmp_path / "moco.pth.tar")
    encoder = load_encoder("resnet50", tmp_path / "moco.pth.tar")
    assert_same_features(networks, network, encoder, 64)


@pytest.mark.parametrize(("layout", "heads"), [("dino", 6), ("moco v3", 12)])
def test_vit(layout, heads, networks, tmp_path):
    network = networks.randomise(networks.ViT(heads=heads))
    networks.torch.save(networks.VIT_LAYOUTS[layout](network), tmp_path / "vit.pth")
    assert_same_features(networks, network, load_encoder("vit_small", tmp_path / "vit.pth"), 224)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "npz"])
def test_formats(kind, half, networks, resnet18, tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / {"safetensors": "w.safetensors", "npz": "w.npz"}.get(kind, "w.pth")
    some = list(resnet18.state_dict().items())[:10]
    state = {k: v.bfloat16() if half else v for k, v in some}
    expected = {k: (v.float() if half else v).numpy() for k, v in state.items()}
    if kind == "safetensors":
        save_file(state, path)
    elif kind == "npz":
        np.savez(path, **expected)
    else:
        networks.torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    tensors = read_checkpoint(path)
    assert set(tensors) == set(state)
    for key, value in expected.items():
        assert tensors[key].dtype == value.dtype
        np.testing.assert_array_equal(tensors[key], value)


def test_views_of_one_storage(networks, tmp_path):
    torch = pytest.importorskip("torch")
    base = torch.arange(24.0).reshape(4, 6)
    networks.torch.save({"view": base[1:3, ::2], "turned": base.T}, tmp_path / "views.pth")
    read = read_checkpoint(tmp_path / "views.pth")
    np.testing.assert_array_equal(read["view"], base[1:3, ::2].numpy())
    np.testing.assert_array_equal(read["turned"], base.T.numpy())


def test_misfits_are_listed_and_refused(networks, resnet18, ours, tmp_path, capsys):
    state = resnet18.state_dict()
    del state["layer3.1.conv2.weight"]
    state["layer2.0.bn1.weight"] = state["bn1.weight"][:5]
    state["layer4.2.conv1.weight"] = state["bn1.weight"][:5]
    path = tmp_path / "misfit.pth"
    networks.torch.save(state, path)
    assert fit(ours, read_checkpoint(path), "resnet").problems == [
        "layer2.0.bn1.weight has shape (5,)",
        "layer3.1.conv2.weight is missing",
        "layer4.2.conv1.weight is left over",
    ]
    with pytest.raises(UserError, match=r"conv2.weight is missing"):
        load_encoder("resnet18", path)
    used = load_encoder("resnet18", path, partial=True, seed=3)
    assert "WARNING" in capsys.readouterr().err
    model = decoder_class("merge")(512, ["startseq", "endseq"], 8, encoder=used.info, units=8)
    again = encoder_of(model, tmp_path / "model.keras")  # which draws the same for what is missing
    for one, other in zip(used.network.weights, again.network.weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["resnet50", "vit_small", "efficientnet_lite0"])
def test_another_architecture_is_refused(name, networks, resnet18, tmp_path):
    networks.torch.save(resnet18.state_dict(), tmp_path / "r18.pth")
    with pytest.raises(UserError, match=f"does not fit {name}"):
        load_encoder(name, tmp_path / "r18.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_hostile_checkpoint_is_refused_and_not_run(zipped, networks, resnet18, tmp_path):
    touched = tmp_path / "touched"
    state = {"state_dict": resnet18.state_dict(), "args": Hostile(f"touch {touched}")}
    path = tmp_path / "hostile.pth"
    networks.torch.save(state, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"refused, because this checkpoint asks for '\w+\.system'"):
        load_encoder("resnet18", path)
    assert not touched.exists()
