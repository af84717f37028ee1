"""`tools/random_encoder.py`: the floor of a comparison."""

import numpy as np

from captioning.encoders.loading import load_encoder
from captioning.encoders.weights import read_recipe
from tests.conftest import assert_refused, run_script, succeed
from tests.pretext_tools import write_images


def test_the_features_of_its_images_are_normalised(tmp_path):
    (write_images(tmp_path / "images", 6) / "broken.png").write_bytes(b"broken")
    given = ("--encoder", "alexnet", "--images", "images", "--image-size", 64, "--seed", 3)
    given += ("--output", "r.weights.h5")
    printed = succeed(run_script("tools/random_encoder.py", *given, cwd=tmp_path))

    assert "skipped 1 unreadable images: images/broken.png" in printed
    encoder = load_encoder("alexnet", tmp_path / "r.weights.h5")
    norms = [layer for layer in encoder.network.layers if hasattr(layer, "moving_mean")]
    assert all(np.abs(layer.moving_mean.numpy()).max() > 0 for layer in norms)
    assert encoder.preprocessing.size == 64
    assert read_recipe(tmp_path / "r.weights.h5")["pictures_seen"] == 0


def test_a_file_of_another_kind_is_refused(tmp_path):
    result = run_script("tools/random_encoder.py", "--output", "r.h5", cwd=tmp_path)
    assert_refused(result, "r.h5: end the name in .weights.h5")
