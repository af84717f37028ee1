"""Caption decoders: image features and the words so far to the next word.

Every decoder is a registered Keras model that carries what it needs to caption: its vocabulary,
the longest caption and the record of the encoder. It has these ways in:

- `call({"features", "tokens"})`: whole captions (teacher forcing), up to the output layer;
- `next_words({"features", "tokens"})`: the same through it, logits of every next word;
- `start(features)`: context and state before the first word. The context has a row an image and
  stays; the state has a row a caption, and there may be several captions an image;
- `step(tokens, context, state)`: logits of the next word and the new state, for decoding;
- `attention({"features", "tokens"})`: where a grid decoder looks before every next word.

What all of them share and the smallest of them are here; `attention.py` and `transformer.py` have
the two that look at a grid of vectors.
"""

from typing import Any

import keras
from keras import layers, ops

from captioning.losses import linear_cross_entropy
from captioning.text import Vocabulary


class Decoder(keras.Model):
    """What all decoders share: the vocabulary, the output layer and the loss.

    A subclass makes `self.embedding` and then, by `add_output`, the output layer. First in the
    tuple that its `call` returns is what that layer reads, (B, T, size). The loss goes on from
    there: if it called the model again, TensorFlow would run the loops in it twice.

    Args:
        feature_size: length D of an image vector, or of each vector of a grid.
        words, max_length, text_rules: the fields of the `Vocabulary`.
        encoder: the record of the encoder that made the features (`Encoder.info`).
        label_smoothing: share of every target spread over all words in training.
        tied: whether the output layer's kernel is the word embedding, transposed (Press and Wolf,
            arXiv 1608.05859).
    """

    positions: int | None = None  # number L of vectors in a grid; None: one vector an image

    def __init__(
        self,
        feature_size: int,
        words: list[str],
        max_length: int,
        text_rules: str = "seed",
        encoder: dict[str, Any] | None = None,
        *,
        label_smoothing: float = 0.0,
        tied: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.feature_size = feature_size
        self.vocabulary = Vocabulary(tuple(words), max_length, text_rules)
        self.outputs = len(self.vocabulary) + 1  # index 0 is no word
        self.encoder = dict(encoder or {})
        self.label_smoothing, self.tied = label_smoothing, tied
        self.token_loss = keras.metrics.Mean(name="token_loss")

    @property
    def grid(self) -> bool:
        """Whether the model looks at grids of vectors, not at one vector an image."""
        return self.positions is not None

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Of an image's features: (D,) for a vector, (L, D) for a grid."""
        return (self.positions, self.feature_size) if self.grid else (self.feature_size,)

    def add_output(self, size: int) -> None:
        """Make the output layer, which reads hidden vectors of `size` numbers."""
        if self.tied:
            self.output_bias = self.add_weight(
                shape=(self.outputs,), initializer="zeros", name="output_bias"
            )
        else:
            self.output_dense = layers.Dense(
                self.outputs, dtype=self.dtype_policy, name="output_dense"
            )
            self.output_dense.build((None, size))

    def output_weights(self):
        """Kernel (size, V) and bias (V,) of the output layer, in float32."""
        if self.tied:
            return ops.transpose(self.embedding.embeddings), self.output_bias
        return self.output_dense.kernel, self.output_dense.bias

    def logits(self, hidden):
        """Logits (..., V) of the next word from what the output layer reads (..., size)."""
        kernel, bias = self.output_weights()
        rows = ops.reshape(hidden, (-1, hidden.shape[-1]))
        rows = ops.matmul(rows, ops.cast(kernel, rows.dtype)) + ops.cast(bias, rows.dtype)
        return ops.reshape(rows, (*ops.shape(hidden)[:-1], self.outputs))

    def next_words(self, inputs: dict[str, Any], training: bool = False):
        """Logits (B, T, V) after each of `tokens` (B, T), given `features` (B, D) or (B, L, D)."""
        return self.logits(self(inputs, training=training)[0])

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Mean cross-entropy a word, in nats, after what `call` gave; see `cross_entropy`."""
        return self.cross_entropy(y_pred[0], y, training, sample_weight)

    def cross_entropy(self, hidden, targets, training: bool, weights=None):
        """Mean cross-entropy a word, with the label smoothing in training.

        Not from logits: those of a whole batch are too large to want. Batches differ in their
        numbers of words, so Keras' own mean over batches would weigh words unevenly; `token_loss`
        counts every word alike, without smoothing. Targets of 0, which is no word of the
        vocabulary, count nothing; `weights`, of the shape of `targets`, say by how much every other
        word counts in the mean.
        """
        targets = ops.reshape(targets, (-1,))
        mask = ops.cast(ops.not_equal(targets, 0), "float32")
        share = mask / ops.sum(mask)
        if weights is not None:
            share = share * ops.reshape(ops.cast(weights, "float32"), (-1,))
        mean, losses = linear_cross_entropy(
            ops.reshape(hidden, (-1, hidden.shape[-1])),
            *self.output_weights(),
            targets,
            label_smoothing=self.label_smoothing if training else 0.0,
            training=training,
            weights=share,
        )
        self.token_loss.update_state(losses, sample_weight=mask)
        return mean

    def copy_with(self, **changes) -> "Decoder":
        """A decoder with the same weights, and these arguments of its constructor changed."""
        copy = type(self).from_config({**self.get_config(), **changes})
        copy.set_weights(self.get_weights())
        return copy

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments: enough to build the same model again."""
        return {
            **super().get_config(),
            "feature_size": self.feature_size,
            "words": list(self.vocabulary.words),
            "max_length": self.vocabulary.max_length,
            "text_rules": self.vocabulary.text_rules,
            "encoder": self.encoder,
            "label_smoothing": self.label_smoothing,
            "tied": self.tied,
        }


def each_row(layer: keras.Layer, x):
    """`layer`, which maps vectors (n, D) to (n, E), over x (..., D): one product of matrices.

    Keras takes a dense layer over three or more axes as a product an image, and its gradient as a
    kernel an image, which are then added up.
    """
    rows = layer(ops.reshape(x, (-1, x.shape[-1])))
    return ops.reshape(rows, (*ops.shape(x)[:-1], rows.shape[-1]))


@keras.saving.register_keras_serializable(package="captioning")
class MergeDecoder(Decoder):
    """The original pipeline's merge model: image vector and LSTM state added, 256 units.

    "Merge" after Tanti et al., "Where to put the image in an image caption generator"
    (arXiv 1703.09137): the LSTM reads words only; the image joins after it.

    Args:
        carried: the arguments of `Decoder`, as are those that are not named here.
        units: width of every hidden layer and of the word embedding.
        dropout: share of image vector and embedding entries zeroed in training.
        output_dropout: likewise before the output layer, where the original has none.
    """

    def __init__(
        self,
        *carried,
        units: int = 256,
        dropout: float = 0.5,
        output_dropout: float = 0.0,
        **kwargs,
    ) -> None:
        super().__init__(*carried, **kwargs)
        self.units, self.dropout, self.output_dropout = units, dropout, output_dropout

        dtype = self.dtype_policy
        self.image_dropout = layers.Dropout(dropout, dtype=dtype)
        self.image_dense = layers.Dense(units, "relu", dtype=dtype, name="image_dense")
        self.embedding = layers.Embedding(self.outputs, units, dtype=dtype, name="embedding")
        self.embedding_dropout = layers.Dropout(dropout, dtype=dtype)
        self.lstm = layers.LSTM(
            units, return_sequences=True, return_state=True, dtype=dtype, name="lstm"
        )
        self.merge_dense = layers.Dense(units, "relu", dtype=dtype, name="merge_dense")
        self.merge_dropout = layers.Dropout(output_dropout, dtype=dtype)
        # Built here, from sizes that are known, so that a loaded model needs no example input.
        self.image_dense.build((None, self.feature_size))
        self.embedding.build((None, None))
        self.lstm.build((None, None, units))
        self.merge_dense.build((None, units))
        self.add_output(units)
        self.built = True

    def call(self, inputs: dict[str, Any], training: bool = False):
        """Teacher forcing: what the output layer reads, (B, T, units)."""
        image = self._image(inputs["features"], training)
        words = self.embedding_dropout(self.embedding(inputs["tokens"]), training=training)
        states, *_ = self.lstm(words, training=training)
        merged = self.merge_dense(states + image[:, None, :])
        return (self.merge_dropout(merged, training=training),)

    def start(self, features):
        """Context: the image vector (N, units). State: LSTM output and cell, each (N, units)."""
        image = self._image(features, training=False)
        return [image], [ops.zeros_like(image), ops.zeros_like(image)]

    def step(self, tokens, context, state):
        """Logits (R, V) of the word after `tokens` (R,), and the new state.

        R is a multiple of N: the captions of an image are neighbours.
        """
        [image], [hidden, cell] = context, state
        hidden, (_, cell) = self.lstm.cell(self.embedding(tokens), [hidden, cell])
        by_image = ops.reshape(hidden, (ops.shape(image)[0], -1, self.units))
        both = ops.reshape(by_image + image[:, None, :], (-1, self.units))
        return self.logits(self.merge_dense(both)), [hidden, cell]

    def _image(self, features, training: bool):
        return self.image_dense(self.image_dropout(features, training=training))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments: enough to build the same model again."""
        return {
            **super().get_config(),
            "units": self.units,
            "dropout": self.dropout,
            "output_dropout": self.output_dropout,
        }
