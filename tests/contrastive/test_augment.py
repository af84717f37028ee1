"""The augmentation: range, independence, and each operation alone."""

import itertools

import keras
import numpy as np
import pytest
from PIL import Image

from contrastive.augment import Augmentation, resampling_matrix
from tests.pretext_tools import patterns

OFF = {"min_area": 1.0, "aspect": 1.0, "flip": 0.0, "jitter": 0.0, "grey": 0.0, "blur": 0.0}


def views_of(pictures: np.ndarray, size: int, **settings) -> np.ndarray:
    return keras.ops.convert_to_numpy(Augmentation(size, **settings)(pictures))


def test_range_type_and_shape():
    extreme = np.random.default_rng(0).choice([0, 255], (64, 24, 24, 3)).astype(np.uint8)
    views = views_of(extreme, 16)
    assert views.shape == (64, 16, 16, 3)
    assert views.dtype == np.float32
    assert views.min() >= 0
    assert views.max() <= 255
    assert views.max() > 200


def test_all_off_changes_nothing():
    pictures = patterns(4)
    np.testing.assert_allclose(views_of(pictures, 24, **OFF), pictures, atol=1e-3)


def test_pictures_calls_and_seeds_are_independent():
    same = np.repeat(patterns(1), 16, axis=0)
    augment = Augmentation(16, seed=1)
    first, second = (keras.ops.convert_to_numpy(augment(same)) for _ in range(2))
    again = views_of(same, 16, seed=1)
    flat = np.concatenate([first, second]).reshape(32, -1)
    distance = np.abs(flat[:, None] - flat[None]).mean(-1) + 1e9 * np.eye(32)
    assert distance.min() > 0.1  # no two of 32 views alike
    np.testing.assert_array_equal(first, again)
    assert np.abs(views_of(same, 16, seed=2) - first).mean() > 1


@pytest.mark.parametrize("setting", ["flip", "grey", "jitter", "blur", "solarize"])
def test_each_operation_happens_as_often_as_told(setting):
    same = np.repeat(patterns(1, 112), 200, axis=0)
    views = views_of(same, 112, **{**OFF, setting: 0.3})
    changed = np.abs(views - same).max(axis=(1, 2, 3)) > 0.02
    assert 0.15 < changed.mean() < 0.4  # the weakest blurs show nowhere


def test_flip_mirrors():
    pictures = patterns(4)
    flipped = views_of(pictures, 24, **{**OFF, "flip": 1.0})
    np.testing.assert_allclose(flipped, pictures[:, :, ::-1], atol=1e-3)


def test_grey_keeps_the_luma():
    pictures = patterns(4)
    grey = views_of(pictures, 24, **{**OFF, "grey": 1.0})
    luma = pictures @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(grey, np.repeat(luma[..., None], 3, axis=-1), atol=0.5)


def test_solarize_inverts_what_is_bright():
    pictures = patterns(4)
    solarized = views_of(pictures, 24, **{**OFF, "solarize": 1.0})
    expected = np.where(pictures < 128, pictures, 255 - pictures.astype(int))
    # Resampling by the identity leaves rounding, which at 128 decides which side a pixel is on.
    clear = np.abs(pictures.astype(int) - 128) > 1
    np.testing.assert_allclose(solarized[clear], expected[clear], atol=1e-2)


def test_colour_operations_commute():
    """In the order that the papers draw anew each time, by hand, without clips: it is all one."""
    random = np.random.default_rng(0)
    picture = random.uniform(80, 160, (6, 6, 3))
    luma = np.array([0.299, 0.587, 0.114])
    yiq = np.array([luma, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)])
    turn = np.array([[1, 0, 0], [0, np.cos(0.5), -np.sin(0.5)], [0, np.sin(0.5), np.cos(0.5)]])
    steps = [
        lambda p: 0.7 * p,
        lambda p: 1.3 * p - 0.3 * (p @ luma).mean(),
        lambda p: 0.6 * p + 0.4 * (p @ luma)[..., None],
        lambda p: p @ (np.linalg.inv(yiq) @ turn @ yiq).T,
    ]
    results = []
    for order in itertools.permutations(range(4)):
        result = picture
        for number in order:
            result = steps[number](result)
        results.append(result)
    # Grey's row of YIQ sums to 1 and those of I and Q to 0, but for rounding in the standard.
    np.testing.assert_allclose(results, np.repeat(results[:1], 24, axis=0), atol=0.2)


def test_jitter_alone():
    """Brightness scales; contrast keeps the mean grey; hue and saturation keep the luma."""
    pictures = (patterns(4) // 4 + 96).astype(np.uint8)  # nothing clips
    weights = np.array([0.299, 0.587, 0.114])
    none = {**OFF, "jitter": 1.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
    bright = views_of(pictures, 24, **{**none, "brightness": 0.4}) / pictures
    assert np.ptp(bright, axis=(1, 2, 3)).max() < 1e-3
    assert 0.6 <= bright.min() < bright.max() <= 1.4
    contrast = views_of(pictures, 24, **{**none, "contrast": 0.4})
    mean, expected = (np.mean(p @ weights, axis=(1, 2)) for p in (contrast, pictures))
    np.testing.assert_allclose(mean, expected, rtol=1e-3)
    coloured = views_of(pictures, 24, **{**none, "saturation": 0.4, "hue": 0.1})
    np.testing.assert_allclose(coloured @ weights, pictures @ weights, atol=1.0)
    assert np.abs(coloured - pictures).mean() > 1


def test_crops_lie_inside_and_have_the_area_asked_for():
    """A ramp shows where a crop begins and ends."""
    ramp = np.broadcast_to(
        np.arange(0, 256, 2, dtype=np.uint8)[None, None, :, None], (1, 128, 128, 3)
    )
    both = np.repeat(ramp, 200, axis=0)
    wide = views_of(both, 32, **{**OFF, "min_area": 0.25, "max_area": 0.25})
    extent = (wide[:, 0, -1, 0] - wide[:, 0, 0, 0]) / 254 * 32 / 31
    np.testing.assert_allclose(extent, 0.5, atol=0.03)
    assert wide[:, 0, 0, 0].min() < 15  # crops reach both edges
    assert wide[:, 0, -1, 0].max() > 240


def test_crops_have_every_aspect_up_to_the_one_asked_for_and_lie_anywhere():
    """In the picture red says the column and green the row."""
    ramp = np.arange(0, 256, 2, dtype=np.uint8)
    picture = np.zeros((128, 128, 3), np.uint8)
    picture[..., 0], picture[..., 1] = ramp[None, :], ramp[:, None]
    settings = {**OFF, "min_area": 0.25, "max_area": 0.25, "aspect": 4 / 3}

    views = views_of(np.repeat(picture[None], 400, axis=0), 32, **settings)

    left, top = views[:, 0, 0, 0] / 254, views[:, 0, 0, 1] / 254
    width = (views[:, 0, -1, 0] / 254 - left) * 32 / 31
    height = (views[:, -1, 0, 1] / 254 - top) * 32 / 31
    np.testing.assert_allclose(width * height, 0.25, atol=0.02)
    ratios = width / height
    assert ratios.min() == pytest.approx(3 / 4, abs=0.04)
    assert ratios.max() == pytest.approx(4 / 3, abs=0.05)
    assert abs(np.corrcoef(left, top)[0, 1]) < 0.2


def test_a_crop_wider_than_the_picture_is_cut_off_there():
    ramp = np.broadcast_to(np.arange(0, 256, 2, dtype=np.uint8)[None, :, None], (128, 128, 3))
    settings = {**OFF, "min_area": 0.9, "max_area": 0.9, "aspect": 2.0}

    views = views_of(np.repeat(ramp[None], 200, axis=0), 32, **settings)

    width = (views[:, 0, -1, 0] - views[:, 0, 0, 0]) / 254 * 32 / 31
    assert 0.3 < np.mean(width > 0.99) < 0.7
    assert width.min() == pytest.approx(np.sqrt(0.9 / 2), abs=0.05)


def test_hue_turns_by_the_part_of_a_circle_asked_for():
    grey, red = np.full((1, 8, 8, 3), 110), np.array([40, -10, -10])
    pictures = np.repeat((grey + red).astype(np.uint8), 400, axis=0)
    none = {**OFF, "jitter": 1.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0}
    plane = np.array([(0.596, -0.274, -0.322), (0.211, -0.523, 0.312)])  # I and Q

    def angles(colours: np.ndarray) -> np.ndarray:
        return np.degrees(np.arctan2(*(colours @ plane.T).T[::-1]))

    views = views_of(pictures, 8, **{**none, "hue": 0.1})

    turned = angles(views[:, 0, 0]) - angles(pictures[:, 0, 0])
    assert turned.max() == pytest.approx(36, abs=1.5)
    assert turned.min() == pytest.approx(-36, abs=1.5)


@pytest.mark.parametrize("target", [10, 24, 40])
def test_resampling_equals_pillow(target):
    picture = patterns(1)[0]
    matrix = keras.ops.convert_to_numpy(
        resampling_matrix(np.zeros(1, "f4"), np.ones(1, "f4"), 24, target)
    )[0]
    ours = np.einsum("iy,jx,yxc->ijc", matrix, matrix, picture)
    pillow = Image.fromarray(picture).resize((target, target), Image.Resampling.BILINEAR)
    assert np.abs(ours - np.asarray(pillow)).max() <= 1.01


def test_blur_smooths_and_keeps_the_mean():
    noise = np.random.default_rng(0).integers(0, 256, (8, 112, 112, 3), np.uint8)
    blurred = views_of(noise, 112, **{**OFF, "blur": 1.0}, seed=3)
    np.testing.assert_allclose(blurred.mean(axis=(1, 2, 3)), noise.mean(axis=(1, 2, 3)), atol=1)
    assert blurred.std(axis=(1, 2, 3)).min() < 0.7 * noise.std()


def test_config_round_trip():
    augment = Augmentation(16, min_area=0.3, seed=5)
    assert Augmentation.from_config(augment.get_config()).settings == augment.settings
