"""Batches of images: what is in an epoch, and that it follows from seed and epoch."""

import numpy as np
import pytest
from PIL import Image

from captioning.cli import UserError
from captioning.images.preprocessing import Preprocessing
from captioning.training.image_batches import ImageBatches, jitter


@pytest.fixture
def images(tmp_path):
    random = np.random.default_rng(4)
    paths = {name: tmp_path / f"{name}.png" for name in "uvwxy"}
    for path in paths.values():
        Image.fromarray(random.integers(0, 256, (40, 40, 3)).astype(np.uint8)).save(path)
    return paths


CAPTIONS = {
    name: [[1, 3 + number, 2], [1, 3 + number, 9, 9, 9, 2]] for number, name in enumerate("uvwxy")
}


def epoch_of(images, epoch: int, **options) -> list:
    batches = ImageBatches(images, CAPTIONS, Preprocessing(32), 2, per_image=3, **options)
    found = list(batches.epoch(epoch))
    assert len(found) == len(batches)
    return found


def test_an_epoch_has_every_image_once_with_captions_of_its_own(images):
    found = epoch_of(images, 0)

    assert [len(inputs["pixels"]) for inputs, _ in found] == [2, 2, 1]
    said = []
    for inputs, targets in found:
        assert inputs["tokens"].shape == targets.shape == (3 * len(inputs["pixels"]), 8)
        np.testing.assert_array_equal(inputs["tokens"][:, 1:], targets[:, :-1])
        own = targets[:, 0].reshape(-1, 3)
        assert (own == own[:, :1]).all()  # neighbours are of one image
        said += own[:, 0].tolist()
        lengths = (targets.reshape(-1, 3, 8) > 0).sum(axis=2)
        assert all({2, 5} == set(three) for three in lengths.tolist())  # both, one of them twice
    assert sorted(said) == [3, 4, 5, 6, 7]


def test_an_image_of_a_small_data_set_comes_more_often_in_other_views(images):
    found = epoch_of(images, 1, repeats={**dict.fromkeys("uvwx", 1), "y": 8})

    said, views = [], set()
    for inputs, targets in found:
        said += targets[::3, 0].tolist()
        shown = zip(inputs["pixels"], targets[::3, 0], strict=True)
        views |= {pixels.tobytes() for pixels, first in shown if first == 7}
    assert sorted(said) == [3, 4, 5, 6, *[7] * 8]
    assert len(views) > 3  # an epoch has the whole and two views of what comes once


def test_an_epoch_follows_from_its_number_and_the_seed(images):
    options = {"colour_jitter": True}
    first, again = epoch_of(images, 1, **options), epoch_of(images, 1, **options)
    for (inputs, targets), (inputs_again, targets_again) in zip(first, again, strict=True):
        np.testing.assert_array_equal(inputs["pixels"], inputs_again["pixels"])
        np.testing.assert_array_equal(targets, targets_again)
    for other in (epoch_of(images, 2, **options), epoch_of(images, 1, seed=1, **options)):
        pairs = zip(first, other, strict=True)
        assert any((one[0]["pixels"] != two[0]["pixels"]).any() for one, two in pairs)


def test_an_unreadable_image_is_left_out_and_named(images, capsys):
    images["w"].write_bytes(b"no picture")
    found = epoch_of(images, 0)
    assert {row[0] for _, targets in found for row in targets} == {3, 4, 6, 7}
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("skipped 1 unreadable images: ") and "w.png" in line


def test_images_most_of_which_are_unreadable_are_refused(images):
    for name in "uvw":
        images[name].write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"3 of 5 images could not be read, the first: .*\.png"):
        epoch_of(images, 0)


def test_jitter_draws_one_brightness_for_grey():
    pixels = np.full((200, 2, 2, 3), 100, np.uint8)

    varied = jitter(pixels, np.random.default_rng(1)).reshape(200, -1)

    assert (varied == varied[:, :1]).all()  # contrast and saturation change nothing there
    assert 60 <= varied.min() < 65 and 135 < varied.max() <= 140


def test_jitter_of_saturation_keeps_the_mean_of_the_channels():
    pixels = np.full((20, 2, 2, 3), (90, 120, 150), np.uint8)

    varied = jitter(pixels, np.random.default_rng(0))[:, 0, 0].astype(int)

    ratios = {round((red - blue) / (red + green + blue), 2) for red, green, blue in varied}
    assert len(ratios) > 10  # from 0.5 to 1.5 times the -1/6 of before
    assert all(abs(2 * green - red - blue) <= 3 for red, green, blue in varied)
