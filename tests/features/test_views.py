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


ANOTHER = "was made by another encoder, or in another way"


@pytest.mark.parametrize(
    "other, reason",
    [
        ({"encoder": "f"}, ANOTHER),
        ({"weights_sha256": "v"}, ANOTHER),
        ({"width": 5}, ANOTHER),
        ({"preprocessing": "squash(9)"}, ANOTHER),
        ({"ids": "cd"}, "holds none of the pictures of"),
    ],
)
def test_a_view_by_another_encoder_or_of_other_pictures_is_refused(
    other, reason, features, tmp_path
):
    path = written(tmp_path / "view.pkl", view=1, **other)
    with pytest.raises(UserError, match=reason):
        read_views([path], features, "features.pkl")
