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
_STEMS = {
    "resnet": ("conv1.weight", (64, 3, 7, 7)),
    "vit": ("patch_embed.proj.weight", (384, 3, 16, 16)),
    "efficientnet": ("_conv_stem.weight", (32, 3, 3, 3)),
}
_NUMBERED_STEM = "0.weight"  # of a ResNet as a plain sequence of its children
_CHILDREN = {"conv1": "0", "bn1": "1", **{f"layer{n}": str(n + 3) for n in (1, 2, 3, 4)}}
# Of several copies of the network in a file, the one that papers evaluate comes first.
_PREFERRED = ("teacher.", "encoder_q.", "base_encoder.", "online", "")
_SECOND = ("encoder_k.", "momentum", "target", "student.", "ema")
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

    `family` is `resnet`, `vit` or `efficientnet`.

    `problems` names what is missing, left over or of the wrong shape. A layer that is incomplete
    is not among `arrays`.

    Raises:
        UserError: nothing in the checkpoint looks like the network's first layer.
    """
    prefix, numbered = _find(family, tensors)
    own = {
        key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
    }
    arrays, problems, used = {}, [], set()
    for layer in network.layers:
        found = []
        for weight in layer.weights:
            key = pytorch_key(layer.name, weight.name, family)
            if numbered:
                child, dot, rest = key.partition(".")
                key = _CHILDREN[child] + dot + rest
            used.add(key)
            if key not in own:
                problems.append(f"{key} is missing")
                continue
            array = _to_keras(own[key])
            if layer.name.endswith("_depthwise_conv"):
                array = array.swapaxes(2, 3)
            if array.shape != tuple(weight.shape):
                problems.append(f"{key} has shape {own[key].shape}")
                continue
            found.append(array)
        if layer.weights and len(found) == len(layer.weights):
            arrays[layer.name] = found
    # In a numbered sequence, whatever follows the last stage is a head.
    extra = [key for key in own if key not in used and not _is_tolerated(key, numbered)]
    problems += [f"{key} is left over" for key in extra]
    # MoCo v3's ViT-S has 12 heads of 32 where all others have 6 of 64; no shape tells.
    moco_v3 = family == "vit" and ("base_encoder." in prefix or "momentum_encoder." in prefix)
    return Fit(arrays, problems, 12 if moco_v3 else None)


def _is_tolerated(key: str, numbered: bool) -> bool:
    if numbered and key.partition(".")[0] in _CHILDREN.values():
        return key.endswith("num_batches_tracked")
    return _TOLERATED.match(key) is not None


def _find(family: str, tensors: Mapping[str, np.ndarray]) -> tuple[str, bool]:
    """The prefix of the network's keys, and whether its children are numbered."""
    stem, shape = _STEMS[family]
    found = []
    for key, value in tensors.items():
        if value.shape != shape:
            continue
        for ending, numbered in ((stem, False), (_NUMBERED_STEM, True)):
            # "encoder.conv1.weight" yes, "preconv1.weight" no.
            named = key == ending or key.endswith("." + ending)
            if named and not (numbered and family != "resnet"):
                found.append((key.removesuffix(ending), numbered))
    if not found:
        some = ", ".join(list(tensors)[:3]) or "no tensors"
        raise UserError(f"no weights of a {family} in it (it has {some} ...)")
    return min(found, key=lambda candidate: _rank(candidate[0]))


def _rank(prefix: str) -> tuple[int, int]:
    worse = any(word in prefix for word in _SECOND)
    better = next(n for n, word in enumerate(_PREFERRED) if word in prefix)
    return (worse, better)


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
            part_name = "downsample." + ("0" if kind == "conv" else "1")
        else:
            part_name = ("conv" if kind == "conv" else "bn") + part
        return f"layer{stage}.{block}.{part_name}.{suffix}"
    if match := re.fullmatch(r"block(\d+)_(attn|mlp|norm\d)_?(\w*)", layer):
        parts = [part for part in match.groups() if part]
        return ".".join(["blocks", *parts, suffix])
    return (
        {
            "stem_conv": "conv1",
            "stem_norm": "bn1",
            "patch_embed_proj": "patch_embed.proj",
        }.get(layer, layer)
        + "."
        + suffix
    )


def _to_keras(array: np.ndarray) -> np.ndarray:
    """PyTorch keeps outputs first, Keras last."""
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    return array.T if array.ndim == 2 else array
