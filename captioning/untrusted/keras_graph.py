"""The graph of a Keras `.h5` model, and a network of Keras 3's layers that computes the same.

What is read from the file is a description and numbers: names of layers that are known here, who
feeds whom, and options out of short lists. Nothing in it can run, and no layer is larger than the
weights that the file holds for it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import h5py
import keras
import numpy as np
from keras import layers, ops

from captioning.cli import UserError

# What is nothing but its input when no training goes on.
IDLE = ("Dropout", "SpatialDropout1D", "GaussianNoise", "GaussianDropout", "AlphaDropout",
        "ActivityRegularization")  # fmt: skip
_ACTIVATIONS = ("linear", "relu", "tanh", "sigmoid", "elu", "selu", "softplus", "softsign",
                "swish", "silu", "gelu", "exponential", "softmax", "hard_sigmoid")  # fmt: skip


class Node(NamedTuple):
    """A layer of the file."""

    name: str
    kind: str
    config: dict[str, Any]
    inputs: list[str]
    weights: list[np.ndarray]


class Graph(NamedTuple):
    """The layers by name, the last of them, and whether Keras 3 wrote the file."""

    nodes: dict[str, Node]
    output: str
    keras_3: bool

    def node(self, name: str, *, through: tuple[str, ...] = IDLE) -> Node:
        """The layer `name`, or the first one before it that is none of those to look through."""
        node = self.nodes[name]
        for _ in self.nodes:  # no longer, whatever circles a file describes
            if node.kind in through:
                node = self.nodes[node.inputs[0]]
        return node


def refuse(node: Node, why: str = "is not understood") -> UserError:
    """What to raise about a layer that differs from what can be computed here."""
    return UserError(
        f"its layer '{node.name:.60}' ({node.kind:.60}) {why}: only the merge architecture is read "
        "from an .h5 file (dense layers and LSTMs on one image vector and the words so far)"
    )


def read_graph(file: h5py.File, config: dict[str, Any]) -> Graph:
    """The graph that a model's `config` describes, with the weights that `file` has for it.

    Raises:
        UserError: a layer is used in a way that is not understood; the message names it.
    """
    keras_3 = str(file.attrs.get("keras_version", "2")).startswith("3")
    listed = config["config"]["layers"]
    kinds = {layer["name"]: layer["class_name"] for layer in listed}
    nodes: dict[str, Node] = {}
    for layer in listed:
        name = layer["name"]
        group = file["model_weights"].get(name, {})
        names = group.attrs["weight_names"] if group else []
        weights = [np.asarray(group[weight_name]) for weight_name in names]
        node = Node(name, layer["class_name"], layer["config"], [], weights)
        if node.kind == "NotEqual" and keras_3:  # the mask of padding, which is made here anyway
            continue
        calls = layer["inbound_nodes"]
        if len(calls) != (0 if node.kind == "InputLayer" else 1):
            raise refuse(node, f"is used {len(calls)} times")
        nodes[name] = node._replace(inputs=_inputs(node, calls, kinds))
    if len(outputs := config["config"]["output_layers"]) == 3 and isinstance(outputs[0], str):
        outputs = [outputs]  # Keras 3, of a single one
    [[output, *_]] = outputs
    return Graph(nodes, output, keras_3)


def _inputs(node: Node, calls: list, kinds: dict[str, str]) -> list[str]:
    """Names of the layers that feed one."""
    if not calls:
        return []
    if isinstance(calls[0], dict):  # Keras 3
        told, options = calls[0]["args"], calls[0]["kwargs"]
        tensors = told[0] if told and isinstance(told[0], list) else told
        found = [tensor["config"]["keras_history"][0] for tensor in tensors]
        mask = options.get("mask")
        if isinstance(mask, dict) and kinds[mask["config"]["keras_history"][0]] == "NotEqual":
            options = {**options, "mask": None}
    else:
        found = [call[0] for call in calls[0]]
        options = {key: value for call in calls[0] for key, value in call[3].items()}
    told = {key: value for key, value in options.items() if value not in (None, False)}
    if told:
        raise refuse(node, f"is called with {', '.join(told)}")
    return found


class Builder:
    """Makes a network of a graph; its attribute `inputs` has the inputs by name."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.inputs: dict[str, Any] = {}
        self.filled: list[tuple[layers.Layer, list[np.ndarray]]] = []
        self._made: dict[str, Any] = {}

    def network(self, image: str, words: str) -> keras.Model:
        """From (image vectors, padded words) to logits of the next word, with the weights."""
        last = self.graph.nodes[self.graph.output]
        if last.config.get("activation") not in ("softmax", "linear"):
            raise refuse(last, "does not give the chances of words (softmax)")
        logits = self._tensor(last.inputs[0]) if last.kind == "Activation" else self._of(last)
        network = keras.Model([self.inputs[image], self.inputs[words]], logits)
        for layer, weights in self.filled:
            layer.set_weights(weights)
        return network

    def _tensor(self, name: str):
        if name not in self._made:
            self._made[name] = self._of(self.graph.nodes[name])
        return self._made[name]

    def _of(self, node: Node):
        """What a layer gives."""
        if node.kind == "InputLayer":
            shape = node.config.get("batch_input_shape") or node.config.get("batch_shape")
            self.inputs[node.name] = keras.Input(shape[1:])
            return self.inputs[node.name]
        given = [self._tensor(name) for name in node.inputs]
        if node.kind in IDLE:
            return given[0]
        makers: dict[str, Callable[[Node], layers.Layer]] = {
            "Dense": self._dense, "Activation": lambda n: layers.Activation(self._activation(n)),
            "Embedding": self._embedding, "LSTM": self._lstm, "Add": lambda _: layers.Add(),
            "BatchNormalization": self._normalization,
            "Concatenate": lambda n: layers.Concatenate(axis=n.config["axis"]),
        }  # fmt: skip
        if node.kind not in makers:
            raise refuse(node)
        # Before anything is made: a layer reads as many numbers as it has weights for.
        reads = given[0].shape[-1] if node.kind in ("Dense", "LSTM", "BatchNormalization") else None
        if reads is not None and (not node.weights or node.weights[0].shape[0] != reads):
            raise refuse(node, f"reads {reads} numbers and has no weights for them")
        layer = makers[node.kind](node)
        result = layer(given if len(given) > 1 else given[0])
        if node.weights:
            expected = [tuple(weight.shape) for weight in layer.weights]
            if [weight.shape for weight in node.weights] != expected:
                raise refuse(node, "has weights of other shapes than it says")
            self.filled.append((layer, node.weights))
        return result

    def _activation(self, node: Node, key: str = "activation"):
        name = node.config.get(key, "linear")
        if not isinstance(name, str) or name not in _ACTIVATIONS:
            raise refuse(node, f"has {key} {name!r:.40}, which is not understood")
        if name == "hard_sigmoid" and not self.graph.keras_3:
            return hard_sigmoid_of_keras_2
        return name

    def _sizes(self, node: Node, *sizes: tuple[str, int]) -> None:
        for key, size in sizes:
            if node.config.get(key) != size:
                raise refuse(node, f"says {key} {node.config.get(key)!r:.20} and holds {size}")

    def _dense(self, node: Node) -> layers.Layer:
        units = node.weights[0].shape[1]
        self._sizes(node, ("units", units))
        last = node.name == self.graph.output
        activation = "linear" if last else self._activation(node)
        return layers.Dense(units, activation, use_bias=len(node.weights) == 2)

    def _embedding(self, node: Node) -> layers.Layer:
        rows, width = node.weights[0].shape
        self._sizes(node, ("input_dim", rows), ("output_dim", width))
        return layers.Embedding(rows, width, mask_zero=node.config.get("mask_zero") is True)

    def _lstm(self, node: Node) -> layers.Layer:
        units = node.weights[1].shape[0]
        self._sizes(node, ("units", units))
        for option in ("stateful", "return_state", "time_major", "zero_output_for_mask"):
            if node.config.get(option):
                raise refuse(node, f"has {option}, which is not understood")
        return layers.LSTM(
            units, self._activation(node), self._activation(node, "recurrent_activation"),
            use_bias=len(node.weights) == 3,
            return_sequences=node.config.get("return_sequences") is True,
            go_backwards=node.config.get("go_backwards") is True,
        )  # fmt: skip

    def _normalization(self, node: Node) -> layers.Layer:
        axis = node.config.get("axis", -1)
        if axis not in (-1, 1, [1], [-1]):
            raise refuse(node, f"normalises over axis {axis!r:.20}")
        return layers.BatchNormalization(
            epsilon=float(node.config["epsilon"]), center=node.config.get("center") is not False,
            scale=node.config.get("scale") is not False,
        )  # fmt: skip


def hard_sigmoid_of_keras_2(x):
    """Clipped 0.2 x + 0.5; Keras 3 has another slope under the same name."""
    return ops.clip(0.2 * x + 0.5, 0.0, 1.0)
