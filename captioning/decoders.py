"""Caption decoders: image features and the words so far to the next word.

Every decoder is a registered Keras model that carries what it needs to caption: its vocabulary,
the longest caption and the record of the encoder. It has three ways in:

- `call({"features", "tokens"})`: logits of every next word of whole captions (teacher forcing);
- `start(features)`: the state before the first word;
- `step(tokens, state)`: logits of the next word and the new state, for decoding.
"""

from typing import Any

import keras
from keras import layers, ops

from captioning.losses import linear_cross_entropy
from captioning.text import Vocabulary


@keras.saving.register_keras_serializable(package="captioning")
class MergeDecoder(keras.Model):
    """The original pipeline's merge model: image vector and LSTM state added, 256 units.

    "Merge" after Tanti et al., "Where to put the image in an image caption generator"
    (arXiv 1703.09137): the LSTM reads words only; the image joins after it.

    Args:
        feature_size: length D of the image vectors.
        words, max_length, text_rules: the fields of the `Vocabulary`.
        encoder: the record of the encoder that made the features (`Encoder.info`).
        units: width of every hidden layer and of the word embedding.
        dropout: share of image vector and embedding entries zeroed in training.
        output_dropout: likewise before the output layer, where the original has none.
    """

    def __init__(
        self,
        feature_size: int,
        words: list[str],
        max_length: int,
        text_rules: str = "seed",
        encoder: dict[str, Any] | None = None,
        units: int = 256,
        dropout: float = 0.5,
        output_dropout: float = 0.0,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.feature_size = feature_size
        self.vocabulary = Vocabulary(tuple(words), max_length, text_rules)
        self.encoder = dict(encoder or {})
        self.units, self.dropout, self.output_dropout = units, dropout, output_dropout

        outputs = len(self.vocabulary) + 1  # index 0 is no word
        dtype = self.dtype_policy
        self.image_dropout = layers.Dropout(dropout, dtype=dtype)
        self.image_dense = layers.Dense(units, "relu", dtype=dtype, name="image_dense")
        self.embedding = layers.Embedding(outputs, units, dtype=dtype, name="embedding")
        self.embedding_dropout = layers.Dropout(dropout, dtype=dtype)
        self.lstm = layers.LSTM(
            units, return_sequences=True, return_state=True, dtype=dtype, name="lstm"
        )
        self.merge_dense = layers.Dense(units, "relu", dtype=dtype, name="merge_dense")
        self.merge_dropout = layers.Dropout(output_dropout, dtype=dtype)
        self.output_dense = layers.Dense(outputs, dtype=dtype, name="output_dense")
        # Built here, from sizes that are known, so that a loaded model needs no example input.
        self.image_dense.build((None, feature_size))
        self.embedding.build((None, None))
        self.lstm.build((None, None, units))
        self.merge_dense.build((None, units))
        self.output_dense.build((None, units))
        self.token_loss = keras.metrics.Mean(name="token_loss")
        self.built = True

    def call(self, inputs: dict[str, Any], training: bool = False):
        """Logits (B, T, V) after each of `tokens` (B, T), given `features` (B, D)."""
        return self.output_dense(self.hidden(inputs, training))

    def hidden(self, inputs: dict[str, Any], training: bool = False):
        """What the output layer reads, (B, T, units)."""
        image = self._image(inputs["features"], training)
        words = self.embedding_dropout(self.embedding(inputs["tokens"]), training=training)
        states, *_ = self.lstm(words, training=training)
        merged = self.merge_dense(states + image[:, None, :])
        return self.merge_dropout(merged, training=training)

    def start(self, features):
        """State before the first word: image vector, LSTM output and cell, each (B, units)."""
        image = self._image(features, training=False)
        return [image, ops.zeros_like(image), ops.zeros_like(image)]

    def step(self, tokens, state):
        """Logits (B, V) of the word after `tokens` (B,), and the new state."""
        image, hidden, cell = state
        hidden, (_, cell) = self.lstm.cell(self.embedding(tokens), [hidden, cell])
        return self.output_dense(self.merge_dense(hidden + image)), [image, hidden, cell]

    def _image(self, features, training: bool):
        return self.image_dense(self.image_dropout(features, training=training))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Mean cross-entropy a word, in nats.

        Not from `y_pred`: the logits of a whole batch are too large to want, and a compiled step
        leaves out what it does not use. Batches differ in their numbers of words, so Keras' own
        mean over batches would weigh words unevenly; `token_loss` counts every word alike.
        """
        hidden = self.hidden(x, training)
        mean, losses = linear_cross_entropy(
            ops.reshape(hidden, (-1, hidden.shape[-1])),
            self.output_dense.kernel,
            self.output_dense.bias,
            ops.reshape(y, (-1,)),
            training=training,
        )
        self.token_loss.update_state(losses)
        return mean

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments: enough to build the same model again."""
        return {
            **super().get_config(),
            "feature_size": self.feature_size,
            "words": list(self.vocabulary.words),
            "max_length": self.vocabulary.max_length,
            "text_rules": self.vocabulary.text_rules,
            "encoder": self.encoder,
            "units": self.units,
            "dropout": self.dropout,
            "output_dropout": self.output_dropout,
        }


DECODERS = {"merge": MergeDecoder}
