from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from captioning.decoders.search import generate
from captioning.decoders.search_settings import Search
from captioning.images.preprocessing import Preprocessing
from captioning.output.captions import Captioned
from captioning.output.heatmaps import attend, draw, lit
from captioning.output.sheets import GAP, LINE
from tests.decoder_tools import LETTERS, features_for, tiny


@pytest.fixture
def photograph(tmp_path):
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (300, 150), (200, 200, 200)).save(path)
    return path


def encoder_giving(features) -> SimpleNamespace:
    """An encoder that sees the same in every picture."""
    seeing = {"preprocessing": Preprocessing(32), "encode_few": lambda pixels, grid: features}
    return SimpleNamespace(**seeing)


@pytest.mark.parametrize("name", ["attention", "transformer"])
def test_every_word_has_the_weights_that_the_model_chose_it_by(name, photograph):
    model = tiny(name, LETTERS, 7)
    features = features_for(model, 1)
    caption = generate(model, features, Search(beam_width=3))[0].caption

    maps = attend(model, encoder_giving(features), photograph, caption)

    assert len(maps) == len(caption.split())
    context, state = model.start(features)
    tokens = []
    for word, weights in zip(["startseq", *caption.split()], maps, strict=False):
        tokens.append(model.vocabulary.word_index[word])
        before = model.attention({"features": features, "tokens": np.array([tokens])})
        np.testing.assert_allclose(weights.ravel(), before[0, -1], atol=1e-5)
        if name == "attention":  # the weights before a word follow from the state before it
            _, expected = model._look(context, state[0])
            np.testing.assert_allclose(weights.ravel(), expected[0], atol=1e-5)
        _, state = model.step(np.array(tokens[-1:]), context, state)
        assert weights.shape == (2, 2)
        assert weights.sum() == pytest.approx(1.0, abs=1e-5)


def test_the_picture_is_bright_where_the_weight_is(photograph):
    weights = np.zeros((2, 2))
    weights[1, 0] = 1.0
    light = np.asarray(lit(Image.open(photograph), weights)).mean(axis=2)
    assert light.shape == (150, 300)
    quarters = [light[:50, :100], light[:50, 200:], light[100:, :100], light[100:, 200:]]
    assert np.argmax([quarter.mean() for quarter in quarters]) == 2


def test_one_png_has_a_cell_a_word_of_every_picture(photograph, tmp_path):
    model = tiny("attention", LETTERS, 12)
    encoder = encoder_giving(features_for(model, 1))
    gone = Captioned(tmp_path / "gone.jpg", "a b", -1.0)  # whose cell is grey, and the only one
    results = [Captioned(photograph, caption, -1.0) for caption in ("a b c d e f g h", "a")]

    draw(model, encoder, [*results, gone], tmp_path / "out.png")

    sheet = Image.open(tmp_path / "out.png")
    assert sheet.format == "PNG"
    assert sheet.width == 6 * (224 + GAP) + GAP
    texts, image = 2 * LINE, 112 + GAP  # the caption and the file's name; a word
    assert sheet.height == GAP + 2 * (image + texts) + image + LINE + 168 + texts + GAP
