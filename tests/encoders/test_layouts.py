"""Public layouts against PyTorch: random weights in each, the same features out."""

import argparse
import subprocess

import numpy as np
import pytest

from captioning.cli import UserError
from captioning.encoders.layouts import fit
from captioning.encoders.loading import load_encoder
from captioning.encoders.table import build_network
from captioning.images.preprocessing import SCALES
from captioning.untrusted.checkpoints import read_checkpoint

torch = pytest.importorskip("torch")
networks = pytest.importorskip("tests.torch_networks")


@pytest.fixture(scope="module")
def resnet18():
    return networks.randomise(networks.ResNet())


@pytest.fixture(scope="module")
def vit():
    return networks.randomise(networks.ViT())


def features(network, pixels: np.ndarray) -> np.ndarray:
    """What PyTorch makes of uint8 pixels (B, H, W, 3)."""
    mean, deviation = (np.array(v, np.float32) for v in SCALES["imagenet"])
    x = ((pixels - mean) / deviation).transpose(0, 3, 1, 2)
    with torch.no_grad():
        return network(torch.from_numpy(np.ascontiguousarray(x))).numpy()


def assert_same_features(network, encoder, size: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    expected, got = features(network, pixels), encoder.encode_few(pixels)
    assert np.abs(got - expected).max() <= 1e-4 * np.abs(expected).max()


def prefixed(network, prefix: str, without: str = "fc.") -> dict:
    state = network.state_dict()
    return {prefix + k: v for k, v in state.items() if not k.startswith(without)}


def numbered(network, prefix: str) -> dict:
    """lightly's way: the children of the network, without `fc`, in a sequence."""
    children = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]
    state = {}
    for key, value in prefixed(network, "").items():
        child, rest = key.split(".", 1)
        state[f"{prefix}{children.index(child)}.{rest}"] = value
    return state


RESNET_LAYOUTS = {
    "torchvision": lambda n: n.state_dict(),
    "lightning bolts": lambda n: {
        "epoch": 3,
        "hyper_parameters": argparse.Namespace(lr=0.1),
        "state_dict": prefixed(n, "encoder.") | {"projection.model.0.weight": torch.ones(3, 3)},
    },
    "moco": lambda n: {
        "arch": "resnet18",
        "state_dict": prefixed(networks.randomise(networks.ResNet(), 1), "module.encoder_k.")
        | prefixed(n, "module.encoder_q.")
        | {"module.encoder_q.fc.0.weight": torch.ones(8, 8), "module.queue": torch.ones(8, 8)},
        "optimizer": {"state": {0: {"momentum_buffer": torch.ones(64, 3, 7, 7)}}},
    },
    "moco v3": lambda n: {
        "state_dict": prefixed(networks.randomise(networks.ResNet(), 1), "module.momentum_encoder.")
        | prefixed(n, "module.base_encoder.")
    },
    "simsiam": lambda n: {"state_dict": prefixed(n, "module.encoder.")},
    "vissl": lambda n: {
        "classy_state_dict": {
            "base_model": {
                "model": {
                    "trunk": prefixed(n, "_feature_blocks."),
                    "heads": {"0.clf.0.weight": torch.ones(4, 4)},
                }
            }
        }
    },
    "lightly": lambda n: {"state_dict": numbered(n, "backbone.")},
    "solo-learn": lambda n: {"state_dict": prefixed(n, "backbone.")},
    "dino": lambda n: {"student": prefixed(networks.randomise(networks.ResNet(), 1), "module."),
                       "teacher": prefixed(n, "backbone.")},
}  # fmt: skip


@pytest.mark.parametrize("layout", RESNET_LAYOUTS)
def test_resnet_layouts(layout, resnet18, tmp_path):
    path = tmp_path / "checkpoint.pth"
    torch.save(RESNET_LAYOUTS[layout](resnet18), path)
    assert_same_features(resnet18, load_encoder("resnet18", path), 64)


def test_resnet50(tmp_path):
    network = networks.randomise(networks.ResNet(networks.Bottleneck, (3, 4, 6, 3)))
    torch.save({"state_dict": prefixed(network, "module.encoder_q.")}, tmp_path / "moco.pth.tar")
    assert_same_features(network, load_encoder("resnet50", tmp_path / "moco.pth.tar"), 64)


@pytest.mark.parametrize("layout", ["plain", "dino", "legacy"])
def test_vit(layout, vit, tmp_path):
    path = tmp_path / "vit.pth"
    state = vit.state_dict()
    if layout == "dino":
        state = {
            "student": prefixed(networks.randomise(networks.ViT(), 1), "module.backbone."),
            "teacher": prefixed(vit, "backbone.") | {"head.mlp.0.weight": torch.ones(3, 3)},
            "args": argparse.Namespace(arch="vit_small"),
        }
    torch.save(state, path, _use_new_zipfile_serialization=layout != "legacy")
    assert_same_features(vit, load_encoder("vit_small", path), 224)


def test_moco_v3_vit_has_twelve_heads(tmp_path):
    network = networks.randomise(networks.ViT(heads=12))
    path = tmp_path / "mocov3.pth.tar"
    torch.save({"state_dict": prefixed(network, "module.base_encoder.")}, path)
    assert_same_features(network, load_encoder("vit_small", path), 224)


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "npz", "bfloat16"])
def test_formats(kind, resnet18, tmp_path):
    state = resnet18.state_dict()
    path = tmp_path / {"safetensors": "w.safetensors", "npz": "w.npz"}.get(kind, "w.pth")
    if kind == "safetensors":
        pytest.importorskip("safetensors.torch").save_file(state, path)
    elif kind == "npz":
        np.savez(path, **{key: value.numpy() for key, value in state.items()})
    elif kind == "bfloat16":
        torch.save({k: v.bfloat16() for k, v in state.items()}, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    tensors = read_checkpoint(path)
    assert set(tensors) == set(state)
    for key, value in state.items():
        if kind == "bfloat16":
            value = value.bfloat16().float()
        np.testing.assert_array_equal(tensors[key], value.numpy())


def test_safetensors_bfloat16_and_views(tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    value = torch.randn(3, 5).bfloat16()
    save_file({"a": value}, tmp_path / "a.safetensors")
    np.testing.assert_array_equal(
        read_checkpoint(tmp_path / "a.safetensors")["a"], value.float().numpy()
    )
    base = torch.arange(24.0).reshape(4, 6)
    torch.save({"view": base[1:3, ::2], "turned": base.T}, tmp_path / "views.pth")
    read = read_checkpoint(tmp_path / "views.pth")
    np.testing.assert_array_equal(read["view"], base[1:3, ::2].numpy())
    np.testing.assert_array_equal(read["turned"], base.T.numpy())


def test_misfits_are_listed_and_refused(resnet18, tmp_path, capsys):
    state = resnet18.state_dict()
    del state["layer3.1.conv2.weight"]
    state["layer2.0.bn1.weight"] = torch.ones(5)
    state["layer4.2.conv1.weight"] = torch.ones(2, 2)
    path = tmp_path / "misfit.pth"
    torch.save(state, path)
    found = fit(build_network("resnet18"), read_checkpoint(path), "resnet")
    assert found.problems == [
        "layer2.0.bn1.weight has shape (5,)",
        "layer3.1.conv2.weight is missing",
        "layer4.2.conv1.weight is left over",
    ]
    with pytest.raises(UserError, match=r"conv2.weight is missing"):
        load_encoder("resnet18", path)
    load_encoder("resnet18", path, partial=True)
    assert "WARNING" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["resnet50", "vit_small"])
def test_another_architecture_is_refused(name, resnet18, tmp_path):
    torch.save(resnet18.state_dict(), tmp_path / "r18.pth")
    with pytest.raises(UserError, match=f"does not fit {name}"):
        load_encoder(name, tmp_path / "r18.pth")


class Hostile:
    """Runs a command when it is unpickled by `pickle.load`."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        import os

        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", [True, False])
def test_hostile_checkpoint_is_refused_and_not_run(zipped, resnet18, tmp_path):
    touched = tmp_path / "touched"
    state = {"state_dict": resnet18.state_dict(), "args": Hostile(f"touch {touched}")}
    path = tmp_path / "hostile.pth"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"refused, because this checkpoint asks for '\w+\.system'"):
        load_encoder("resnet18", path)
    assert not touched.exists()
    subprocess.run(["touch", str(touched)], check=True)
    assert touched.exists()  # the command would have worked
