"""Views of the features: of the same pictures, by the same encoder, or refused."""

import numpy as np
import pytest

from captioning.cli import UserError
from captioning.features.files import write_features
from captioning.features.reading import read_features, read_views

INFO = {"encoder": "e", "weights_sha256": "w", "preprocessing": "squash(8)"}


def written(path, width=4, **info):
    rows = np.ones((2, width), np.float32)
    write_features(path, [(["a", "b"], rows)], {**INFO, **info}, rows=2)
    return path


@pytest.mark.parametrize(
    "other",
    [{"encoder": "f"}, {"weights_sha256": "v"}, {"width": 5}, {"preprocessing": "squash(9)"}],
)
def test_a_view_by_another_encoder_is_refused(other, tmp_path):
    features = read_features(written(tmp_path / "features.pkl"))
    path = written(tmp_path / "view.pkl", view=1, **other)
    with pytest.raises(UserError, match="was made by another encoder, or in another way"):
        read_views([path], features, "features.pkl")
