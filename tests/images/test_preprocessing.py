"""What is done with pictures before an encoder: as text, as pixels, and checked on use."""

import keras
import numpy as np
import pytest
from PIL import Image

from captioning.captioners.loading import check_features, encoder_of, load_captioner
from captioning.cli import UserError
from captioning.encoders.loading import load_encoder
from captioning.encoders.table import build_network
from captioning.encoders.weights import save_encoder
from captioning.features.reading import read_features
from captioning.images.preprocessing import Preprocessing, parse
from tests.conftest import run_script, succeed

USUAL = Preprocessing()


GOOD = """squash(224)|imagenet resize(256)|crop(224)|unit squash(64)|centred
resize(72)|crop(64)|standardized squash(96)|mean(1,2.5,3)|std(4,5,6.25)"""
BAD = """224 squash() squash(0) squash(99999) resize(200)|crop(224) crop(224) squash(224)|zeros
squash(224)|mean(1,2)|std(1,2,3) squash(224)|mean(1,2,3)|std(0,1,1)
squash(224)|mean(1,2,nan)|std(1,1,1) squash(224)|imagenet|unit"""


@pytest.mark.parametrize("text", GOOD.split())
def test_text_round_trip(text):
    assert str(parse(text, USUAL)) == text


def test_a_text_without_scale_takes_the_usual_one():
    assert parse("resize(146)|crop(128)", USUAL) == USUAL._replace(size=128, resize=146)


@pytest.mark.parametrize("text", ["", *BAD.split()])
def test_other_texts_are_refused(text):
    with pytest.raises(UserError, match="preprocessing"):
        parse(text, USUAL)


def test_resize_and_crop_equal_two_steps():
    """In one step from the picture, as near to resizing and then cropping as two filters are."""
    x, y = np.meshgrid(np.arange(120), np.arange(80))
    image = Image.fromarray(np.stack([2 * x, 3 * y, x + y], -1).astype(np.uint8))
    small = image.resize((60, 40), Image.Resampling.BILINEAR)
    expected = np.asarray(small.crop((14, 4, 46, 36))).astype(int)
    got = np.asarray(Preprocessing(32, 40).square(image, 32)).astype(int)
    assert np.abs(got - expected).max() <= 2
    assert np.abs(np.asarray(USUAL.square(image, 32)).astype(int) - expected).max() > 20


@pytest.mark.parametrize("scale", ["unit", "standardized"])
def test_the_networks_first_step_equals_numpy(scale):
    network = build_network("resnet18", scale=parse(f"squash(224)|{scale}", USUAL)[2:])
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    pixels[1, ..., 2] = 7  # flat
    mean, std = pixels.mean(axis=(1, 2), keepdims=True), pixels.std(axis=(1, 2), keepdims=True)
    expected = pixels / 255 if scale == "unit" else (pixels - mean) / (std + 1e-9)
    scaled = keras.Model(network.input, network.layers[1].output)(pixels)
    np.testing.assert_allclose(scaled, expected, atol=1e-4)


def test_weights_say_what_they_want(tmp_path):
    path, recipe = tmp_path / "a.weights.h5", {"preprocessing": "resize(80)|crop(64)|unit"}
    save_encoder(build_network("alexnet"), path, recipe)
    encoder = load_encoder("alexnet", path)
    assert encoder.info["preprocessing"] == recipe["preprocessing"]
    assert encoder.preprocessing == Preprocessing(64, 80, (0.0,) * 3, (255.0,) * 3)
    assert encoder.info["image_size"] == 64
    other = load_encoder("alexnet", path, preprocessing="squash(96)")
    assert other.info["preprocessing"] == "squash(96)|unit"


@pytest.mark.slow
def test_from_features_to_captions_it_is_kept_and_checked(dataset, tmp_path):
    """Stage 1 is told, the features say it, the model records it, and others are refused."""
    given = (*dataset.files, "--encoder", "resnet18", "--preprocessing", "resize(72)|crop(64)|unit")
    succeed(run_script("1_data_preprocessor.py", *given, cwd=tmp_path))
    succeed(run_script("2_train_IC_model.py", *dataset.splits, "--epochs", 1, cwd=tmp_path))

    path = tmp_path / "checkpoints" / "best_model.keras"
    model, features = load_captioner(path), read_features(tmp_path / "features.pkl")
    assert features.info["preprocessing"] == "resize(72)|crop(64)|unit"
    assert encoder_of(model, path).preprocessing == Preprocessing(64, 72, (0.0,) * 3, (255.0,) * 3)
    features.info["preprocessing"] = "squash(64)|imagenet"
    wanted = r"made by .*squash\(64\)\|imagenet.* --preprocessing 'resize\(72\)\|crop\(64\)\|unit'$"
    with pytest.raises(UserError, match=wanted):
        check_features(model, path, features, tmp_path / "features.pkl")


def test_pictures_of_another_size_show_as_large_a_part():
    cropped = parse("resize(256)|crop(224)|unit", USUAL)
    assert str(cropped.resized(112)) == "resize(128)|crop(112)|unit"
    assert str(USUAL.resized(112)) == "squash(112)|imagenet"


@pytest.mark.parametrize("size", [0, 4, 5000])
def test_a_size_that_no_file_may_record_is_refused(size):
    with pytest.raises(UserError, match="8 to 4096 pixels"):
        USUAL.resized(size)
