"""Training on views of the pictures and on frequent words only, as a user does it."""

import shutil

import pytest

from captioning.captioners.loading import load_captioner
from captioning.captioners.tokenizer import read_tokenizer
from captioning.features.reading import read_features
from tests.conftest import assert_refused, history_of, run_script, succeed


def extract(data, cwd, *arguments):
    given = (*data.files, "--batch-size", 6, *arguments)
    return run_script("1_data_preprocessor.py", *given, cwd=cwd)


def train(data, cwd, *arguments):
    given = (*data.splits, "--epochs", 1, "--batch-size", 4, *arguments)
    return run_script("2_train_IC_model.py", *given, cwd=cwd)


@pytest.fixture(scope="module")
def views(pipeline, tmp_path_factory):
    """A folder with what stages 1 and 4 left and, beside the features, two views of them."""
    folder = tmp_path_factory.mktemp("views")
    for name in ("features.pkl", "descriptions.txt", "descriptions.txt.json"):
        shutil.copy(pipeline.work / name, folder)
    for number in (1, 2):
        printed = succeed(extract(pipeline.data, folder, "--view", number))
        assert f"features-view{number}.pkl: 12 vectors" in printed
    return folder


def test_a_view_is_of_the_same_pictures_seen_otherwise(pipeline, views):
    whole, one, two = (
        read_features(views / name)
        for name in ("features.pkl", "features-view1.pkl", "features-view2.pkl")
    )
    assert list(one) == list(whole)
    assert (one.info["view"], two.info["view"]) == (1, 2)
    assert not any((one[name] == whole[name]).all() for name in whole)
    assert not any((one[name] == two[name]).all() for name in whole)
    before = (pipeline.work / "descriptions.txt").read_text()
    assert (views / "descriptions.txt").read_text() == before


def test_training_on_views_differs_from_training_without(pipeline, views, tmp_path):
    losses = {}
    given = ("--views", "features-view1.pkl", "features-view2.pkl")
    for name, more in (("with", given), ("without", ())):
        succeed(train(pipeline.data, views, "--output-dir", tmp_path / name, *more))
        [losses[name]] = [row["loss"] for row in history_of(tmp_path / name)]
    assert losses["with"] != losses["without"]


def test_views_are_taken_for_what_they_are(pipeline, views):
    data, view = pipeline.data, "features-view1.pkl"
    whole = ("--features", "features.pkl")
    for result, parts in (
        (train(data, views, "--features", view), (view, "parts of the pictures", "--views")),
        (train(data, views, "--views", "features.pkl"), ("features.pkl", "whole pictures")),
        (extract(data, views, "--view", 1, *whole), ("features.pkl", "view should not replace")),
    ):
        assert_refused(result, *parts)


def test_rare_words_are_left_out_of_model_and_tokenizer_alike(pipeline, views, tmp_path):
    data = pipeline.data
    succeed(train(data, views, "--min-count", 7, "--output-dir", tmp_path))
    words = load_captioner(tmp_path / "checkpoints" / "best_model.keras").vocabulary.words
    assert {"a", "square"} < set(words)
    assert "red" not in words  # 3 pictures to train, 2 captions each

    shutil.copy(views / "descriptions.txt", tmp_path)
    shutil.copy(views / "descriptions.txt.json", tmp_path)
    made = succeed(run_script("4_tokenizer.py", "--train-split", data.train, cwd=tmp_path))
    assert f"{len(words)} words that occur 7 times or more" in made
    assert read_tokenizer(tmp_path / "tokenizer.pkl", 20).words == words
