"""Which words an image's captions will have, and a beam's captions in that order."""

from types import SimpleNamespace

import numpy as np
import pytest

from captioning import caption_script
from captioning.captioners.loading import load_captioner
from captioning.cli import UserError
from captioning.decoders.ensemble import join
from captioning.decoders.expected_words import RIDGE, ExpectedWords, caption_vectors, sizes_for
from captioning.decoders.search import Hypothesis, generate, generate_n_best, ranked
from captioning.decoders.search_settings import Search
from captioning.features.reading import Features
from captioning.text import Vocabulary
from tests.decoder_tools import SIZE, features_for, tiny

VOCABULARY = Vocabulary(("startseq", "endseq", "a", "dog", "cat", "runs", "sits"), 7)
OUTPUTS = len(VOCABULARY) + 1
DOG, CAT = VOCABULARY.word_index["dog"], VOCABULARY.word_index["cat"]
CAPTIONS = (["a dog runs", "a dog unknown"], ["a cat sits", "a cat"], ["a dog sits", "a"])
IMAGES = 30


def training_images(places: int | None = None) -> tuple[Features, dict[str, list[str]]]:
    """Features of three kinds of images, and their captions."""
    random = np.random.default_rng(0)
    kinds = np.arange(IMAGES) % len(CAPTIONS)
    centres = 3 * random.normal(size=(len(CAPTIONS), SIZE))
    shape = (IMAGES, SIZE) if places is None else (IMAGES, places, SIZE)
    at = centres[kinds] if places is None else centres[kinds][:, None]
    matrix = (at + random.normal(size=shape)).astype(np.float16 if places else np.float32)
    ids = [f"image{number}" for number in range(IMAGES)]
    captions = {i: CAPTIONS[kind] for i, kind in zip(ids, kinds, strict=True)}
    return Features(ids, matrix, {}), captions


def fitted(places: int | None = None) -> ExpectedWords:
    features, captions = training_images(places)
    words = ExpectedWords(SIZE, OUTPUTS, sizes_for(IMAGES, SIZE, VOCABULARY))
    words.fit(features, captions, list(features), VOCABULARY)
    return words


def with_expected_words(name: str, **options):
    model = tiny(name, list(VOCABULARY.words), 7, expected_sizes=(SIZE, 16, 4), **options)
    features, captions = training_images(model.positions)
    model.expected_words.fit(features, captions, list(features), model.vocabulary)
    return model


def test_a_caption_is_its_words_by_their_rarity_at_length_one():
    rarity = np.random.default_rng(1).uniform(1, 2, OUTPUTS).astype(np.float32)
    rarity[0] = 0
    texts = ["a dog runs a dog", "a cat", "unknown", ""]

    found = caption_vectors(texts, VOCABULARY, rarity)

    for vector, text in zip(found, texts, strict=True):
        expected = np.zeros(OUTPUTS)
        for word in text.split():
            if word in VOCABULARY.word_index:
                expected[VOCABULARY.word_index[word]] += rarity[VOCABULARY.word_index[word]]
        if expected.any():
            expected /= np.sqrt((expected**2).sum())
        np.testing.assert_allclose(vector, expected, atol=1e-6)


def test_a_word_is_as_rare_as_the_images_with_it_are_few():
    rarity = np.array(fitted().rarity)
    assert rarity[VOCABULARY.word_index["a"]] == 0
    assert rarity[CAT] == pytest.approx(np.log(3), abs=1e-6)
    assert rarity[DOG] == pytest.approx(np.log(3 / 2), abs=1e-6)


@pytest.mark.parametrize("places", [None, 4])
def test_the_regression_is_the_closed_form_of_ridge_regression(places):
    features, captions = training_images(places)
    words = fitted(places)
    pooled = np.float64(features.matrix)
    pooled = pooled if places is None else pooled.mean(axis=1)
    weights = {name: np.float64(getattr(words, name)) for name in ("std", "mean", "phases")}
    to_waves = np.float64(words.directions) @ np.float64(words.frequencies)
    waves = np.cos((pooled - weights["mean"]) / weights["std"] @ to_waves + weights["phases"])
    rarity = np.array(words.rarity)
    targets = np.array(
        [caption_vectors(some, VOCABULARY, rarity).mean(axis=0) for some in captions.values()]
    )
    centred, answers = waves - waves.mean(axis=0), targets - targets.mean(axis=0)
    ridge = RIDGE * IMAGES * waves.shape[1] / 2 * np.eye(waves.shape[1])
    slopes = np.linalg.solve(centred.T @ centred + ridge, centred.T @ answers)

    found = np.array(words(features.matrix))

    np.testing.assert_allclose(found, targets.mean(axis=0) + centred @ slopes, atol=2e-3)


def test_many_random_waves_stand_for_a_gaussian_kernel():
    features, captions = training_images()
    words = ExpectedWords(SIZE, OUTPUTS, (SIZE, 1_000, 4))
    words.fit(features, captions, list(features), VOCABULARY)
    points = (features.matrix - np.array(words.mean)) / np.array(words.std) @ words.directions
    waves = np.cos(points @ np.array(words.frequencies) + np.array(words.phases))
    apart = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(waves @ waves.T * 2 / 1_000, np.exp(-apart / 2), atol=0.15)


def test_an_unseen_image_is_expected_to_have_the_words_of_those_like_it():
    features, _ = training_images()
    unseen = features.matrix[:2] + 0.1  # of a dog, and of a cat
    dog, cat = np.array(fitted()(unseen))
    assert dog[DOG] > dog[CAT] and cat[CAT] > cat[DOG]


def test_the_caption_with_the_expected_words_comes_first():
    words, expected = fitted(), np.zeros(OUTPUTS, np.float32)
    expected[CAT] = 1.0
    captions = ["a dog", "a cat", "a cat sits"]
    beam = [*map(Hypothesis, captions, [-2.0, -3.0, -8.0])]
    alike = words.likeness(captions, expected, VOCABULARY)

    def first(weight: float) -> str:
        [(best, *_)] = ranked([beam], [alike], weight)
        return best.caption

    # A caption's log-probability a word, with its end: -2/3, -1 and -2; "sits" is no cat.
    assert [first(weight) for weight in (0.0, 0.3, 0.4, 100.0)] == ["a dog"] * 2 + ["a cat"] * 2


@pytest.mark.parametrize("name", ["merge", "attention"])
def test_the_search_ranks_the_beams_captions_by_expected_words(name):
    model = with_expected_words(name)
    features = features_for(model, 4)
    plain = generate_n_best(model, features, Search(beam_width=4))
    found = generate_n_best(model, features, Search(beam_width=4, expected_words=20.0))
    for image, beam, chosen in zip(features, plain, found, strict=True):
        [expected] = np.array(model.expected_words(image[None]))
        captions = [one.caption for one in beam]
        alike = model.expected_words.likeness(captions, expected, model.vocabulary)
        assert [chosen] == ranked([beam], [alike], 20.0)


def test_images_together_have_the_captions_that_they_have_alone():
    model, search = with_expected_words("transformer"), Search(beam_width=3, expected_words=20.0)
    features = features_for(model, 5)
    together = [one.caption for one in generate(model, features, search)]
    alone = [generate(model, image[None], search)[0].caption for image in features]
    assert together == alone


def test_a_model_without_expected_words_ranks_by_samples():
    model = tiny("attention", list(VOCABULARY.words), 7)
    features = features_for(model, 3)
    both = generate(model, features, Search(beam_width=4, expected_words=20.0, mbr_samples=9))
    assert both == generate(model, features, Search(beam_width=4, mbr_samples=9))


def test_to_ask_a_model_without_them_for_a_ranking_is_refused():
    model = tiny("merge", list(VOCABULARY.words), 7)
    with pytest.raises(UserError, match="has no expected words"):
        Search(beam_width=4, expected_words=20.0).check_ranking(model, "old.keras")


def test_a_copy_may_leave_them_out_and_says_the_same():
    model = with_expected_words("attention", normalize=True)
    inputs = {"features": features_for(model, 2), "tokens": np.array([[1, 3], [1, 4]])}
    copy = model.copy_with(expected_sizes=None)
    assert copy.expected_words is None
    np.testing.assert_array_equal(copy.next_words(inputs), model.next_words(inputs))


def test_the_first_member_of_an_ensemble_may_go_on_with_its_expected_words():
    parts = [tiny("merge", list(VOCABULARY.words), 7), with_expected_words("merge", seed=5)]
    member = join(parts).first_member()
    features = features_for(member, 3)
    inputs = {"features": features, "tokens": np.array([[1, 3]] * 3)}
    np.testing.assert_array_equal(member.next_words(inputs), parts[0].next_words(inputs))
    found, expected = member.expected_words(features), parts[1].expected_words(features)
    np.testing.assert_array_equal(found, expected)


def test_a_file_keeps_them_and_an_ensemble_has_those_of_the_first_that_has_any(tmp_path):
    without, member = tiny("attention", list(VOCABULARY.words), 7), with_expected_words("attention")
    features = features_for(member, 3)
    join([without, member]).save(tmp_path / "model.keras")
    loaded = load_captioner(tmp_path / "model.keras")
    assert [member.expected_words for member in loaded.members] == [None, None]
    found, expected = loaded.expected_words(features), member.expected_words(features)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("second", [None, "older.keras"])
def test_either_model_is_asked_for_the_words_that_it_shall_rank_by(second, monkeypatch):
    class Older:
        """A captioner of a model without expected words."""

        def __init__(self, path, *, search, **_options):
            self.search, self.model = search, SimpleNamespace(expected_words=None)

    monkeypatch.setattr("captioning.captioner.Captioner", Older)
    given = ["5_test.py", "--model", "older.keras", "--expected-words", "5"]
    monkeypatch.setattr("sys.argv", given)

    with pytest.raises(UserError, match=r"older\.keras: has no expected words"):
        caption_script.load(caption_script.parse_arguments("About."), second)
