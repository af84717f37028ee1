"""Views of the features: of the same pictures, by the same encoder, or refused."""

import numpy as np
import pytest

from captioning.cli import UserError
from captioning.features.files import write_features
from captioning.features.reading import read_features, read_views

INFO = {"encoder": "e", "weights_sha256": "w", "preprocessing": "squash(8)"}


def written(path, ids="ab", width=4, **info):
    rows = np.ones((len(ids), width), np.float32)
    write_features(path, [(list(ids), rows)], {**INFO, **info}, rows=len(ids))
    return path


@pytest.fixture
def features(tmp_path):
    return read_features(written(tmp_path / "features.pkl"))


def test_a_view_of_the_same_pictures_is_taken(features, tmp_path):
    path = written(tmp_path / "view.pkl", view=1)
    [view] = read_views([path], features, "features.pkl")
    assert list(view) == ["a", "b"]


@pytest.mark.parametrize(
    "other",
    [{"encoder": "f"}, {"weights_sha256": "v"}, {"preprocessing": "squash(9)"}, {"width": 5}],
)
def test_a_view_of_another_encoder_is_refused(other, features, tmp_path):
    path = written(tmp_path / "view.pkl", view=1, **other)
    with pytest.raises(UserError, match="was made by another encoder, or in another way"):
        read_views([path], features, "features.pkl")


def test_a_view_of_other_pictures_is_refused(features, tmp_path):
    path = written(tmp_path / "view.pkl", ids="cd", view=1)
    with pytest.raises(UserError, match="holds none of the pictures of"):
        read_views([path], features, "features.pkl")
