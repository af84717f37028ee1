from collections import Counter

import numpy as np
import pytest
from keras import ops

from captioning.captioners.loading import load_captioner, load_trained
from captioning.cli import UserError
from captioning.decoders import search
from captioning.decoders.ensemble import join
from captioning.decoders.search import generate
from captioning.decoders.search_settings import Search
from tests.decoder_tools import features_for, tiny
from tests.keras_files import tampered

WORDS = ["startseq", "endseq", "a", "dog", "cat", "sits", "runs"]
LONGEST = 7
TOKENS = np.array([[1, 3, 4, 6], [1, 5, 7, 3]])


def members(*names: str) -> list:
    return [tiny(name, WORDS, LONGEST, seed=seed) for seed, name in enumerate(names)]


@pytest.mark.parametrize("names", [("attention", "transformer", "attention"), ("merge", "merge")])
def test_the_next_word_is_by_the_mean_of_the_members_probabilities(names, tmp_path):
    parts = members(*names)
    inputs = {"features": features_for(parts[0], 2), "tokens": TOKENS}
    join(parts).save(tmp_path / "model.keras")

    found = np.exp(np.array(load_captioner(tmp_path / "model.keras").next_words(inputs)))

    expected = np.mean([np.array(ops.softmax(one.next_words(inputs))) for one in parts], axis=0)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("width", [1, 3])
def test_search_over_a_mixed_ensemble_scores_as_teacher_forcing_does(width):
    model = join(members("attention", "transformer"))
    features = features_for(model, 3)
    found = generate(model, features, Search(beam_width=width))
    for grid, one in zip(features, found, strict=True):
        tokens = np.array([model.vocabulary.encode(one.caption)])
        scores = model.next_words({"features": grid[None], "tokens": tokens[:, :-1]})
        chosen = np.take_along_axis(np.array(scores), tokens[:, 1:, None], axis=2)
        assert one.log_probability == pytest.approx(float(chosen.sum()), abs=1e-4)


def test_where_an_ensemble_looks_is_the_members_mean():
    parts = members("attention", "transformer")
    inputs = {"features": features_for(parts[0], 2), "tokens": TOKENS}
    expected = np.mean([np.array(one.attention(inputs)) for one in parts], axis=0)
    np.testing.assert_allclose(join(parts).attention(inputs), expected, atol=1e-6)


def test_each_member_draws_its_part_of_the_captions(monkeypatch):
    model, asked = join(members("attention", "transformer")), []

    def draw(drawer, features, count):
        asked.append((drawer, count))
        return [Counter(a=count)] * len(features)

    monkeypatch.setattr(search, "draw", draw)
    generate(model, features_for(model, 2), Search(beam_width=2, mbr_samples=3))
    assert asked == [(model.members[0], 2), (model.members[1], 1)]


def test_training_goes_on_from_the_first_member(tmp_path):
    parts = members("attention", "transformer")
    join(parts).save(tmp_path / "ensemble.keras")

    found = load_trained(tmp_path / "ensemble.keras", tmp_path)

    assert type(found) is type(parts[0])
    for ours, theirs in zip(found.get_weights(), parts[0].get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_an_ensemble_that_claims_more_than_it_holds_is_refused(tmp_path):
    path = tmp_path / "model.keras"
    join(members("transformer", "transformer")).save(path)
    deep, less, foreign = {"depth": 10**9}, {"depth": -(10**9)}, {"kind": "Lambda"}

    for first, second, times in (({}, deep, 1), (less, deep, 1), ({}, {}, 1000), (foreign, {}, 1)):

        def change(config, first=first, second=second, times=times):
            one, other = config["config"]["members"]
            config["config"]["members"] = [one | first, other | second] * times

        with pytest.raises(UserError):
            load_captioner(tampered(path, tmp_path / "evil.keras", config=change))
