"""The original pipeline's trained model: an `.h5` file of the merge model, with its options.

Keras 3 refuses such a file of Keras 2 (its LSTM's config has `time_major`). Its graph is read here
(`untrusted/keras_graph.py`): the tutorial's own network becomes a `MergeDecoder`, which decodes
fast; the same architecture with other options is computed prefix by prefix, as the original did.
"""

import json
from pathlib import Path
from typing import Any

import h5py
import keras
from keras import ops

from captioning.captioners.tokenizer import read_tokenizer
from captioning.cli import UserError
from captioning.decoders.base import Decoder
from captioning.decoders.merge import MergeDecoder
from captioning.text import LONGEST_CAPTION, Vocabulary
from captioning.untrusted.hdf5 import check_hdf5
from captioning.untrusted.keras_graph import Builder, Graph, Node, read_graph, refuse


class OriginalDecoder(Decoder):
    """A network that reads an image vector and all words so far, padded on the left with 0.

    Args:
        network: from ((N, D), (N, max_length)) to logits (N, V).
        feature_size, words, max_length: as in `Decoder`.
    """

    def __init__(
        self, network: keras.Model, feature_size: int, words: tuple[str, ...], max_length: int
    ) -> None:
        super().__init__(feature_size, list(words), max_length, "original")
        self.network = network
        self.built = True

    def start(self, features):
        """Context: the image vectors. State: the padded words, none so far, (N, max_length)."""
        empty = ops.zeros((ops.shape(features)[0], self.vocabulary.max_length), "int32")
        return [ops.convert_to_tensor(features)], [empty]

    def step(self, tokens, context, state):
        """Logits (R, V) of the word after `tokens` (R,), and the new state."""
        [features], [before] = context, state
        words = ops.concatenate([before[:, 1:], ops.cast(tokens, "int32")[:, None]], axis=1)
        each = ops.repeat(features, ops.shape(words)[0] // ops.shape(features)[0], axis=0)
        return self.network([each, words], training=False), [words]

    def next_words(self, inputs: dict[str, Any], training: bool = False):
        """Logits (B, T, V) after each of `tokens` (B, T), given `features` (B, D)."""
        context, state = self.start(inputs["features"])
        found = []
        for place in range(inputs["tokens"].shape[1]):
            logits, state = self.step(inputs["tokens"][:, place], context, state)
            found.append(logits)
        return ops.stack(found, axis=1)


def load_original(path: Path, tokenizer: str | Path) -> Decoder:
    """The decoder in an `.h5` file.

    Raises:
        UserError: no such file, another architecture (the message names the layer), or a tokenizer
            of another vocabulary.
    """
    try:
        with h5py.File(path, "r") as file:
            check_hdf5(file)
            config = json.loads(file.attrs["model_config"])
            graph = read_graph(file, config)
        image, words = _inputs(graph)
        (width,), (max_length,) = (_shape(graph.nodes[name]) for name in (image, words))
        if not 2 <= max_length <= LONGEST_CAPTION:
            raise refuse(graph.nodes[words], f"takes {max_length!r:.20} words")
        plain = _merge_weights(graph)
        network = None if plain else Builder(graph).network(image, words)
        outputs = (plain[-1][0] if plain else network.output).shape[-1]
        if plain and plain[0][0].shape[0] != width:
            raise refuse(graph.nodes[image], f"says that images have {width!r:.20} numbers")
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:  # h5py, json and Keras raise by where in the file they stumble
        raise UserError(
            f"{path}: not an .h5 file of the original pipeline's merge model"
        ) from error
    vocabulary = read_tokenizer(tokenizer, max_length, outputs)
    if len(vocabulary) + 1 != outputs:
        raise UserError(
            f"{tokenizer}: has {len(vocabulary)} words, but {path} was trained with "
            f"{outputs - 1}; put the tokenizer beside it that belongs to it"
        )
    vocabulary = Vocabulary(vocabulary.words, max_length, "original")
    if network is not None:
        return OriginalDecoder(network, width, vocabulary.words, max_length)
    units = plain[0][0].shape[1]
    model = MergeDecoder(width, vocabulary.words, max_length, units=units)
    parts = (model.image_dense, model.embedding, model.lstm, model.merge_dense, model.output_dense)
    for layer, weights in zip(parts, plain, strict=True):
        layer.set_weights(weights)
    return model


def _inputs(graph: Graph) -> tuple[str, str]:
    """Names of the inputs: of the image vector, and of the words so far."""
    names = [node.name for node in graph.nodes.values() if node.kind == "InputLayer"]
    embedded = {name for n in graph.nodes.values() if n.kind == "Embedding" for name in n.inputs}
    [image], [words] = set(names) - embedded, set(names) & embedded
    return image, words


def _shape(node: Node) -> list[int]:
    return (node.config.get("batch_input_shape") or node.config["batch_shape"])[1:]


def _merge_weights(graph: Graph) -> list | None:
    """Weights of the tutorial's network, if it is that: image dense, embedding, LSTM, two dense.

    Dropout may lie anywhere. None: it has other options, or is another network.
    """
    output = graph.nodes[graph.output]
    merge = graph.node(output.inputs[0])
    added = graph.node(merge.inputs[0]) if merge.inputs else output
    if added.kind != "Add" or len(added.inputs) != 2:
        return None
    branches = {node.kind: node for node in map(graph.node, added.inputs)}
    if branches.keys() != {"Dense", "LSTM"}:
        return None
    image, lstm = branches["Dense"], branches["LSTM"]
    embedding = graph.node(lstm.inputs[0])
    if (graph.node(image.inputs[0]).kind, embedding.kind) != ("InputLayer", "Embedding"):
        return None
    wanted = (
        (output, "Dense", {"activation": "softmax", "use_bias": True}),
        (merge, "Dense", {"activation": "relu", "use_bias": True}),
        (image, "Dense", {"activation": "relu", "use_bias": True}),
        (embedding, "Embedding", {"mask_zero": True}),
        (lstm, "LSTM", {"activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True}),
    )
    off = ("go_backwards", "return_sequences", "return_state", "stateful", "time_major",
           "zero_output_for_mask")  # fmt: skip
    as_told = all(
        node.kind == kind and all(node.config.get(key) == value for key, value in told.items())
        for node, kind, told in wanted
    )
    units = image.weights[0].shape[1] if image.weights else 0
    sizes = [[weight.shape for weight in node.weights] for node in (embedding, lstm, merge, output)]
    rows = embedding.weights[0].shape[0] if embedding.weights else 0
    fits = sizes == [
        [(rows, units)], [(units, 4 * units), (units, 4 * units), (4 * units,)],
        [(units, units), (units,)], [(units, rows), (rows,)],
    ]  # fmt: skip
    if not as_told or any(lstm.config.get(option) for option in off) or not fits:
        return None
    return [node.weights for node in (image, embedding, lstm, merge, output)]
