"""The original pipeline's decoder: the smallest, which sees one vector per image."""

from typing import Any

import keras
from keras import layers, ops

from captioning.decoders.base import Decoder, built


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

    own_arguments = ("units", "dropout", "output_dropout")

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
        self.image_dense = built(layers.Dense(units, "relu", dtype=dtype), self.feature_size)
        self.embedding = built(layers.Embedding(self.outputs, units, dtype=dtype), None)
        self.embedding_dropout = layers.Dropout(dropout, dtype=dtype)
        lstm = layers.LSTM(units, return_sequences=True, return_state=True, dtype=dtype)
        self.lstm = built(lstm, None, units)
        self.merge_dense = built(layers.Dense(units, "relu", dtype=dtype), units)
        self.merge_dropout = layers.Dropout(output_dropout, dtype=dtype)
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
        return self.image_dense(self.image_dropout(self.normalized(features), training=training))
