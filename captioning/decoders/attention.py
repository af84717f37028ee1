"""The LSTM with soft attention of Show, Attend and Tell (Xu et al., arXiv 1502.03044)."""

from typing import Any

import keras
from keras import layers, ops

from captioning.decoders.base import Decoder, built, each_row


@keras.saving.register_keras_serializable(package="captioning")
class AttentionDecoder(Decoder):
    """Before every word the LSTM weighs the grid's vectors by what it has said so far.

    As in the paper: the LSTM starts from the mean grid vector (section 3.1.2), a gate `beta` scales
    what it sees, every place is asked to be looked at once in all (4.2.1), and the output layer
    reads word, state and what was seen (equation 7), through tanh and dropout as the authors' code
    has it. Other than there, the grid's vectors are first projected to `width` numbers: they are
    what is looked at at every word.

    Args:
        carried: the arguments of `Decoder`, as are those that are not named here.
        positions: number L of vectors in a grid.
        units: width of the LSTM.
        width: of word embedding, projected grid, attention and what the output layer reads.
        dropout: share of embedding and projected grid zeroed in training.
        output_dropout: likewise before the output layer.
        penalty: lambda of the doubly stochastic penalty, `lambda * sum_i (1 - sum_t alpha_ti)^2`
            a caption; like the cross-entropy it is divided by the number of words. The authors'
            code sums it over 64 captions and takes the mean of 196 places, which comes to 0.33.
    """

    own_arguments = ("positions", "units", "width", "dropout", "output_dropout", "penalty")

    def __init__(
        self,
        *carried,
        positions: int,
        units: int = 512,
        width: int = 256,
        dropout: float = 0.5,
        output_dropout: float = 0.5,
        penalty: float = 0.3,
        **kwargs,
    ) -> None:
        super().__init__(*carried, **kwargs)
        self.positions, self.units, self.width = positions, units, width
        self.dropout, self.output_dropout, self.penalty = dropout, output_dropout, penalty

        def dense(inputs: int, outputs: int, activation: str | None = None, bias: bool = True):
            layer = layers.Dense(outputs, activation, use_bias=bias, dtype=self.dtype_policy)
            return built(layer, inputs)

        self.image_dense = dense(self.feature_size, width, "relu")
        self.image_dropout = layers.Dropout(dropout, dtype=self.dtype_policy)
        self.first_hidden = dense(width, units, "tanh")
        self.first_cell = dense(width, units, "tanh")
        embedding = layers.Embedding(self.outputs, width, dtype=self.dtype_policy)
        self.embedding = built(embedding, None)
        self.embedding_dropout = layers.Dropout(dropout, dtype=self.dtype_policy)
        self.key_dense = dense(width, width)
        self.query_dense = dense(units, width, bias=False)
        self.energy_dense = dense(width, 1, bias=False)
        self.gate_dense = dense(units, 1, "sigmoid")
        self.word_dense = dense(width, 4 * units)
        self.lstm_dense = dense(width + units, 4 * units, bias=False)
        self.hidden_dense = dense(units, width)
        self.seen_dense = dense(width, width, bias=False)
        self.output_dropout_layer = layers.Dropout(output_dropout, dtype=self.dtype_policy)
        self.add_output(width)
        self.built = True

    def attention(self, inputs: dict[str, Any]):
        """The weights (B, T, L) of the grid's vectors before every next word."""
        return self(inputs)[1]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Mean cross-entropy a word, in nats, and in training the doubly stochastic penalty."""
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if not (training and self.penalty):
            return loss
        # Up to the end word, which always counts; a 0 before it is a word of no vocabulary.
        learned = ops.cast(ops.not_equal(y, 0), "float32")
        said = ops.flip(ops.cumsum(ops.flip(learned, axis=1), axis=1), axis=1)
        said = ops.minimum(said, 1.0)
        looked = ops.sum(y_pred[1] * said[:, :, None], axis=1)
        unseen = ops.sum(ops.square(1.0 - looked), axis=1)
        # Captions that only fill up the batch have no word at all.
        unseen = ops.sum(unseen * said[:, 0])
        return loss + self.penalty * unseen / ops.sum(said)

    def start(self, features, training: bool = False):
        """Context: projected grid and its keys, (N, L, width). State: LSTM output and cell."""
        grid = each_row(self.image_dense, self.normalized(features))
        grid = self.image_dropout(grid, training=training)
        mean = ops.mean(grid, axis=1)
        cell = ops.cast(self.first_cell(mean), "float32")
        return [grid, each_row(self.key_dense, grid)], [self.first_hidden(mean), cell]

    def step(self, tokens, context, state):
        """Logits (R, V) of the word after `tokens` (R,), and the new state.

        R is a multiple of N: the captions of an image are neighbours.
        """
        word = self.embedding(tokens)
        hidden, cell, seen, _ = self._advance(self.word_dense(word), context, *state)
        return self.logits(self._output(word, hidden, seen, training=False)), [hidden, cell]

    def call(self, inputs: dict[str, Any], training: bool = False):
        """Teacher forcing: what the output layer reads (B, T, width), and the weights (B, T, L)."""
        context, (hidden, cell) = self.start(inputs["features"], training)
        words = self.embedding_dropout(self.embedding(inputs["tokens"]), training=training)
        # What does not depend on the state is worked out for all words together, before and after.
        gates = ops.transpose(each_row(self.word_dense, words), (1, 0, 2))

        def advance(carried, gates_of_word):
            carried = self._advance(gates_of_word, context, *carried[:2])
            return carried, carried

        # A scan returns what it carries: so it carries what was seen and the weights as well.
        grid, keys = context
        seen, weights = ops.zeros_like(grid[:, 0]), ops.zeros_like(keys[:, :, 0], "float32")
        _, (hidden, _, seen, weights) = ops.scan(advance, (hidden, cell, seen, weights), gates)
        hidden, seen, weights = (ops.transpose(part, (1, 0, 2)) for part in (hidden, seen, weights))
        return self._output(words, hidden, seen, training), weights

    def _advance(self, gates, context, hidden, cell):
        """One step of the LSTM: its output and cell, what it saw (R, width), the weights (R, L).

        `gates` (R, 4 units) is the word's share of the gates.
        """
        seen, weights = self._look(context, hidden)
        gates = gates + self.lstm_dense(ops.concatenate([seen, hidden], axis=1))
        # In float32, because the cell adds up small numbers.
        entry, forget, new, out = ops.split(ops.cast(gates, "float32"), 4, axis=1)
        # Remember by default: the 1 is the usual first bias of the forget gate.
        cell = ops.sigmoid(forget + 1.0) * cell + ops.sigmoid(entry) * ops.tanh(new)
        hidden = ops.cast(ops.sigmoid(out) * ops.tanh(cell), hidden.dtype)
        return hidden, cell, seen, weights

    def _look(self, context, hidden):
        """The gated mean of the grid (R, width) and its float32 weights (R, L) after `hidden`."""
        grid, keys = context
        images = ops.shape(grid)[0]
        queries = ops.reshape(self.query_dense(hidden), (images, -1, 1, self.width))
        energies = each_row(self.energy_dense, ops.tanh(keys[:, None] + queries))[..., 0]
        weights = ops.softmax(ops.cast(energies, "float32"), axis=-1)
        mean = ops.matmul(ops.cast(weights, grid.dtype), grid)
        seen = self.gate_dense(hidden) * ops.reshape(mean, (-1, self.width))
        return seen, ops.reshape(weights, (-1, self.positions))

    def _output(self, word, hidden, seen, training: bool):
        deep = word + each_row(self.hidden_dense, hidden) + each_row(self.seen_dense, seen)
        return self.output_dropout_layer(ops.tanh(deep), training=training)
