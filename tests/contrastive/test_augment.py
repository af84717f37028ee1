"""The augmentation: range, independence, and each operation alone."""

import itertools

import keras
import numpy as np
import pytest
from PIL import Image

from contrastive.augment import Augmentation, resampling_matrix
from contrastive.presets import View
from tests.pretext_tools import patterns

EXTREME = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
LUMA = np.array([0.299, 0.587, 0.114])
YIQ = np.array([LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)])


def views_of(images: np.ndarray, size: int, seed: int = 0, **settings) -> np.ndarray:
    return keras.ops.convert_to_numpy(Augmentation(View(size, **settings), seed)(images))


def test_range_type_and_shape():
    extreme = np.random.default_rng(0).choice([0, 255], (64, 24, 24, 3)).astype(np.uint8)
    views = views_of(extreme, 16, min_area=0.08, jitter=0.8, blur=0.5, **EXTREME)
    assert views.shape == (64, 16, 16, 3)
    assert views.dtype == np.float32
    assert views.min() >= 0
    assert 200 < views.max() <= 255


def test_the_strongest_jitter_makes_no_negative():
    """A negative brightness would make it black, a negative contrast a negative."""
    grey = np.full((256, 24, 24, 3), 128, np.uint8)
    grey[:, :, 12:] = 200
    views = views_of(grey, 24, jitter=1.0, brightness=1.6, contrast=1.6)
    assert (views[:, :, -1] >= views[:, :, 0] - 1e-3).all()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, lambda pixels: pixels),
        ({"flip": 1.0}, lambda pixels: pixels[:, :, ::-1]),
        ({"grey": 1.0}, lambda pixels: np.repeat((pixels @ LUMA)[..., None], 3, axis=-1)),
        ({"solarize": 1.0}, lambda pixels: np.where(pixels < 128, pixels, 255 - pixels)),
    ],
)
def test_an_operation_alone(settings, expected):
    images = patterns(4).astype(int)
    images[abs(images - 128) < 2] = 120  # rounding decides which side of 128 a pixel is on
    views = views_of(images.astype(np.uint8), 24, **settings)
    np.testing.assert_allclose(views, expected(images), atol=0.5 if "grey" in settings else 1e-2)


def test_pictures_calls_and_seeds_are_independent():
    same = np.repeat(patterns(1), 16, axis=0)
    drawn = {"min_area": 0.08, "aspect": 4 / 3, "jitter": 0.8, **EXTREME}
    augment = Augmentation(View(16, **drawn), seed=1)
    first, second = (keras.ops.convert_to_numpy(augment(same)) for _ in range(2))
    flat = np.concatenate([first, second]).reshape(32, -1)
    distance = np.abs(flat[:, None] - flat[None]).mean(-1) + 1e9 * np.eye(32)
    assert distance.min() > 0.1  # no two of 32 views alike
    np.testing.assert_array_equal(first, views_of(same, 16, seed=1, **drawn))
    assert np.abs(views_of(same, 16, seed=2, **drawn) - first).mean() > 1


@pytest.mark.parametrize(
    ("setting", "least"),
    # The weakest blurs show nowhere.
    [("flip", 0.2), ("grey", 0.2), ("jitter", 0.2), ("solarize", 0.2), ("blur", 0.15)],
)
def test_each_operation_happens_as_often_as_told(setting, least):
    same = np.repeat(patterns(1, 112), 200, axis=0)
    views = views_of(same, 112, **{**EXTREME, setting: 0.3})
    changed = np.abs(views - same).max(axis=(1, 2, 3)) > 0.02
    assert least < changed.mean() < 0.4


def test_colour_jitter_is_its_four_operations_in_any_order():
    """By hand, with the numbers that the layer draws, after eight for crop and blur."""
    images = (patterns(4) // 4 + 96).astype(np.uint8)  # nothing clips
    drawn = keras.random.SeedGenerator(7)
    draws = [keras.random.uniform((4,), -1, 1, seed=drawn) for _ in range(12)][8:]
    brightness, contrast, saturation, hue = map(keras.ops.convert_to_numpy, draws)

    views = views_of(images, 24, seed=7, jitter=1.0, **EXTREME)

    for row, view in enumerate(views):
        angle = 0.1 * hue[row] * 2 * np.pi
        cos, sin = np.cos(angle), np.sin(angle)
        turn = np.linalg.inv(YIQ) @ [[1, 0, 0], [0, cos, -sin], [0, sin, cos]] @ YIQ
        b, c, s = (1 + 0.4 * x[row] for x in (brightness, contrast, saturation))
        steps = [
            lambda p, b=b: b * p,
            lambda p, c=c: c * p + (1 - c) * (p @ LUMA).mean(),
            lambda p, s=s: s * p + (1 - s) * (p @ LUMA)[..., None],
            lambda p, turn=turn: p @ turn.T,
        ]
        for order in itertools.permutations(steps):
            expected = images[row]
            for step in order:
                expected = step(expected)
            np.testing.assert_allclose(view, expected, atol=0.5)


def crops_of(count: int, **settings) -> tuple[np.ndarray, ...]:
    """Left, top, width and height of crops, as shares of the picture."""
    ramp = np.arange(0, 256, 2, dtype=np.uint8)
    image = np.zeros((128, 128, 3), np.uint8)
    image[..., 0], image[..., 1] = ramp[None, :], ramp[:, None]  # red the column, green the row
    views = views_of(np.repeat(image[None], count, axis=0), 32, **settings) / 254
    left, top = views[:, 0, 0, 0], views[:, 0, 0, 1]
    width, height = (views[:, 0, -1, 0] - left), (views[:, -1, 0, 1] - top)
    return left, top, width * 32 / 31, height * 32 / 31


def test_crops_have_every_aspect_up_to_the_one_asked_for_and_lie_anywhere():
    left, top, width, height = crops_of(400, min_area=0.25, max_area=0.25, aspect=4 / 3)

    np.testing.assert_allclose(width * height, 0.25, atol=0.02)
    ratios = width / height
    assert ratios.min() == pytest.approx(3 / 4, abs=0.04)
    assert ratios.max() == pytest.approx(4 / 3, abs=0.05)
    for start, extent in ((left, width), (top, height)):
        position = start / (1 - extent)
        assert position.min() < 0.06
        assert position.max() > 0.94
        assert position.mean() == pytest.approx(0.5, abs=0.06)
    assert abs(np.corrcoef(left, top)[0, 1]) < 0.2


def test_a_crop_wider_than_the_picture_is_cut_off_there():
    _, _, width, height = crops_of(200, min_area=0.9, max_area=0.9, aspect=2.0)

    for extent in (width, height):
        assert 0.3 < np.mean(extent > 0.99) < 0.7
        assert extent.min() == pytest.approx(np.sqrt(0.9 / 2), abs=0.05)


@pytest.mark.parametrize("target", [10, 24, 40])
def test_resampling_equals_pillow(target):
    image = patterns(1)[0]
    whole = (np.zeros(1, "f4"), np.ones(1, "f4"))
    matrix = keras.ops.convert_to_numpy(resampling_matrix(*whole, 24, target))[0]
    ours = np.einsum("iy,jx,yxc->ijc", matrix, matrix, image)
    pillow = Image.fromarray(image).resize((target, target), Image.Resampling.BILINEAR)
    assert np.abs(ours - np.asarray(pillow)).max() <= 1.01


def test_blur_smooths_and_keeps_the_mean():
    noise = np.random.default_rng(0).integers(0, 256, (8, 112, 112, 3), np.uint8)
    blurred = views_of(noise, 112, seed=3, blur=1.0)
    np.testing.assert_allclose(blurred.mean(axis=(1, 2, 3)), noise.mean(axis=(1, 2, 3)), atol=1)
    assert blurred.std(axis=(1, 2, 3)).min() < 0.7 * noise.std()
