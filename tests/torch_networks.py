"""torchvision's ResNets and timm's ViT-S in plain PyTorch, and how projects save them.

PyTorch takes seconds to import: tests import this module where they run.
"""

import argparse

import numpy as np
import torch
from torch import nn

from captioning.images.preprocessing import SCALES


def randomise(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights and statistics, so that a swap of any two shows; in inference mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator)
                if tensor.ndim > 1:
                    tensor.copy_(noise * (2 / tensor[0].numel()) ** 0.5)
                elif "weight" in name or "var" in name:
                    tensor.copy_(1 + 0.2 * noise.abs())
                else:
                    tensor.copy_(0.1 * noise)
    return network.eval()


class Basic(nn.Module):
    """A basic block of torchvision's ResNet-18."""

    expansion = 1

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = shortcut(inputs, channels, stride)

    def forward(self, x):
        h = self.bn1(self.conv1(x)).relu()
        return (self.bn2(self.conv2(h)) + self.downsample(x)).relu()


class Bottleneck(nn.Module):
    """A bottleneck of torchvision's ResNet-50."""

    expansion = 4

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, 4 * channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * channels)
        self.downsample = shortcut(inputs, 4 * channels, stride)

    def forward(self, x):
        h = self.bn1(self.conv1(x)).relu()
        h = self.bn2(self.conv2(h)).relu()
        return (self.bn3(self.conv3(h)) + self.downsample(x)).relu()


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """The identity, or a projection where the shape changes."""
    if stride == 1 and inputs == outputs:
        return nn.Sequential()
    conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class ResNet(nn.Module):
    """Pixels (B, 3, H, W), normalised, to (B, D); `fc` is there as in a checkpoint, and unused."""

    def __init__(self, block=Basic, blocks=(2, 2, 2, 2)) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inputs = 64
        for stage, count in enumerate(blocks):
            layer = []
            for number in range(count):
                stride = 2 if stage and not number else 1
                layer.append(block(inputs, 64 * 2**stage, stride))
                inputs = 64 * 2**stage * block.expansion
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layer))
        self.fc = nn.Linear(inputs, 10)

    def forward(self, x):
        x = nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean((2, 3))


class Attention(nn.Module):
    """timm's attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        batch, length, width = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-1, -2) * (width // self.heads) ** -0.5).softmax(-1)
        return self.proj((weights @ value).transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    """timm's transformer block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        fc1, fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.mlp = nn.ModuleDict({"fc1": fc1, "fc2": fc2})

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp["fc2"](nn.functional.gelu(self.mlp["fc1"](self.norm2(x))))


class ViT(nn.Module):
    """Pixels (B, 3, 224, 224), normalised, to the class token (B, 384)."""

    def __init__(self, heads: int = 6) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 384))
        self.pos_embed = nn.Parameter(torch.zeros(1, 197, 384))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, 384, 16, 16)})
        self.blocks = nn.Sequential(*(Block(384, heads) for _ in range(12)))
        self.norm = nn.LayerNorm(384, eps=1e-6)

    def forward(self, x):
        x = self.patch_embed["proj"](x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        return self.norm(self.blocks(x))[:, 0]


# ---- checkpoints of them ---------------------------------------------------------------------


def features(network: nn.Module, pixels: np.ndarray) -> np.ndarray:
    """What PyTorch makes of uint8 pixels (B, H, W, 3)."""
    mean, std = (np.array(v, np.float32) for v in SCALES["imagenet"])
    x = ((pixels - mean) / std).transpose(0, 3, 1, 2)
    with torch.no_grad():
        return network(torch.from_numpy(np.ascontiguousarray(x))).numpy()


def prefixed(network: nn.Module, prefix: str, without: str = "fc.") -> dict:
    """The network's tensors by name, with something before each name."""
    state = network.state_dict()
    return {prefix + key: value for key, value in state.items() if not key.startswith(without)}


def numbered(network: nn.Module, prefix: str) -> dict:
    """lightly's way: the children of the network, without `fc`, in a sequence."""
    children = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]
    state = {}
    for key, value in prefixed(network, "").items():
        child, rest = key.split(".", 1)
        state[f"{prefix}{children.index(child)}.{rest}"] = value
    return state


def other() -> ResNet:
    """Weights that are not those to be found."""
    return randomise(ResNet(), 1)


def vissl(network: nn.Module) -> dict:
    trunk, heads = prefixed(network, "_feature_blocks."), {"0.clf.0.weight": torch.ones(4, 4)}
    return {"classy_state_dict": {"base_model": {"model": {"trunk": trunk, "heads": heads}}}}


RESNET_LAYOUTS = {
    "torchvision": lambda n: n.state_dict(),
    "moco": lambda n: {
        "arch": "resnet18",
        "state_dict": prefixed(other(), "module.encoder_k.")
        | prefixed(n, "module.encoder_q.")
        | {"module.encoder_q.fc.0.weight": torch.ones(8, 8), "module.queue": torch.ones(8, 8)},
        "optimizer": {"state": {0: {"momentum_buffer": torch.ones(64, 3, 7, 7)}}},
    },
    "lightning bolts": lambda n: {
        "epoch": 3,
        "hyper_parameters": argparse.Namespace(lr=0.1),
        "state_dict": prefixed(n, "encoder.") | {"projection.model.0.weight": torch.ones(3, 3)},
    },
    "moco v3": lambda n: {
        "state_dict": prefixed(other(), "module.momentum_encoder.")
        | prefixed(n, "module.base_encoder.")
    },
    "simsiam": lambda n: {"state_dict": prefixed(n, "module.encoder.")},
    "vissl": vissl,
    "lightly": lambda n: {"state_dict": numbered(n, "backbone.")},
    "solo-learn": lambda n: {"state_dict": prefixed(n, "backbone.")},
    "dino": lambda n: {
        "student": prefixed(other(), "module."),
        "teacher": prefixed(n, "backbone."),
    },
    "lightly dino": lambda n: {
        "state_dict": numbered(other(), "student_backbone.") | numbered(n, "teacher_backbone.")
    },
}
VIT_LAYOUTS = {
    "moco v3": lambda n: {"state_dict": prefixed(n, "module.base_encoder.")},
    "dino": lambda n: {
        "student": prefixed(randomise(ViT(), 1), "module.backbone."),
        "teacher": prefixed(n, "backbone.") | {"head.mlp.0.weight": torch.ones(3, 3)},
        "args": argparse.Namespace(arch="vit_small"),
    },
}
