"""`tools/random_encoder.py`: the floor of a comparison."""

import numpy as np
import pytest

from captioning.encoders.loading import load_encoder
from captioning.encoders.weights import read_recipe
from tests.conftest import assert_refused, run_script, succeed
from tests.pretext_tools import write_images


@pytest.fixture
def folder(tmp_path):
    write_images(tmp_path / "images", 6)
    return tmp_path


def test_the_features_of_its_images_are_normalised(folder):
    (folder / "images" / "broken.png").write_bytes(b"broken")
    given = ("--encoder", "alexnet", "--images", "images", "--image-size", 64, "--seed", 3)
    given += ("--output", "r.weights.h5")
    printed = succeed(run_script("tools/random_encoder.py", *given, cwd=folder))

    assert "skipped 1 unreadable images: images/broken.png" in printed
    encoder = load_encoder("alexnet", folder / "r.weights.h5")
    norms = [layer for layer in encoder.network.layers if hasattr(layer, "moving_mean")]
    assert all(np.abs(layer.moving_mean.numpy()).max() > 0 for layer in norms)
    assert encoder.preprocessing.size == 64
    assert read_recipe(folder / "r.weights.h5")["pictures_seen"] == 0


def test_a_file_of_another_kind_is_refused(folder):
    result = run_script("tools/random_encoder.py", "--output", "r.h5", cwd=folder)
    assert_refused(result, "r.h5: end the name in .weights.h5")
