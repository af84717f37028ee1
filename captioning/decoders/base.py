"""Caption decoders: image features and the words so far to the next word.

What all of them share is here; `table.py` has the list of them. Each has, besides, `call` for
whole captions (teacher forcing), and for decoding `start`, which gives context and state, and
`step`. The context has a row per image and stays; the state has a row per caption, of which an
image may have several.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops, tree

from captioning.decoders.cross_entropy import linear_cross_entropy
from captioning.decoders.expected_words import ExpectedWords, mean_and_std
from captioning.text import Vocabulary

_ARGUMENTS = ("feature_size", "encoder", "label_smoothing", "tied", "normalize", "expected_sizes")


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
        normalize: whether features lose the mean and the std that `adapt` found in those of
            training. Those of encoders differ in scale by orders, and no learning rate suits all.
        expected_sizes: of `expected_words`, by which the search ranks; None: the model has none.
    """

    positions: int | None = None  # number L of vectors in a grid; None: one vector per image
    own_arguments: tuple[str, ...] = ()  # of a subclass's constructor, kept as attributes

    def __init__(
        self,
        feature_size: int,
        words: list[str],
        max_length: int,
        text_rules: str = "original",
        encoder: dict[str, Any] | None = None,
        *,
        label_smoothing: float = 0.0,
        tied: bool = False,
        normalize: bool = False,
        expected_sizes: Sequence[int] | None = None,
        **kwargs,
    ) -> None:
        # Features come as they are: rounded to bfloat16, those of a large mean would all be alike.
        super().__init__(autocast=False, **kwargs)
        self.feature_size = feature_size
        self.vocabulary = Vocabulary(tuple(words), max_length, text_rules)
        self.outputs = len(self.vocabulary) + 1  # index 0 is no word
        self.encoder = dict(encoder or {})
        self.label_smoothing, self.tied, self.normalize = label_smoothing, tied, normalize
        if normalize:
            options = {"shape": (feature_size,), "trainable": False, "autocast": False}
            self.feature_mean = self.add_weight(initializer="zeros", name="feature_mean", **options)
            self.feature_std = self.add_weight(initializer="ones", name="feature_std", **options)
        self.expected_sizes = expected_sizes and tuple(expected_sizes)
        self.expected_words = None
        if expected_sizes:
            self.expected_words = ExpectedWords(feature_size, self.outputs, expected_sizes)
        self.token_loss = keras.metrics.Mean(name="token_loss")
        self._compiled_step = None

    @property
    def grid(self) -> bool:
        """Whether the model looks at grids of vectors, not at one vector per image."""
        return self.positions is not None

    @property
    def feature_shape(self) -> tuple[int, ...]:
        """Of an image's features: (D,) for a vector, (L, D) for a grid."""
        return (self.positions, self.feature_size) if self.grid else (self.feature_size,)

    def adapt(self, features: np.ndarray) -> None:
        """Take the mean and std of each of D numbers from features (..., D) of training."""
        if self.normalize:
            mean, std = mean_and_std(features.reshape(-1, self.feature_size).astype(np.float32))
            self.feature_mean.assign(mean)
            self.feature_std.assign(std)

    def normalized(self, features):
        """Features (..., D) as the layers take them."""
        if self.normalize:
            features = ops.cast(features, "float32") - self.feature_mean
            features = features / self.feature_std
        return ops.cast(features, self.compute_dtype)

    def add_output(self, size: int) -> None:
        """Make the output layer, which reads hidden vectors of `size` numbers."""
        if self.tied:
            self.output_bias = self.add_weight((self.outputs,), "zeros", name="output_bias")
        else:
            dense = layers.Dense(self.outputs, dtype=self.dtype_policy, name="output_dense")
            self.output_dense = built(dense, size)

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
        return ops.reshape(rows, (*sizes(hidden)[:-1], self.outputs))

    def next_words(self, inputs: dict[str, Any], training: bool = False):
        """Logits (B, T, V) after each of `tokens` (B, T), given `features` (B, D) or (B, L, D)."""
        return self.logits(self(inputs, training=training)[0])

    def compiled_step(self, tokens, context, state):
        """`step`; under TensorFlow in one graph, made once for any number of images and captions.

        Op by op, a step of the ensemble that ships is 900 calls from Python, which take longer than
        what they call. JAX would compile for each shape anew: there this is `step` itself.
        """
        if keras.backend.backend() != "tensorflow":
            return self.step(tokens, context, state)
        if self._compiled_step is None:
            import tensorflow as tf

            def any_number(part):  # of rows; and what begins with a length of 0 grows
                return tf.TensorSpec([None, *(size or None for size in part.shape[1:])], part.dtype)

            step = tf.function(self.step, autograph=False, reduce_retracing=True)
            step.get_concrete_function(*tree.map_structure(any_number, (tokens, context, state)))
            self._compiled_step = step
        return self._compiled_step(tokens, context, state)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Mean cross-entropy a word, in nats, with the label smoothing in training.

        Not from logits: those of a whole batch are too large to want. Batches differ in their
        numbers of words, so Keras' own mean over batches would weigh words unevenly; `token_loss`
        counts every word alike, without smoothing. Targets of 0, which is no word of the
        vocabulary, count nothing.
        """
        hidden, targets = y_pred[0], ops.reshape(y, (-1,))
        mask = ops.cast(ops.not_equal(targets, 0), "float32")
        mean, losses = linear_cross_entropy(
            ops.reshape(hidden, (-1, hidden.shape[-1])),
            *self.output_weights(),
            targets,
            label_smoothing=self.label_smoothing if training else 0.0,
            training=training,
            weights=mask / ops.sum(mask),
        )
        self.token_loss.update_state(losses, sample_weight=mask)
        return mean

    def copy_with(self, **changes) -> "Decoder":
        """A decoder with the same weights, and these arguments of its constructor changed.

        `expected_sizes=None` leaves the expected words out; with others they are still to be found.
        """
        copy = type(self).from_config({**self.get_config(), **changes})
        for new, old in zip(copy._without_expected(), self._without_expected(), strict=True):
            new.assign(old.value)
        if self.expected_words and self.expected_sizes == copy.expected_sizes:
            copy.expected_words.set_weights(self.expected_words.get_weights())
        return copy

    def _without_expected(self) -> list[keras.Variable]:
        left_out = {*map(id, self.expected_words.weights)} if self.expected_words else ()
        return [weight for weight in self.weights if id(weight) not in left_out]

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments: enough to build the same model again."""
        return {
            **super().get_config(),
            "words": list(self.vocabulary.words),
            "max_length": self.vocabulary.max_length,
            "text_rules": self.vocabulary.text_rules,
            **{name: getattr(self, name) for name in (*_ARGUMENTS, *self.own_arguments)},
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Decoder":
        """The model of `get_config`; `standardise` is what `normalize` is called in older ones."""
        config = dict(config)
        if "standardise" in config:
            config["normalize"] = config.pop("standardise")
        return cls(**config)


def built(layer: keras.Layer, *shape: int | None) -> keras.Layer:
    """`layer` with its variables, of inputs (None, *shape): a loaded model needs no example."""
    layer.build((None, *shape))
    return layer


def each_row(layer: keras.Layer, x):
    """`layer`, which maps vectors (n, D) to (n, E), over x (..., D): one product of matrices.

    Keras takes a dense layer over three or more axes as a product an image, and its gradient as a
    kernel an image, which are then added up.
    """
    rows = layer(ops.reshape(x, (-1, x.shape[-1])))
    return ops.reshape(rows, (*sizes(x)[:-1], rows.shape[-1]))


def sizes(x) -> tuple:
    """The shape of `x`, for `ops.reshape`: -1 where a single length is not known before the run.

    `ops.shape` puts five operations into a graph for every such length, half of a decoder's.
    """
    known = tuple(-1 if size is None else size for size in x.shape)
    return known if known.count(-1) < 2 else ops.shape(x)
