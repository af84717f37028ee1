"""A Transformer decoder over the grid (Vaswani et al., arXiv 1706.03762), normalised first."""

import math
from typing import Any

import keras
from keras import layers, ops

from captioning.decoders.base import Decoder, built, each_row, sizes


@keras.saving.register_keras_serializable(package="captioning")
class Attention(layers.Layer):
    """Scaled dot-product attention in several heads (section 3.2 of the paper).

    Raises:
        ValueError: `heads` does not divide `width`.
    """

    def __init__(self, width: int, heads: int, **kwargs) -> None:
        super().__init__(**kwargs)
        if width % heads:
            raise ValueError(f"{heads} heads do not divide a width of {width}")
        self.width, self.heads, self.size = width, heads, width // heads
        self.query, self.key, self.value, self.merge = (
            built(layers.Dense(width, dtype=self.dtype_policy), width) for _ in range(4)
        )
        self.built = True

    def keys_and_values(self, source):
        """Of `source` (B, S, width): keys (B, heads, size, S) and values (B, heads, S, size)."""
        keys = ops.transpose(self._heads(self.key, source), (0, 2, 3, 1))
        values = ops.transpose(self._heads(self.value, source), (0, 2, 1, 3))
        return keys, values

    def attend(self, x, keys, values, mask=None):
        """What `x` (B, T, width) finds, (B, T, width), and its float32 weights (B, heads, T, S).

        `mask` (T, S) says which of the S may be looked at.
        """
        queries = ops.transpose(self._heads(self.query, x), (0, 2, 1, 3))
        scores = ops.cast(ops.matmul(queries, keys), "float32") / math.sqrt(self.size)
        if mask is not None:
            scores = ops.where(mask, scores, -1e9)
        # Keras warns of a softmax over one number, which is what the first word has.
        weights = ops.softmax(scores) if scores.shape[-1] != 1 else ops.ones_like(scores)
        attended = ops.transpose(ops.matmul(ops.cast(weights, values.dtype), values), (0, 2, 1, 3))
        rows = self.merge(ops.reshape(attended, (-1, self.width)))
        return ops.reshape(rows, sizes(x)), weights

    def _heads(self, layer, x):
        rows = layer(ops.reshape(x, (-1, self.width)))
        return ops.reshape(rows, (*sizes(x)[:-1], self.heads, self.size))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "width": self.width, "heads": self.heads}


@keras.saving.register_keras_serializable(package="captioning")
class Block(layers.Layer):
    """Attention to the words so far, attention to the grid, and a perceptron."""

    def __init__(self, width: int, heads: int, dropout: float, **kwargs) -> None:
        super().__init__(**kwargs)
        self.width, self.heads, self.dropout = width, heads, dropout
        dtype = self.dtype_policy
        self.norms = [_norm(width, dtype) for _ in range(3)]
        self.dropouts = [layers.Dropout(dropout, dtype=dtype) for _ in range(3)]
        self.to_words = Attention(width, heads, dtype=dtype)
        self.to_grid = Attention(width, heads, dtype=dtype)
        self.expand = built(layers.Dense(4 * width, "relu", dtype=dtype), width)
        self.contract = built(layers.Dense(width, dtype=dtype), 4 * width)
        self.built = True

    def run(self, x, grid, past=None, training: bool = False):
        """The next hidden vectors (R, T, width), the words' keys and values, and the weights.

        Args:
            x: hidden vectors (R, T, width) of R captions of N images, neighbours by image.
            grid: keys and values of N images' grids.
            past: keys and values of the words before `x`; without them, `x` is whole captions, and
                no word sees a later one.
        """
        normed = self.norms[0](x)
        keys, values = self.to_words.keys_and_values(normed)
        mask = None
        if past is None:
            positions = ops.arange(ops.shape(x)[1])
            mask = positions[:, None] >= positions[None, :]
        else:
            keys = ops.concatenate([past[0], keys], axis=3)
            values = ops.concatenate([past[1], values], axis=2)
        attended, _ = self.to_words.attend(normed, keys, values, mask)
        x = x + self.dropouts[0](attended, training=training)

        # All captions of an image look at the one copy of its grid.
        by_image = (ops.shape(grid[0])[0], -1, x.shape[-1])
        attended, weights = self.to_grid.attend(ops.reshape(self.norms[1](x), by_image), *grid)
        x = x + self.dropouts[1](ops.reshape(attended, sizes(x)), training=training)

        attended = each_row(self.contract, each_row(self.expand, self.norms[2](x)))
        return x + self.dropouts[2](attended, training=training), (keys, values), weights

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "width": self.width,
            "heads": self.heads,
            "dropout": self.dropout,
        }


@keras.saving.register_keras_serializable(package="captioning")
class TransformerDecoder(Decoder):
    """A small pre-norm Transformer whose words attend to each other and to the grid.

    "Pre-norm": normalised before each part and once at the end, which trains without a long
    warm-up (Xiong et al., arXiv 2002.04745). Words have the paper's sinusoidal positions, which
    have no longest caption; places in the grid have learned ones.

    Args:
        carried: the arguments of `Decoder`, as are those that are not named here.
        positions: number L of vectors in a grid.
        width: of every layer; the perceptrons are four times as wide inside.
        depth: number of blocks.
        heads: of each attention; divides `width`.
        dropout: share of embedding, projected grid and every block's parts zeroed in training.
        output_dropout: likewise before the output layer.
    """

    own_arguments = ("positions", "width", "depth", "heads", "dropout", "output_dropout")

    def __init__(
        self,
        *carried,
        positions: int,
        width: int = 256,
        depth: int = 3,
        heads: int = 8,
        dropout: float = 0.2,
        output_dropout: float = 0.0,
        **kwargs,
    ) -> None:
        super().__init__(*carried, **kwargs)
        self.positions, self.width, self.depth, self.heads = positions, width, depth, heads
        self.dropout, self.output_dropout = dropout, output_dropout

        dtype = self.dtype_policy
        self.image_dense = built(layers.Dense(width, dtype=dtype), self.feature_size)
        self.place_embedding = built(layers.Embedding(positions, width, dtype=dtype))
        self.image_norm = _norm(width, dtype)
        self.image_dropout = layers.Dropout(dropout, dtype=dtype)
        # Scaled up by sqrt(width) on its way in (section 3.4), so that it is of size 1 there and
        # fits an output layer as it is.
        small = keras.initializers.RandomNormal(stddev=width**-0.5)
        self.embedding = built(layers.Embedding(self.outputs, width, small, dtype=dtype), None)
        self.embedding_dropout = layers.Dropout(dropout, dtype=dtype)
        self.blocks = [Block(width, heads, dropout, dtype=dtype) for _ in range(depth)]
        self.output_norm = _norm(width, dtype)
        self.output_dropout_layer = layers.Dropout(output_dropout, dtype=dtype)
        self.add_output(width)
        self.built = True

    def attention(self, inputs: dict[str, Any]):
        """The weights (B, T, L) of the grid's vectors before every next word.

        Those of the last block, the mean of its heads.
        """
        return ops.mean(self(inputs)[1], axis=1)

    def start(self, features):
        """Context: each block's keys and values of the grids. State: those of the words, none yet.

        The context is `[(keys (N, heads, size, L), values (N, heads, L, size)), ...]`, the state
        likewise `[(keys (N, heads, size, t), values (N, heads, t, size)), ...]` with t = 0.
        """
        context = self._grids(features, training=False)
        return context, [(keys[..., :0], values[:, :, :0]) for keys, values in context]

    def step(self, tokens, context, state):
        """Logits (R, V) of the word after `tokens` (R,), and the new state, longer by a word.

        R is a multiple of N: the captions of an image are neighbours.
        """
        x = self._words(tokens[:, None], ops.shape(state[0][0])[3], training=False)
        past = []
        for block, grid, words in zip(self.blocks, context, state, strict=True):
            x, keys_and_values, _ = block.run(x, grid, words)
            past.append(keys_and_values)
        return self.logits(self.output_norm(x)[:, 0]), past

    def call(self, inputs: dict[str, Any], training: bool = False):
        """Teacher forcing: what the output layer reads (B, T, width), and the last block's weights.

        These are (B, heads, T, L).
        """
        x = self._words(inputs["tokens"], 0, training)
        grids = self._grids(inputs["features"], training)
        for block, grid in zip(self.blocks, grids, strict=True):
            x, _, weights = block.run(x, grid, training=training)
        return self.output_dropout_layer(self.output_norm(x), training=training), weights

    def _words(self, tokens, first, training: bool):
        """Hidden vectors (R, T, width) of `tokens` (R, T), the first of them the word `first`."""
        positions = ops.cast(ops.arange(ops.shape(tokens)[1]) + first, "float32")[:, None]
        rates = ops.exp(ops.arange(0, self.width, 2, "float32") * (-math.log(1e4) / self.width))
        waves = ops.concatenate([ops.sin(positions * rates), ops.cos(positions * rates)], axis=1)
        words = self.embedding(tokens) * math.sqrt(self.width)
        return self.embedding_dropout(words + ops.cast(waves, words.dtype), training=training)

    def _grids(self, features, training: bool) -> list:
        """Each block's keys and values of the grids (N, L, D)."""
        positions = self.place_embedding(ops.arange(self.positions))
        grid = self.image_norm(each_row(self.image_dense, self.normalized(features)) + positions)
        grid = self.image_dropout(grid, training=training)
        return [block.to_grid.keys_and_values(grid) for block in self.blocks]


def _norm(width: int, dtype) -> layers.Layer:
    return built(layers.LayerNormalization(epsilon=1e-6, dtype=dtype), None, width)
