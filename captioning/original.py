"""The original pipeline's trained model: a Keras 2 `.h5` file of the merge model.

Keras 3 refuses such a file (its LSTM's config has `time_major`). Reading only the numbers from it
also means that nothing in it can run.
"""

import json
from pathlib import Path

import h5py
import numpy as np

from captioning.artifacts import read_tokenizer
from captioning.cli import UserError
from captioning.decoders import MergeDecoder
from captioning.hdf5 import check_hdf5
from captioning.text import LONGEST_CAPTION, Vocabulary


def load_original(path: Path, tokenizer: str | Path) -> MergeDecoder:
    """Build the merge model here and copy the weights of a Keras 2 `.h5` file of it into it.

    Raises:
        UserError: no such file, another network, or a tokenizer of another vocabulary.
    """
    try:
        with h5py.File(path, "r") as file:
            check_hdf5(file)
            config = json.loads(file.attrs["model_config"])["config"]["layers"]
            weights = {name: _layer_weights(file["model_weights"], name) for name in _names(config)}
        layers = _find_layers(config, weights)
        max_length = max(
            layer["config"]["batch_input_shape"][1]
            for layer in config
            if layer["class_name"] == "InputLayer" and layer["name"] in _inputs(config, layers[1])
        )
        image_dense, embedding, lstm, merge_dense, output_dense = (weights[name] for name in layers)
        width, units = image_dense[0].shape
        # Checked before a network of this size is built: its largest weights are in the file.
        if lstm[0].shape != (units, 4 * units) or not 2 <= max_length <= LONGEST_CAPTION:
            raise ValueError
        outputs = output_dense[0].shape[1]
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:  # h5py raises by where in the file it stumbles
        raise UserError(
            f"{path}: not an .h5 file of the original pipeline's merge model"
        ) from error
    vocabulary = read_tokenizer(tokenizer, max_length)
    if len(vocabulary) + 1 != outputs:
        raise UserError(
            f"{tokenizer}: has {len(vocabulary)} words, but {path} was trained with "
            f"{outputs - 1}; put the tokenizer beside it that belongs to it"
        )
    vocabulary = Vocabulary(vocabulary.words, max_length, "seed")
    model = MergeDecoder(width, vocabulary.words, max_length, units=units)
    try:
        model.image_dense.set_weights(image_dense)
        model.embedding.set_weights(embedding)
        model.lstm.set_weights(lstm)
        model.merge_dense.set_weights(merge_dense)
        model.output_dense.set_weights(output_dense)
    except ValueError as error:
        raise UserError(f"{path}: its layers have other sizes than the merge model's") from error
    return model


def _names(config: list[dict]) -> list[str]:
    return [layer["name"] for layer in config]


def _layer_weights(group: h5py.Group, name: str) -> list[np.ndarray]:
    layer = group[name]
    return [np.asarray(layer[one]) for one in layer.attrs["weight_names"]]


def _inputs(config: list[dict], name: str) -> list[str]:
    """Names of the layers that feed a layer of a Keras 2 functional config."""
    layer = next(layer for layer in config if layer["name"] == name)
    return [node[0] for node in layer["inbound_nodes"][0]]


def _find_layers(config: list[dict], weights: dict) -> tuple[str, str, str, str, str]:
    """Names of (image dense, embedding, LSTM, merge dense, output dense), by who feeds whom."""
    kinds = {layer["name"]: layer["class_name"] for layer in config}
    dense = [name for name, kind in kinds.items() if kind == "Dense"]

    def fed_by(kind: str) -> str:
        return next(n for n in dense if kinds[_inputs(config, n)[0]] == kind)

    embedding = next(name for name, kind in kinds.items() if kind == "Embedding")
    lstm = next(name for name, kind in kinds.items() if kind == "LSTM")
    return fed_by("Dropout"), embedding, lstm, fed_by("Add"), fed_by("Dense")
