"""Self-critical training: draws, advantages, and that what is rewarded becomes more probable."""

import csv
import subprocess

import keras
import numpy as np
import pytest

from captioning.evaluation.cider import CiderD
from captioning.features.reading import Features
from captioning.training.self_critical import advantages, draw, judge, scorer, steps, words_of
from tests import zygote
from tests.conftest import ROOT, assert_refused, run_script
from tests.decoder_tools import NAMES, features_for, tiny


def run_module(*arguments) -> subprocess.CompletedProcess:
    return zygote.run([*map(str, arguments)], ROOT)


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
def test_rewarded_captions_become_more_probable():
    model = tiny("merge", WORDS, 7)
    ids = ["x", "y"]
    features = Features(ids, np.eye(2, model.feature_size, dtype=np.float32), {})
    reward = scorer({"x": ["a b c"], "y": ["d e f"]}, ids)
    model.compile(optimizer=keras.optimizers.Adam(0.02), jit_compile=False)
    before = judge(model, features, ids, reward)
    for epoch in range(60):
        list(steps(model, features, ids, reward, samples=20, batch_size=2, seed=0, epoch=epoch))
    assert judge(model, features, ids, reward) > before + 2


def test_the_end_word_is_scored():
    reward = scorer({"x": ["a b c"], "y": ["d e f"]}, ["x", "y"])
    assert isinstance(reward, CiderD)
    assert reward.score("x", ["a", "b", "c", "endseq"]) == pytest.approx(10)
    assert reward.score("x", ["a", "b", "c"]) < 9


@pytest.mark.slow
def test_a_trained_model_goes_on_as_a_user_runs_it(pipeline, tmp_path):
    data, work = pipeline.data, pipeline.work
    command = [
        "-m", "captioning.self_critical",
        "--model", work / "checkpoints" / "best_model.keras",
        "--features", work / "features.pkl", "--descriptions", work / "descriptions.txt",
        "--train-split", data.train, "--dev-split", data.dev, "--batch-size", 4,
        "--output-dir", tmp_path / "out",
    ]  # fmt: skip
    assert_refused(run_module(*command, "--samples", 1), "--samples 1")
    (tmp_path / "one.txt").write_text(data.names[0])
    assert_refused(run_module(*command, "--dev-split", tmp_path / "one.txt"), "two or more")
    for epochs, more in ((1, []), (2, ["--resume"])):
        result = run_module(*command, "--epochs", epochs, *more)
        assert result.returncode == 0, result.stderr
    with open(tmp_path / "out" / "history.csv", newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    captioned = run_script(
        "5_test.py", data.images / data.names[0], "--model",
        tmp_path / "out" / "checkpoints" / "best_model.keras", cwd=tmp_path,
    )  # fmt: skip
    assert captioned.returncode == 0, captioned.stderr
