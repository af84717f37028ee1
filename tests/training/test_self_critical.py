"""Self-critical training: draws, advantages, and that what is rewarded becomes more probable."""

import keras
import numpy as np
import pytest

from captioning.evaluation.cider import CiderD
from captioning.features.reading import Features
from captioning.training.run import Run
from captioning.training.self_critical import (
    advantages,
    draw,
    scorer,
    train_epoch,
    validate,
    words_of,
)
from tests.decoder_tools import NAMES, features_for, tiny

WORDS = ["startseq", "endseq", *"abcdefgh"]


@pytest.mark.parametrize("name", NAMES)
def test_first_words_are_drawn_as_often_as_the_model_says(name):
    model = tiny(name, WORDS, 7)
    features = features_for(model, 2)
    drawn = draw(model, features, 4000, keras.random.SeedGenerator(0))

    context, state = model.start(features)
    logits, _ = model.step(np.array([model.vocabulary.start] * 2), context, state)
    logits = np.array(keras.ops.convert_to_numpy(logits), np.float64)
    logits[:, [0, model.vocabulary.start]] = -np.inf
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.abs(expected[0] - expected[1]).max() > 0.1  # the images differ by more than chance
    for image, words in enumerate(drawn[:, 0].reshape(2, 4000)):
        found = np.bincount(words, minlength=model.outputs) / 4000
        np.testing.assert_allclose(found, expected[image], atol=4 * np.sqrt(0.25 / 4000))


def test_captions_end_once_or_are_cut_off():
    model = tiny("merge", WORDS, 7)
    drawn = draw(model, features_for(model, 3), 50, keras.random.SeedGenerator(1))
    assert drawn.shape[1] == 6
    ended = [row for row in drawn.tolist() if model.vocabulary.end in row]
    for row in ended:
        end = row.index(model.vocabulary.end)
        assert all(row[:end])
        assert not any(row[end + 1 :])
    cut = [row for row in drawn.tolist() if model.vocabulary.end not in row]
    assert ended and cut
    assert all(map(all, cut))
    assert model.vocabulary.start not in drawn


def test_an_end_that_was_not_drawn_is_not_rewarded():
    model = tiny("merge", WORDS, 7)
    a, end = model.vocabulary.word_index["a"], model.vocabulary.end
    assert words_of(model, np.array([a, a, end, 0])) == ["a", "a", "endseq"]
    assert words_of(model, np.array([a, a, a, a])) == ["a", "a", "a", "a"]


def test_advantage_is_the_reward_less_the_mean_of_the_others():
    rewards = np.array([[1.0, 2.0, 6.0], [3.0, 3.0, 3.0]])
    assert np.allclose(advantages(rewards), [[-3.0, -1.5, 4.5], [0.0, 0.0, 0.0]])


@pytest.mark.slow
def test_rewarded_captions_become_more_probable(tmp_path):
    model = tiny("merge", WORDS, 7)
    ids = ["x", "y"]
    features = Features(ids, np.eye(2, model.feature_size, dtype=np.float32), {})
    reward = scorer({"x": ["a b c"], "y": ["d e f"]}, ids)
    model.compile(optimizer=keras.optimizers.Adam(0.02), jit_compile=False)
    run = Run(model, tmp_path, {}, means=("reward",))
    before = validate(model, features, ids, reward)
    for epoch in range(60):
        train_epoch(run, features, ids, reward, epoch, samples=20, batch_size=2, seed=0)
    assert validate(model, features, ids, reward) > before + 2


def test_the_end_word_is_scored():
    reward = scorer({"x": ["a b c"], "y": ["d e f"]}, ["x", "y"])
    assert isinstance(reward, CiderD)
    assert reward.score("x", ["a", "b", "c", "endseq"]) == pytest.approx(10)
    assert reward.score("x", ["a", "b", "c"]) < 9
