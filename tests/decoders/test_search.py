import itertools

import numpy as np
import pytest
from keras import ops

from captioning.cli import UserError
from captioning.decoders.search import generate, generate_n_best
from captioning.decoders.search_settings import Search
from tests.decoder_tools import LETTERS, NAMES, features_for, tiny

LONG_WORDS = ["startseq", "endseq", *(letter * 2 for letter in "abcdefgh")]
TWO_WORDS = ["startseq", "endseq", "a", "b"]
END = 2


of_every_kind = pytest.mark.parametrize("name", NAMES)


def make_model(name="merge", words=LETTERS, max_length=6):
    model = tiny(name, words, max_length)
    # Larger weights make the random model sure of itself, and its choices distinct.
    model.output_dense.kernel.assign(6 * model.output_dense.kernel)
    return model


def never_end(model) -> None:
    """Make the end word so improbable that captions go on as long as they may."""
    bias = model.output_dense.bias
    bias.assign(bias - 50 * (np.arange(bias.shape[0]) == END))


def log_probabilities(model, image, captions) -> np.ndarray:
    """Of whole captions (start word excluded, end word included), by teacher forcing."""
    found = np.empty(len(captions))
    for length in set(map(len, captions)):
        chosen = [number for number, caption in enumerate(captions) if len(caption) == length]
        targets = np.array([captions[number] for number in chosen])
        tokens = np.insert(targets[:, :-1], 0, model.vocabulary.start, axis=1)
        features = np.repeat(image[None], len(chosen), axis=0)
        inputs = {"features": features, "tokens": tokens}
        scores = np.array(ops.log_softmax(model.next_words(inputs)))
        found[chosen] = np.take_along_axis(scores, targets[:, :, None], 2).sum((1, 2))
    return found


def indices(model, caption: str) -> list[int]:
    return [*(model.vocabulary.word_index[word] for word in caption.split()), END]


def greedy_by_hand(model, image) -> list[int]:
    """The most probable word at a time, one picture, whole prefix each time."""
    tokens = [model.vocabulary.start]
    while True:
        inputs = {"features": image[None], "tokens": np.array([tokens])}
        logits = np.array(model.next_words(inputs))[0, -1]
        logits[[0, model.vocabulary.start]] = -np.inf
        last = len(tokens) == model.vocabulary.max_length - 1
        tokens.append(END if last else int(np.argmax(logits)))
        if tokens[-1] == END:
            return tokens[1:]


@pytest.mark.parametrize("name, length_penalty", [*((name, 1.0) for name in NAMES), ("merge", 0.0)])
def test_width_one_is_greedy_search(name, length_penalty):
    model = make_model(name)
    features = features_for(model, 4)
    search = Search(beam_width=1, length_penalty=length_penalty)
    for image, found in zip(features, generate(model, features, search), strict=True):
        assert indices(model, found.caption) == greedy_by_hand(model, image)


@of_every_kind
@pytest.mark.parametrize(
    "words, width, length_penalty",
    [(LETTERS, 1, 1.0), (LETTERS, 3, 1.0), (LETTERS, 3, 5.0), (LONG_WORDS, 3, 1.0)],
)
def test_pictures_together_equal_one_at_a_time(name, words, width, length_penalty):
    model = make_model(name, words, max_length=9)
    features, search = features_for(model, 6), Search(width, length_penalty=length_penalty)
    for number, found in enumerate(generate(model, features, search)):
        [alone] = generate(model, features[number : number + 1], search)
        assert alone.caption == found.caption
        assert alone.log_probability == pytest.approx(found.log_probability, abs=1e-4)


@of_every_kind
@pytest.mark.parametrize("width", [1, 3])
def test_score_is_the_models_own_log_probability(name, width):
    model = make_model(name)
    features = features_for(model, 5)
    every = generate_n_best(model, features, Search(beam_width=width))
    for image, found in zip(features, every, strict=True):
        captions = [indices(model, one.caption) for one in found]
        expected = log_probabilities(model, image, captions)
        np.testing.assert_allclose([one.log_probability for one in found], expected, atol=1e-4)


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_wide_beam_ranks_as_exhaustive_search_does(length_penalty):
    model = make_model(words=TWO_WORDS, max_length=5)
    captions = [[*words, END] for n in range(4) for words in itertools.product([3, 4], repeat=n)]
    features = features_for(model, 3)
    lengths = np.array(list(map(len, captions)))
    found = generate_n_best(model, features, Search(beam_width=64, length_penalty=length_penalty))
    for image, ranked in zip(features, found, strict=True):
        scores = log_probabilities(model, image, captions) / lengths**length_penalty
        best = [model.vocabulary.decode(captions[n]) for n in np.argsort(-scores)]
        assert [one.caption for one in ranked] == best


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_a_wider_beam_never_finds_a_worse_caption(length_penalty):
    model = make_model(words=TWO_WORDS, max_length=5)
    features = features_for(model, 6)
    scores = []
    for width in (1, 2, 4, 8, 16):
        found = generate(model, features, Search(beam_width=width, length_penalty=length_penalty))
        lengths = np.array([len(indices(model, one.caption)) for one in found])
        scores.append([one.log_probability for one in found] / lengths**length_penalty)
    assert (np.diff(scores, axis=0) > -1e-5).all()


def test_no_word_three_times_and_no_pair_twice():
    model = make_model(words=LONG_WORDS, max_length=20)
    never_end(model)
    for found in generate(model, features_for(model, 5), Search(beam_width=3)):
        words = found.caption.split()
        pairs = list(itertools.pairwise(words))
        assert max(map(words.count, words)) <= 2
        assert len(pairs) == len(set(pairs))


@pytest.mark.parametrize(
    ("word", "options", "caption"),
    [("a", {}, "a a a a"), ("aa", {}, "aa aa"), ("aa", {"no_repeat_ngram": 0}, "aa aa aa aa")],
)
def test_words_of_one_letter_may_repeat_and_others_where_the_user_says_so(word, options, caption):
    model = make_model(words=["startseq", "endseq", word])
    never_end(model)
    [found] = generate(model, features_for(model, 1), Search(**options))
    assert found.caption == caption


@pytest.mark.parametrize("size", [1, 2, 3])
def test_no_sequence_of_the_given_length_comes_twice(size):
    model = make_model(max_length=30)
    never_end(model)
    longest = 0
    search = Search(beam_width=3, no_repeat_ngram=size)
    for found in generate(model, features_for(model, 5), search):
        words = found.caption.split()
        sequences = [tuple(words[n : n + size]) for n in range(len(words) - size + 1)]
        assert len(sequences) == len(set(sequences))
        longest = max(longest, len(words))
    assert longest == (8 if size == 1 else 28)  # 8 words: without repeats there are no more


@pytest.mark.parametrize("width", [1, 3])
def test_captions_have_the_minimum_length(width):
    model = make_model(max_length=9)
    model.output_dense.bias.assign(20.0 * (np.arange(len(LETTERS) + 1) == END))  # end at once
    features = features_for(model, 3)
    assert {one.caption for one in generate(model, features, Search(beam_width=width))} == {""}
    found = generate(model, features, Search(beam_width=width, min_length=4))
    assert {len(one.caption.split()) for one in found} == {4}


def test_a_caption_that_no_word_may_go_on_ends():
    model = make_model(words=["startseq", "endseq", "a"])
    search = Search(beam_width=2, min_length=3, no_repeat_ngram=1)
    [found] = generate(model, features_for(model, 1), search)
    assert found.caption == "a"
    assert np.isfinite(found.log_probability)


def test_the_n_best_differ_and_the_best_is_first():
    model, search = make_model(), Search(beam_width=3)
    features = features_for(model, 4)
    every = generate_n_best(model, features, search)
    for first, found in zip(generate(model, features, search), every, strict=True):
        scores = [one.log_probability / len(indices(model, one.caption)) for one in found]
        assert found[0] == first
        assert len({one.caption for one in found}) == 3
        assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"beam_width": 0}, "beam_width 0"),
        ({"beam_width": 1001}, "beam_width 1001"),
        ({"length_penalty": -0.5}, "length_penalty -0.5"),
        ({"length_penalty": float("nan")}, "length_penalty nan"),
        ({"min_length": 5}, "captions have 0 to 4"),
        ({"min_length": -1}, "min_length -1"),
        ({"no_repeat_ngram": -1}, "no_repeat_ngram -1"),
        ({"beam_width": 3, "mbr_samples": 1001}, "mbr_samples 1001"),
        ({"mbr_samples": 5}, "nothing to choose from"),
    ],
)
def test_searches_that_cannot_be_are_refused(options, message):
    model = make_model()
    with pytest.raises(UserError, match=message):
        generate(model, features_for(model, 1), Search(**options))
