"""Captions of images in files: a model, its encoder and a search."""

import keras
import numpy as np
import pytest
from PIL import Image

import captioning
from captioning.captioner import Captioner
from captioning.cli import UserError
from captioning.decoders.search_settings import Search
from captioning.decoders.table import decoder_class
from captioning.encoders.loading import load_encoder
from captioning.images.reading import UnreadableImage
from captioning.output.captions import Captioned


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A small random attention model, and 15 images, of which one is none."""
    folder = tmp_path_factory.mktemp("captioner")
    encoder = load_encoder("efficientnet_lite0")
    keras.utils.set_random_seed(6)
    words = ["startseq", "endseq"] + [f"word{number}" for number in range(30)]
    sizes = {"positions": 49, "units": 16, "width": 12}
    model = decoder_class("attention")(encoder.width, words, 8, encoder=encoder.info, **sizes)
    model.save(folder / "model.keras")
    (folder / "images").mkdir()
    random = np.random.default_rng(5)
    for number in range(15):
        colours = random.integers(0, 256, (4, 4, 3), np.uint8)
        image = Image.fromarray(colours).resize((64, 64), Image.Resampling.NEAREST)
        image.save(folder / "images" / f"{number:02}.png")
    (folder / "images" / "07.png").write_bytes(b"no picture")
    return folder


def test_captions_in_batches_are_those_of_each_image_alone(folder, monkeypatch):
    monkeypatch.setattr("captioning.captioner.BATCH", 12)
    monkeypatch.setattr("captioning.captioner.ENCODED", 5)
    captioner = Captioner(folder / "model.keras", search=Search(beam_width=2))
    paths = sorted((folder / "images").iterdir())

    together = [result for result in captioner.stream(paths) if isinstance(result, Captioned)]
    alone = [captioner.caption(path) for path in paths if path.name != "07.png"]

    assert [result.path for result in together] == [result.path for result in alone]
    assert [result.caption for result in together] == [result.caption for result in alone]
    scores = [[result.log_probability for result in results] for results in (together, alone)]
    np.testing.assert_allclose(*scores, rtol=1e-3)
    assert len({result.caption for result in together}) > 1  # else the order would not show


def test_a_folder_gives_a_list_with_alternatives_and_a_warning_for_what_is_no_image(folder):
    captioner = captioning.Captioner(folder / "model.keras", captions=3)
    with pytest.warns(UserWarning, match=r"07\.png"):
        results = captioner.caption(folder / "images")
    assert len(results) == 14
    assert all(0 < result.confidence < 1 for result in results)
    assert {len(result.alternatives) for result in results} == {2}
    assert len({results[0].caption, *(text for text, _ in results[0].alternatives)}) == 3


def test_a_single_image_that_cannot_be_read_is_an_error(folder):
    captioner = Captioner(folder / "model.keras", search=Search())
    with pytest.raises(UnreadableImage, match=r"07\.png"):
        captioner.caption(folder / "images" / "07.png")


def test_more_captions_than_beams_are_refused():
    with pytest.raises(UserError, match="5 captions: give a beam width"):
        Captioner("no.keras", search=Search(3), captions=5)
