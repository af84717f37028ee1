"""What a resumed extraction keeps, and what it makes anew."""

import os

import numpy as np
import pytest
from PIL import Image

from captioning.cli import UserError
from captioning.features.extraction import extract
from captioning.features.reading import read_features
from captioning.images import reading
from captioning.images.preprocessing import Preprocessing

NAMES = "abcdef"


class Encoder:
    """Its number and the mean colour of a picture; counts the pictures that it was shown."""

    preprocessing = Preprocessing(8)

    def __init__(self, number: int = 0, **info) -> None:
        self.number, self.shown = number, 0
        self.info = {"encoder": "e", "preprocessing": "squash(8)", **info}

    def encode(self, pixels, batch_size, *, grid):
        self.shown += len(pixels)
        means = pixels.mean(axis=(1, 2, 3), dtype=np.float32)
        return np.stack([means, np.full(len(pixels), self.number, np.float32)], axis=1)


def image(path, grey: int) -> None:
    Image.new("RGB", (8, 8), (grey, grey, grey)).save(path)


@pytest.fixture
def killed(tmp_path, monkeypatch):
    """Pictures, and a features file whose making was killed when all parts were there."""
    images = {name: tmp_path / f"{name}.png" for name in NAMES}
    for number, path in enumerate(images.values()):
        image(path, 10 * number)
    output = tmp_path / "features.pkl"
    with monkeypatch.context() as patch:
        patch.setattr("captioning.features.extraction.write_features", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            extract(Encoder(), images, output, batch_size=1, resume=False)
    return images, output


def resumed(killed, encoder) -> np.ndarray:
    images, output = killed
    extract(encoder, images, output, batch_size=1, resume=True)
    return read_features(output).of(list(NAMES))[:]


def test_what_a_killed_run_has_done_is_kept(killed):
    encoder = Encoder()
    found = resumed(killed, encoder)
    np.testing.assert_array_equal(found[:, 0], [0, 10, 20, 30, 40, 50])
    assert encoder.shown == 0


def test_a_part_that_a_crash_of_the_machine_left_empty_is_made_again(killed):
    encoder, (_, output) = Encoder(), killed
    sorted(output.with_name(f"{output.name}.parts").glob("*.npz"))[2].write_bytes(b"")
    found = resumed(killed, encoder)
    np.testing.assert_array_equal(found[:, 0], [0, 10, 20, 30, 40, 50])
    assert encoder.shown == 1


@pytest.mark.parametrize("changed", ["encoder", "weights_sha256", "preprocessing"])
def test_nothing_of_another_encoder_is_kept(killed, changed, capsys):
    found = resumed(killed, Encoder(7, **{changed: "other"}))
    assert (found[:, 1] == 7).all()
    assert f"is of a run with other {changed}; starts again" in capsys.readouterr().out


def test_a_picture_that_was_replaced_is_read_again(killed):
    images, _ = killed
    before = os.stat(images["c"])
    image(images["c"], 200)
    os.utime(images["c"], ns=(before.st_atime_ns, before.st_mtime_ns + 1))

    found = resumed(killed, Encoder())

    np.testing.assert_array_equal(found[:, 0], [0, 10, 200, 30, 40, 50])


def test_pictures_that_could_not_be_read_are_read_again_on_resume(killed, monkeypatch):
    """As when the folder's server is away for a while."""
    images, output = killed
    output = output.with_suffix(".h5")

    def fail(path, *_):
        raise reading.UnreadableImage(f"{path}: is away")

    with monkeypatch.context() as patch:
        patch.setattr(reading, "load_rgb", fail)
        with pytest.raises(UserError, match=r"6 of 6 pictures .*a\.png: is away"):
            extract(Encoder(), images, output, batch_size=4, resume=False)

    assert extract(Encoder(), images, output, batch_size=4, resume=True) == {}
    found = read_features(output).of(list(NAMES))[:]
    np.testing.assert_array_equal(found[:, 0], [0, 10, 20, 30, 40, 50])
