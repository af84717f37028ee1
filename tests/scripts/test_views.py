"""Training on views of the pictures and on frequent words only, as a user does it."""

import json
import shutil

import pytest

from captioning.captioners.loading import load_captioner
from captioning.captioners.tokenizer import read_tokenizer
from captioning.features.reading import read_features
from tests.conftest import assert_refused, run_script

EXTRACT, TRAIN, TOKENIZE, CAPTION = (
    "1_data_preprocessor.py", "2_train_IC_model.py", "4_tokenizer.py", "5_test.py",
)  # fmt: skip


def extract(data, cwd, *arguments):
    return run_script(EXTRACT, "--images", data.images, "--captions", data.captions,
                      "--batch-size", 6, *arguments, cwd=cwd)  # fmt: skip


def train(data, cwd, *arguments):
    return run_script(TRAIN, "--train-split", data.train, "--dev-split", data.dev, "--epochs", 1,
                      "--batch-size", 4, *arguments, cwd=cwd)  # fmt: skip


@pytest.fixture(scope="module")
def views(pipeline, tmp_path_factory):
    """A folder with what stages 1 and 4 left and, beside the features, two views of them."""
    folder = tmp_path_factory.mktemp("views")
    for name in ("features.pkl", "features.pkl.json", "descriptions.txt", "descriptions.txt.json"):
        shutil.copy(pipeline.work / name, folder)
    for number in (1, 2):
        result = extract(pipeline.data, folder, "--view", number)
        assert result.returncode == 0, result.stderr
        assert f"features-view{number}.pkl: 12 vectors" in result.stdout
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
    losses = []
    for name, more in (
        ("with", ["--views", "features-view1.pkl", "features-view2.pkl"]),
        ("without", []),
    ):
        result = train(pipeline.data, views, "--output-dir", tmp_path / name, *more)
        assert result.returncode == 0, result.stderr
        losses.append((tmp_path / name / "history.csv").read_text().splitlines()[1].split(",")[1])
    assert losses[0] != losses[1]


def test_views_are_taken_for_what_they_are(pipeline, views, tmp_path):
    data = pipeline.data
    assert_refused(
        train(data, views, "--features", "features-view1.pkl"),
        "features-view1.pkl",
        "parts of the pictures",
        "--views",
    )
    assert_refused(train(data, views, "--views", "features.pkl"), "features.pkl", "whole pictures")
    assert_refused(
        extract(data, views, "--view", 1, "--features", "features.pkl"),
        "features.pkl",
        "a view should not replace",
    )
    assert_refused(extract(data, views, "--view", 1, "--only", "captions"), "--view is of features")


def test_rare_words_are_left_out_of_model_and_tokenizer_alike(pipeline, views, tmp_path):
    data = pipeline.data
    trained = train(data, views, "--min-count", 7, "--output-dir", tmp_path)
    assert trained.returncode == 0, trained.stderr
    words = load_captioner(tmp_path / "checkpoints" / "best_model.keras").vocabulary.words
    assert {"a", "square"} < set(words)
    assert "red" not in words  # 3 pictures to train, 2 captions each

    shutil.copy(views / "descriptions.txt", tmp_path)
    shutil.copy(views / "descriptions.txt.json", tmp_path)
    made = run_script(TOKENIZE, "--train-split", data.train, cwd=tmp_path)
    assert f"{len(words)} words of 7 uses or more" in made.stdout
    assert read_tokenizer(tmp_path / "tokenizer.pkl", 20).words == words
    # The model carries its words: another tokenizer beside it does not stop it.
    run_script(TOKENIZE, "--train-split", data.train, "--min-count", 1, cwd=tmp_path)
    captioned = run_script(CAPTION, data.images / data.names[0], cwd=tmp_path)
    assert captioned.returncode == 0, captioned.stderr


def test_resuming_with_other_views_is_refused(pipeline, views, tmp_path):
    arguments = ("--output-dir", tmp_path, "--views")
    assert train(pipeline.data, views, *arguments, "features-view1.pkl").returncode == 0
    result = train(pipeline.data, views, *arguments, "features-view2.pkl", "--resume")
    assert_refused(result, "views was ['features-view1.pkl'], not ['features-view2.pkl']")
    settings = json.loads((tmp_path / "checkpoints" / "training_settings.json").read_text())
    assert settings["views"] == ["features-view1.pkl"]
