"""Choosing among a beam's captions by those that the model draws."""

from collections import Counter

import numpy as np
import pytest
from keras import ops

from captioning.cli import UserError
from captioning.decoders import minimum_bayes_risk
from captioning.decoders.minimum_bayes_risk import LIKENESS, _words_at, draw, likeness
from captioning.decoders.search import MOST_ROWS, Hypothesis, generate, generate_n_best, ranked
from captioning.decoders.search_settings import Search
from captioning.text import Vocabulary
from tests.decoder_tools import NAMES, features_for, tiny

WORDS = ["startseq", "endseq", "a", "b", "c"]
VOCABULARY = Vocabulary(("startseq", "endseq", "a", "dog", "runs", "cat", "sits", "fast"), 9)


@pytest.fixture(params=[0.0, 0.1], ids=["plain", "smoothed"])
def model(request):
    return tiny("attention", WORDS, max_length=6, label_smoothing=request.param)


def tempered(model, image, tokens: np.ndarray) -> np.ndarray:
    """Probabilities (N, T, V) of the words after `tokens`; never the start word or none."""
    images = np.repeat(image[None], len(tokens), axis=0)
    logits = np.array(model.next_words({"features": images, "tokens": tokens}))
    logits /= minimum_bayes_risk.SMOOTHED_TEMPERATURE if model.label_smoothing else 1.0
    logits[:, :, [0, model.vocabulary.start]] = -np.inf
    return np.array(ops.softmax(logits))


def test_first_words_are_drawn_as_often_as_the_model_says_them(model):
    images, count = features_for(model, 3), 500
    for image, drawn in zip(images, draw(model, images, count), strict=True):
        found = Counter()
        for caption, times in drawn.items():
            found[caption.split()[0] if caption else "endseq"] += times
        shares = tempered(model, image, np.array([[model.vocabulary.start]]))[0, 0]
        for word, index in model.vocabulary.word_index.items():
            # They are spread evenly, so by less than one more or less.
            assert abs(found[word] - count * shares[index]) < 1


def test_whole_captions_are_drawn_as_often_as_the_model_says_them(model, monkeypatch):
    monkeypatch.setattr(minimum_bayes_risk, "WAITED", 1.0)
    [image], count = images, _ = features_for(model, 1), 4000
    [drawn] = draw(model, images, count)
    # The end of the longest captions, which have four words, is not chosen.
    chosen = [model.vocabulary.encode(caption)[1:5] for caption in drawn]
    words = np.array([one + [0] * (4 - len(one)) for one in chosen])
    before = np.insert(words[:, :-1], 0, model.vocabulary.start, axis=1)
    shares = np.take_along_axis(tempered(model, image, before), words[:, :, None], axis=2)
    expected = count * np.where(words == 0, 1.0, shares[:, :, 0]).prod(axis=1)
    # Five standard deviations of independent draws, which spread more than these.
    assert (np.abs(np.array([*drawn.values()]) - expected) < 5 * np.sqrt(expected) + 1).all()


@pytest.mark.parametrize(("waited", "least"), [(1.0, 30), (0.9, 27), (0.5, 15)])
def test_every_draw_is_counted_that_is_waited_for(model, monkeypatch, waited, least):
    images = features_for(model, 4)
    monkeypatch.setattr(minimum_bayes_risk, "WAITED", 1.0)
    every = [Counter(drawn) for drawn in draw(model, images, 30)]
    monkeypatch.setattr(minimum_bayes_risk, "WAITED", waited)
    for drawn, all_of_them in zip(draw(model, images, 30), every, strict=True):
        assert least <= sum(drawn.values()) <= 30
        assert Counter(drawn) <= all_of_them


@pytest.mark.parametrize("name", NAMES)
def test_pictures_together_equal_one_at_a_time(name):
    # Long captions: what rounding does to a word must not do more to those after it.
    model = tiny(name, WORDS, max_length=30)
    images = features_for(model, 5)
    together = draw(model, images, 20)
    assert together == [draw(model, images[n : n + 1], 20)[0] for n in range(5)]


def test_a_caption_with_more_of_the_drawn_ones_words_is_more_like_them():
    drawn = {"a dog runs fast": 3, "a dog sits": 1}
    alike = likeness(["a dog runs", "dog", "a cat sits"], drawn, VOCABULARY)
    assert alike.argmax() == 0


def test_a_caption_drawn_alone_has_a_likeness_of_ten_and_one_without_its_words_of_none():
    alike = likeness(["a dog runs fast", "cat"], {"a dog runs fast": 7}, VOCABULARY)
    np.testing.assert_allclose(alike, [10, 0])


def test_likeness_counts_beside_the_log_probability_a_word():
    # Worth 10 times the weight and -20 / 5; the other is worth that and a little less, or more.
    for margin, first in ((-0.1, 0), (0.1, 1)):
        other = 2 * (10 * LIKENESS - 20 / 5 + margin)
        beam = [Hypothesis("a dog runs fast", -20.0), Hypothesis("cat", other)]
        [(best, *_)] = ranked([beam], [np.array([10, 0])], LIKENESS)
        assert best == beam[first]


def test_an_ngram_is_as_rare_as_its_rarest_word():
    # Both share a word and a pair with what was drawn; "fast" is the rarest word of all.
    captions, drawn = ["a dog", "a fast"], {"a dog x x x a fast": 1}
    vocabulary = Vocabulary(("startseq", "endseq", "a", "dog", "x", *"bcdefgh", "fast"), 9)
    dog, fast = likeness(captions, drawn, vocabulary)
    assert dog < fast


def test_a_word_that_the_vocabulary_lacks_is_as_rare_as_its_last():
    # One shares the unknown word, one a frequent one; by nothing else do they differ.
    frequent, unknown = likeness(["a x", "strange x"], {"a strange": 1}, VOCABULARY)
    assert frequent < unknown


def test_a_word_is_the_one_of_a_running_sum_in_whose_share_the_place_lies():
    random = np.random.default_rng(2)
    logits = 3 * random.normal(size=(40, 150)).astype(np.float32)
    positions = random.random((40, 3))
    positions[0, 0] = 0  # of the start word and of none there are no shares

    tokens = _words_at(positions, logits, VOCABULARY)

    for row, places, found in zip(logits, positions, tokens, strict=True):
        shares = np.exp(row, dtype=np.float64)
        shares[[0, VOCABULARY.start]] = 0
        expected = np.searchsorted(np.cumsum(shares), places * shares.sum(), "right")
        np.testing.assert_array_equal(found, expected)


def test_a_caption_that_no_word_can_follow_ends():
    logits = np.full((1, 6), -1000.0, np.float32)
    logits[0, VOCABULARY.start] = 0.0
    tokens = _words_at(np.full((1, 1), 0.7), logits, VOCABULARY)
    assert tokens.item() == VOCABULARY.end


def test_the_rows_of_a_batch_are_bounded(model, monkeypatch):
    """Those of 200 pictures with 20 captions each are more than memory is to be taken for."""
    rows, step = [], model.compiled_step

    def counted(tokens, *more):
        rows.append(len(tokens))
        return step(tokens, *more)

    monkeypatch.setattr(model, "compiled_step", counted)
    generate(model, features_for(model, 200), Search(beam_width=2, mbr_samples=20))
    assert MOST_ROWS / 2 < max(rows) <= MOST_ROWS


def test_the_search_ranks_the_beams_captions_anew(model):
    features = features_for(model, 4)
    beams = generate_n_best(model, features, Search(beam_width=4))
    found = generate_n_best(model, features, Search(beam_width=4, mbr_samples=15))
    for image, beam, chosen in zip(features, beams, found, strict=True):
        [drawn] = draw(model, image[None], 15)
        captions = [one.caption for one in beam]
        [expected] = ranked([beam], [likeness(captions, drawn, model.vocabulary)], LIKENESS)
        assert [one.caption for one in chosen] == [one.caption for one in expected]


def test_features_and_weights_that_are_not_numbers_are_refused(model):
    features, search = features_for(model, 2), Search(beam_width=3, mbr_samples=5)
    with pytest.raises(UserError, match="features are not finite"):
        generate(model, np.full_like(features, np.nan), search)
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    with pytest.raises(UserError, match="weights are not finite"):
        generate(model, features, search)
