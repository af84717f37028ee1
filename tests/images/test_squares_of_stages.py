"""Every stage cuts the square that an encoder's weights want: here the middle of a wide picture."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from captioning.captioner import Captioner
from captioning.decoders.search_settings import Search
from captioning.features.extraction import extract
from captioning.images.preprocessing import Preprocessing
from captioning.output.heatmaps import attend
from captioning.training.end_to_end import validation_loss
from captioning.training.image_batches import ImageBatches
from tests.decoder_tools import LETTERS, features_for, tiny

WANTED = Preprocessing(8, 10)


class Seeing:
    """An encoder that keeps what it is shown."""

    preprocessing, info = WANTED, {"encoder": "seeing"}

    def __init__(self, decoder) -> None:
        self.decoder, self.seen = decoder, []

    def encode(self, pixels, batch_size, *, grid):
        return self.encode_few(pixels, grid=grid)

    def encode_few(self, pixels, *, grid):
        self.seen += list(pixels)
        return features_for(self.decoder, len(pixels))


def extracting(encoder, path) -> None:
    output = path.with_name("features.h5")
    extract(encoder, {"a": path}, output, batch_size=1, resume=False, grid=True)


def captioning(encoder, path, few=8) -> None:
    captioner = Captioner.__new__(Captioner)  # whose model and encoder come from no file
    captioner.model, captioner.encoder = encoder.decoder, encoder
    captioner.search, captioner.captions = Search(beam_width=1), 1
    list(captioner.stream([path], few))


def judging(encoder, path) -> None:
    decoder = SimpleNamespace(grid=True, vocabulary=encoder.decoder.vocabulary)
    decoder.evaluate = lambda judged, **_: {"token_loss": 1.0}
    validation_loss(encoder, decoder, {"a": path}, {"a": ["a b"]}, keep_unknown=False)


def fine_tuning(encoder, path) -> None:
    batches = ImageBatches({"a": path}, {"a": [[0, 2, 1]]}, WANTED, batch_size=1, per_image=1)
    encoder.seen += [inputs["pixels"][0] for inputs, _ in batches.epoch(0, whole=True)]


STAGES = {
    "stage 1": extracting,
    "stage 5, few": captioning,
    "stage 5, many": lambda encoder, path: captioning(encoder, path, few=0),
    "heat maps": lambda encoder, path: attend(encoder.decoder, encoder, path, "a b"),
    "fine-tuning": fine_tuning,
    "its judge": judging,
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_sees_the_square_that_the_weights_want(stage, tmp_path):
    path = tmp_path / "a.png"
    noise = np.random.default_rng(0).integers(0, 256, (20, 50, 3)).astype(np.uint8)
    Image.fromarray(noise).save(path)
    encoder = Seeing(tiny("attention", LETTERS, 7))

    STAGES[stage](encoder, path)

    expected = np.asarray(WANTED.square(Image.fromarray(noise), 8))
    [seen] = encoder.seen
    np.testing.assert_array_equal(seen, expected)
