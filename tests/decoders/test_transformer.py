import keras
import numpy as np
import pytest

from captioning.decoders.transformer import Attention, Block
from tests.decoder_tools import LETTERS, features_for, tiny

TOKENS = np.array([[1, 5, 3, 7, 3], [1, 9, 9, 4, 6]])


def by_hand(model, grid, tokens) -> tuple[np.ndarray, np.ndarray]:
    """Logits of one caption, and where its words look: sections 3.1 to 3.5, normalised first."""
    width = model.width

    def dense(layer, x):
        kernel, bias = layer.get_weights()
        return x @ kernel + bias

    def normed(layer, x):
        scale, shift = layer.get_weights()
        std = np.sqrt(x.var(axis=-1, keepdims=True) + 1e-6)
        return (x - x.mean(axis=-1, keepdims=True)) / std * scale + shift

    def attention(layer, x, source, causal):
        found, shares = np.zeros((len(x), width)), 0
        for head in np.split(np.arange(width), layer.heads):
            query, key, value = (
                dense(part, rows)[:, head]
                for part, rows in ((layer.query, x), (layer.key, source), (layer.value, source))
            )
            scores = np.exp(query @ key.T / np.sqrt(len(head)))
            scores = np.tril(scores) if causal else scores
            weights = scores / scores.sum(axis=1, keepdims=True)
            found[:, head] = weights @ value
            shares = shares + weights / layer.heads
        return dense(layer.merge, found), shares

    seen = dense(model.image_dense, grid) + model.place_embedding.get_weights()[0]
    seen = normed(model.image_norm, seen)
    rates = 10000.0 ** (-np.arange(0, width, 2) / width)
    waves = [
        [*np.sin(position * rates), *np.cos(position * rates)] for position in range(len(tokens))
    ]
    x = model.embedding.get_weights()[0][tokens] * np.sqrt(width) + np.array(waves)
    for block in model.blocks:
        words = normed(block.norms[0], x)
        x = x + attention(block.to_words, words, words, causal=True)[0]
        found, shares = attention(block.to_grid, normed(block.norms[1], x), seen, causal=False)
        x = x + found
        inner = np.maximum(dense(block.expand, normed(block.norms[2], x)), 0)
        x = x + dense(block.contract, inner)
    return dense(model.output_dense, normed(model.output_norm, x)), shares


def test_logits_and_weights_equal_the_formulas_of_the_paper():
    model = tiny("transformer", LETTERS, 7)
    features = features_for(model, 2)
    random = np.random.default_rng(1)
    for weight in model.weights:  # norms and biases begin as ones and zeros, which hide mistakes
        weight.assign(weight + 0.1 * random.normal(size=weight.shape))

    inputs = {"features": features, "tokens": TOKENS}
    logits, weights = model.next_words(inputs), model.attention(inputs)

    for number in range(2):
        expected, shares = by_hand(model, features[number].astype(np.float64), TOKENS[number])
        np.testing.assert_allclose(logits[number], expected, atol=1e-4)
        np.testing.assert_allclose(weights[number], shares, atol=1e-5)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="8 heads do not divide a width of 250"):
        tiny("transformer", LETTERS, 7, width=250, heads=8)


@pytest.mark.parametrize("layer", [Attention(6, 2), Block(6, 2, 0.1)])
def test_the_parts_can_be_saved_alone(layer):
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert copy.get_config() == layer.get_config()
    assert [w.shape for w in copy.weights] == [w.shape for w in layer.weights]
