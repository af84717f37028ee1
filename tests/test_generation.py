import itertools

import keras
import numpy as np
import pytest
from keras import ops

from captioning.decoders import MergeDecoder
from captioning.generation import generate

WORDS = ["startseq", "endseq", *"abcdefgh"]  # one letter each: repetition is allowed
LONG_WORDS = ["startseq", "endseq", *(letter * 2 for letter in "abcdefgh")]


def make_model(words=WORDS, max_length=6, seed=3) -> MergeDecoder:
    keras.utils.set_random_seed(seed)
    model = MergeDecoder(5, words, max_length, units=16, dropout=0.0)
    # Larger weights make the random model sure of itself, and its choices distinct.
    model.output_dense.kernel.assign(6 * model.output_dense.kernel)
    return model


@pytest.fixture
def features() -> np.ndarray:
    return np.random.default_rng(4).normal(size=(9, 5)).astype(np.float32)


def log_probability(model, vector, indices) -> float:
    """Of a whole caption (start word excluded, end word included), by teacher forcing."""
    tokens = np.array([[model.vocabulary.start, *indices[:-1]]])
    scores = ops.log_softmax(model({"features": vector[None], "tokens": tokens}))[0]
    return float(ops.convert_to_numpy(scores)[range(len(indices)), indices].sum())


def greedy_by_hand(model, vector) -> list[int]:
    """The most probable word at a time, one picture, whole prefix each time."""
    tokens = [model.vocabulary.start]
    while True:
        logits = np.array(model({"features": vector[None], "tokens": np.array([tokens])}))[0, -1]
        logits[[0, model.vocabulary.start]] = -np.inf
        last = len(tokens) == model.vocabulary.max_length - 1
        tokens.append(model.vocabulary.end if last else int(np.argmax(logits)))
        if tokens[-1] == model.vocabulary.end:
            return tokens[1:]


def test_width_one_is_greedy_search(features):
    model = make_model()
    found = generate(model, features, beam_width=1)
    for vector, hypothesis in zip(features, found, strict=True):
        indices = greedy_by_hand(model, vector)
        assert hypothesis.caption == model.vocabulary.decode(indices)
        assert hypothesis.log_probability == pytest.approx(
            log_probability(model, vector, indices), abs=1e-4
        )


@pytest.mark.parametrize("words", [WORDS, LONG_WORDS])
@pytest.mark.parametrize("width", [1, 2, 4])
def test_pictures_together_equal_one_at_a_time(features, width, words):
    model = make_model(words, max_length=9)
    together = generate(model, features, beam_width=width)
    for number, hypothesis in enumerate(together):
        alone = generate(model, features[number : number + 1], beam_width=width)[0]
        assert alone.caption == hypothesis.caption
        assert alone.log_probability == pytest.approx(hypothesis.log_probability, abs=1e-4)


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_wide_beam_finds_what_exhaustive_search_finds(features, length_penalty):
    model = make_model(["startseq", "endseq", "a", "b"], max_length=5)
    for vector in features:
        captions = [
            [*words, model.vocabulary.end]
            for length in range(model.vocabulary.max_length - 1)
            for words in itertools.product([3, 4], repeat=length)
        ]
        best = max(
            captions,
            key=lambda c: log_probability(model, vector, c) / len(c) ** length_penalty,
        )
        found = generate(model, vector[None], beam_width=64, length_penalty=length_penalty)[0]
        assert found.caption == model.vocabulary.decode(best)


def test_score_is_the_models_own_log_probability(features):
    model = make_model()
    for vector, found in zip(features, generate(model, features, beam_width=3), strict=True):
        indices = [*map(model.vocabulary.word_index.get, found.caption.split()), 2]
        assert found.log_probability == pytest.approx(
            log_probability(model, vector, indices), abs=1e-4
        )


@pytest.mark.parametrize("width", [1, 3])
def test_no_word_three_times_and_no_pair_twice(features, width):
    model = make_model(LONG_WORDS, max_length=20)
    model.output_dense.bias.assign(model.output_dense.bias - 20 * (np.arange(11) == 2))  # go on
    for found in generate(model, features, beam_width=width):
        words = found.caption.split()
        pairs = list(itertools.pairwise(words))
        assert max(map(words.count, words)) <= 2
        assert len(pairs) == len(set(pairs))


def test_words_of_one_letter_may_repeat(features):
    model = make_model(["startseq", "endseq", "a"], max_length=6)
    model.output_dense.bias.assign([0, 0, -50, 0])
    assert generate(model, features[:1])[0].caption == "a a a a"
