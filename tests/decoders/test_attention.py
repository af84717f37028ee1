import numpy as np
import pytest

from tests.decoder_tools import LETTERS, PLACES, features_for, tiny, training_loss

TOKENS = np.array([[1, 5, 3, 7, 3], [1, 9, 9, 4, 6]])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_hand(model, grid, tokens) -> tuple[np.ndarray, np.ndarray]:
    """Logits and attention weights of one caption, a word and a place at a time."""

    def dense(layer, x):
        kernel, *bias = layer.get_weights()
        return x @ kernel + (bias[0] if bias else 0)

    vectors = [np.maximum(dense(model.image_dense, vector), 0) for vector in grid]
    mean = sum(vectors) / len(vectors)
    hidden = np.tanh(dense(model.first_hidden, mean))
    cell = np.tanh(dense(model.first_cell, mean))
    logits, weights = [], []
    for token in tokens:
        word = model.embedding.get_weights()[0][token]
        query = dense(model.query_dense, hidden)
        sums = [np.tanh(dense(model.key_dense, vector) + query) for vector in vectors]
        energies = [dense(model.energy_dense, vector)[0] for vector in sums]
        alpha = np.exp(energies) / np.exp(energies).sum()
        beta = sigmoid(dense(model.gate_dense, hidden))
        seen = beta * sum(share * vector for share, vector in zip(alpha, vectors, strict=True))
        gates = dense(model.word_dense, word) + dense(model.lstm_dense, np.append(seen, hidden))
        entry, forget, new, out = np.split(gates, 4)
        cell = sigmoid(forget + 1) * cell + sigmoid(entry) * np.tanh(new)
        hidden = sigmoid(out) * np.tanh(cell)
        deep = word + dense(model.hidden_dense, hidden) + dense(model.seen_dense, seen)
        logits.append(dense(model.output_dense, np.tanh(deep)))
        weights.append(alpha)
    return np.array(logits), np.array(weights)


def test_logits_and_weights_equal_a_plain_loop():
    model = tiny("attention", LETTERS, 7)
    inputs = {"features": features_for(model, 2), "tokens": TOKENS}
    logits, weights = model.next_words(inputs), model.attention(inputs)
    for number in range(2):
        grid = inputs["features"][number].astype(np.float64)
        expected_logits, expected_weights = by_hand(model, grid, TOKENS[number])
        np.testing.assert_allclose(logits[number], expected_logits, atol=1e-5)
        np.testing.assert_allclose(weights[number], expected_weights, atol=1e-5)


def test_penalty_of_even_attention_is_the_closed_form():
    """Weights of 1/L at every one of T words: lambda * L * (1 - T / L)^2, by T words.

    A word that no vocabulary has, 0, is one of them: the model looked before it, too.
    """
    inputs = {"features": features_for(tiny("attention", LETTERS, 7), 2), "tokens": TOKENS[:, :3]}
    targets = np.array([[5, 0, 7], [0, 0, 4]])
    losses = []
    for penalty in (0.0, 0.7):
        model = tiny("attention", LETTERS, 7, penalty=penalty)
        model.energy_dense.kernel.assign(0 * model.energy_dense.kernel)
        losses.append(float(training_loss(model, inputs, targets)))
    expected = 0.7 * PLACES * (1 - 3 / PLACES) ** 2 / 3
    assert losses[1] - losses[0] == pytest.approx(expected, abs=1e-5)


def test_padding_costs_no_penalty():
    """Words after the end are no words: they neither look nor count."""
    model = tiny("attention", LETTERS, 7, penalty=0.7)
    features = features_for(model, 2)
    end = model.vocabulary.end
    short = np.array([[0, 3, 4, end], [0, 5, 0, end]])  # the 0 before the end is an unknown word
    padded = np.pad(short, ((0, 0), (0, 3)))
    losses = [
        float(training_loss(model, {"features": features, "tokens": words[:, :-1]}, words[:, 1:]))
        for words in (short, padded)
    ]
    assert losses[1] == pytest.approx(losses[0], abs=1e-6)
