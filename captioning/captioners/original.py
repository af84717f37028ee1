"""The original pipeline's trained model: an `.h5` file of its merge network.

Keras 3 refuses such a file of Keras 2 (its LSTM's config has `time_major`). What the file says of
its layers is read as data and compared with the one network below, and its arrays become the
weights of a `MergeDecoder`. Nothing from the file runs.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from captioning.captioners.tokenizer import read_tokenizer
from captioning.cli import UserError, in_file
from captioning.decoders.merge import MergeDecoder
from captioning.deferred import build_and_fill
from captioning.text import LONGEST_CAPTION
from captioning.untrusted.hdf5 import open_hdf5
from captioning.untrusted.keras_files import check_finite

_LSTM = {"activation": "tanh", "recurrent_activation": "sigmoid"} | dict.fromkeys(
    ("go_backwards", "return_sequences", "return_state", "stateful", "time_major"), False
)
# Each layer by what `MergeDecoder` calls it: its kind, options, and what feeds it.
_NETWORK: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "output_dense": ("Dense", {"activation": "softmax"}, ["merge_dense"]),
    "merge_dense": ("Dense", {"activation": "relu"}, ["added"]),
    "added": ("Add", {}, ["image_dense", "lstm"]),
    "image_dense": ("Dense", {"activation": "relu"}, ["image"]),
    "image": ("InputLayer", {}, []),
    "lstm": ("LSTM", _LSTM, ["embedding"]),
    "embedding": ("Embedding", {"mask_zero": True}, ["words"]),
    "words": ("InputLayer", {}, []),
}
_WITH_WEIGHTS = ("image_dense", "embedding", "lstm", "merge_dense", "output_dense")


def load_original(path: Path, tokenizer: str | Path) -> MergeDecoder:
    """The decoder in an `.h5` file, of Keras 2 or 3.

    Raises:
        UserError: another network (the message names the layer that differs), a damaged file, or a
            tokenizer of another vocabulary.
    """
    damaged = "not an .h5 file of the original pipeline's merge model"
    with open_hdf5(path) as file, in_file(path, damaged):
        layers, max_length = _read_layers(file)
        groups = {role: file["model_weights"][layers[role]["name"]] for role in _WITH_WEIGHTS}
        weights = {
            role: [np.asarray(group[name]) for name in group.attrs["weight_names"]]
            for role, group in groups.items()
        }
        width, units = weights["image_dense"][0].shape
        rows = len(weights["embedding"][0])
    words = read_tokenizer(tokenizer, max_length, rows).words
    if len(words) + 1 != rows:
        raise UserError(
            f"{tokenizer}: has {len(words)} words, but {path} was trained with {rows - 1}; put "
            "the tokenizer beside it that belongs to it"
        )

    def fill(model: MergeDecoder) -> None:
        for role, arrays in weights.items():
            try:
                getattr(model, role).set_weights(arrays)
            except ValueError as error:  # their number or shape
                differs = _differs(layers[role], "has weights of another size")
                raise UserError(f"{path}: {differs}") from error

    model = build_and_fill(partial(MergeDecoder, width, words, max_length, units=units), fill)
    check_finite(model, path)
    return model


def _read_layers(file: h5py.File) -> tuple[dict[str, dict], int]:
    """The layers' descriptions by what `MergeDecoder` calls each, and the longest caption."""
    described = json.loads(file.attrs["model_config"])["config"]
    by_name = {layer["name"]: layer for layer in described["layers"]}
    last = described["output_layers"]
    layers: dict[str, dict] = {}
    _match(by_name, last[0] if isinstance(last[0], str) else last[0][0], "output_dense", layers)
    words = layers["words"]["config"]
    max_length = (words.get("batch_input_shape") or words["batch_shape"])[1]
    if not 2 <= max_length <= LONGEST_CAPTION:
        raise ValueError
    return layers, max_length


def _match(by_name: dict[str, dict], name: str, role: str, layers: dict[str, dict]) -> None:
    """Put the layer called `name`, which has this role, and all that feed it into `layers`."""
    layer = by_name.pop(name)  # so that no circle is walked
    feeding = _inputs(layer)
    if layer["class_name"] == "Dropout":
        return _match(by_name, feeding[0], role, layers)
    kind, options, roles = _NETWORK[role]
    if layer["class_name"] != kind or len(feeding) != len(roles):
        raise _differs(layer, f"stands in the place of the {kind} layer")
    for option, value in options.items():
        if layer["config"].get(option, value) != value:
            raise _differs(layer, f"has {option} {layer['config'][option]!r:.40}, not {value!r}")
    layers[role] = layer
    for feeding_name, feeding_role in zip(feeding, roles, strict=True):
        _match(by_name, feeding_name, feeding_role, layers)


def _inputs(layer: dict[str, Any]) -> list[str]:
    """Names of the layers that feed one, as Keras 2 and Keras 3 have them."""
    names: list[str] = []
    for call in layer["inbound_nodes"]:
        if isinstance(call, dict):
            [tensors] = call["args"]
            tensors = tensors if isinstance(tensors, list) else [tensors]
            names += [tensor["config"]["keras_history"][0] for tensor in tensors]
        else:
            names += [name for name, *_ in call]
    return names


def _differs(layer: dict[str, Any], how: str) -> UserError:
    return UserError(
        f"its layer '{layer['name']:.60}' ({layer['class_name']:.60}) {how}: of .h5 files only the "
        "original pipeline's own network is read; train with 2_train_IC_model.py"
    )
