"""Where an encoder's weights are in a public checkpoint, found by looking at its keys.

Every project saves the same torchvision or timm network under names of its own:

| layout | the first convolution's key |
|---|---|
| torchvision, DINO and Barlow Twins ResNets | `conv1.weight` |
| Lightning Bolts SimCLR | `encoder.conv1.weight` |
| MoCo | `module.encoder_q.conv1.weight` |
| MoCo v3, SimSiam | `module.base_encoder.conv1.weight`, `module.encoder.conv1.weight` |
| VISSL | `classy_state_dict.base_model.model.trunk._feature_blocks.conv1.weight` |
| solo-learn | `backbone.conv1.weight` |
| lightly | `backbone.0.weight`, the network's children being numbered |
| DINO, timm ViT | `patch_embed.proj.weight`, in DINO's full checkpoint under `teacher.backbone.` |

So the stem of the network is looked for by its shape, and what stands before its name is the
prefix of all others.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import keras
import numpy as np

from captioning.cli import UserError

# What Keras calls a weight, and what PyTorch does.
_SUFFIXES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
# Prefix and name of the first layer's weight, and its shape. "0" is a plain sequence's.
_STEMS = {
    "resnet": (r"((?:.*\.)?)(conv1|0)\.weight", (64, 3, 7, 7)),
    "vit": (r"((?:.*\.)?)(patch_embed\.proj)\.weight", (384, 3, 16, 16)),
    "efficientnet": (r"((?:.*\.)?)(_conv_stem)\.weight", (32, 3, 3, 3)),
}
_NUMBERED = {"0": "conv1", "1": "bn1", **{str(n + 3): f"layer{n}" for n in (1, 2, 3, 4)}}
# Of several copies of the network in a file, the one that papers evaluate comes first.
_PREFERRED = ("teacher", "encoder_q.", "base_encoder.", "online", "")
_SECOND = ("encoder_k.", "momentum", "target", "student", "ema")
# Heads and counters: no part of an encoder.
_TOLERATED = re.compile(
    r"(_?fc|head|heads|head_dist|classifier|mlp_head|project\w*|predict\w*|proto\w*|last_layer|\d+)\."
    r"|.*num_batches_tracked$|mask_token$"
)


class Fit(NamedTuple):
    """Arrays by Keras layer, in the order of the layer's weights, and what did not fit."""

    arrays: dict[str, list[np.ndarray]]
    problems: list[str]
    heads: int | None = None  # of attention, where the layout tells that they are not six


def fit(network: keras.Model, tensors: Mapping[str, np.ndarray], family: str) -> Fit:
    """Find the weights of an encoder's network among a checkpoint's `tensors`.

    `family` is `resnet`, `vit` or `efficientnet`. `problems` names what is missing, left over or of
    the wrong shape. A layer that is incomplete is not among `arrays`.

    Raises:
        UserError: nothing in the checkpoint looks like the network's first layer.
    """
    prefix, stem = _find_stem(family, tensors)
    encoder = {key.removeprefix(prefix): tensors[key] for key in tensors if key.startswith(prefix)}
    if stem == "0":
        for key in list(encoder):
            child, dot, rest = key.partition(".")
            encoder[_NUMBERED.get(child, child) + dot + rest] = encoder.pop(key)
    arrays, problems, used = {}, [], set()
    for layer in network.layers:
        fitting = []
        for weight in layer.weights:
            key = pytorch_key(layer.name, weight.name, family)
            used.add(key)
            if key not in encoder:
                problems.append(f"{key} is missing")
                continue
            array = encoder[key]
            if array.ndim == 4:  # PyTorch keeps outputs first, Keras last
                depthwise = layer.name.endswith("_depthwise_conv")
                array = array.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
            elif array.ndim == 2:
                array = array.T
            if array.shape != tuple(weight.shape):
                problems.append(f"{key} has shape {encoder[key].shape}")
                continue
            fitting.append(array)
        if layer.weights and len(fitting) == len(layer.weights):
            arrays[layer.name] = fitting
    extra = [key for key in encoder if key not in used and not _TOLERATED.match(key)]
    problems += [f"{key} is left over" for key in extra]
    # MoCo v3's ViT-S has 12 heads of 32 where all others have 6 of 64; no shape tells.
    moco_v3 = family == "vit" and ("base_encoder." in prefix or "momentum_encoder." in prefix)
    return Fit(arrays, problems, 12 if moco_v3 else None)


def _find_stem(family: str, tensors: Mapping[str, np.ndarray]) -> tuple[str, str]:
    """The prefix of the network's keys, and the name of its first layer."""
    pattern, shape = _STEMS[family]
    matches = (re.fullmatch(pattern, key) for key in tensors if tensors[key].shape == shape)
    stems = [match.groups() for match in matches if match]
    if not stems:
        some = ", ".join(list(tensors)[:3]) or "no tensors"
        raise UserError(f"no weights of a {family} in it (it has {some} ...)")

    def rank(stem: tuple[str, str]) -> tuple[bool, int]:
        prefix, _ = stem
        worse = any(word in prefix for word in _SECOND)
        return worse, next(n for n, word in enumerate(_PREFERRED) if word in prefix)

    return min(stems, key=rank)


def pytorch_key(layer: str, weight: str, family: str = "resnet") -> str:
    """The name that torchvision, timm or EfficientNet's port gives to a weight of our layers.

    `stage2_block0_1_conv`, `kernel` is `layer2.0.conv1.weight`; `block3_attn_qkv`, `bias` is
    `blocks.3.attn.qkv.bias`; `blocks_3_bn1`, `gamma` is `_blocks.3._bn1.weight`.
    """
    if layer == "tokens":
        return weight
    suffix = _SUFFIXES[weight]
    if family == "efficientnet":
        return re.sub(r"^_blocks_(\d+)_", r"_blocks.\1._", f"_{layer}.{suffix}")
    if match := re.fullmatch(r"stage(\d)_block(\d+)_(\d|shortcut)_(conv|norm)", layer):
        stage, block, part, kind = match.groups()
        if part == "shortcut":
            name = "downsample.0" if kind == "conv" else "downsample.1"
        else:
            name = f"conv{part}" if kind == "conv" else f"bn{part}"
        return f"layer{stage}.{block}.{name}.{suffix}"
    if match := re.fullmatch(r"block(\d+)_(attn|mlp|norm\d)_?(\w*)", layer):
        parts = [part for part in match.groups() if part]
        return ".".join(["blocks", *parts, suffix])
    names = {"stem_conv": "conv1", "stem_norm": "bn1", "patch_embed_proj": "patch_embed.proj"}
    return f"{names.get(layer, layer)}.{suffix}"
