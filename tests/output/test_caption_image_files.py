"""Captions of many pictures: in batches, of which a part at a time passes the encoder."""

import keras
import numpy as np
import pytest
from PIL import Image

from captioning.captioners.loading import encoder_of
from captioning.cli import UserError
from captioning.decoders.search_settings import Search
from captioning.decoders.table import decoder_class
from captioning.encoders.loading import load_encoder
from captioning.output.caption_image_files import caption_image_files
from captioning.output.captions import Captioned


@pytest.mark.slow
def test_captions_in_batches_are_those_of_each_picture_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("captioning.output.caption_image_files.BATCH", 12)
    monkeypatch.setattr("captioning.output.caption_image_files.ENCODED", 5)
    random = np.random.default_rng(5)
    paths = [tmp_path / f"{number}.png" for number in range(15)]
    for path in paths:
        colours = random.integers(0, 256, (4, 4, 3), np.uint8)
        Image.fromarray(colours).resize((64, 64), Image.Resampling.NEAREST).save(path)
    paths[7].write_bytes(b"no picture")
    encoder = load_encoder("efficientnet_lite0")
    keras.utils.set_random_seed(6)
    words = ["startseq", "endseq"] + [f"word{number}" for number in range(30)]
    model = decoder_class("attention")(encoder.width, words, 8, positions=49, units=16, width=12)

    together = list(caption_image_files(model, encoder, paths, Search(beam_width=2)))
    alone = [
        next(caption_image_files(model, encoder, [path], Search(beam_width=2))) for path in paths
    ]

    found = [result for result in together if isinstance(result, Captioned)]
    expected = [result for result in alone if isinstance(result, Captioned)]
    assert [one.path for one in found] == [path for path in paths if path != paths[7]]
    assert [one[:2] for one in found] == [one[:2] for one in expected]
    likely, expected_likely = ([one.log_probability for one in part] for part in (found, expected))
    np.testing.assert_allclose(likely, expected_likely, rtol=1e-3)
    assert len({one.caption for one in found}) > 1  # else the order would not show


def test_a_public_checkpoint_that_is_not_there_is_asked_for_and_not_made_up(tmp_path):
    record = {"encoder": "resnet18", "weights": "moco.pth.tar", "weights_sha256": "ab" * 32}
    words = ["startseq", "endseq", "dog"]
    model = decoder_class("merge")(512, words, 8, encoder=record, units=8)
    with pytest.raises(UserError, match=r"moco\.pth\.tar.*give --weights"):
        encoder_of(model, tmp_path / "model.keras")
