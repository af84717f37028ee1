"""The probe: its regression, which pictures it is fitted on, and whose words are whose."""

import keras
import numpy as np
import pytest
from PIL import Image, ImageOps

from captioning.cli import UserError
from captioning.encoders.table import TABLE, build_network
from contrastive.probe import CaptionProbe, caption_probe, ridge_share, word_shares

NAMES = [f"{number:02d}" for number in range(48)]
CAPTIONS = {name: [f"word{name} seen"] for name in NAMES}


@pytest.fixture
def folder(tmp_path):
    """48 pictures, each of a grey that says its number."""
    for number, name in enumerate(NAMES):
        Image.new("RGB", (8, 8), (5 * number,) * 3).save(tmp_path / f"{name}.png")
    return tmp_path


def names_in(pixels: np.ndarray) -> list[str]:
    return [NAMES[grey // 5] for grey in pixels[:, 0, 0, 0]]


@pytest.mark.parametrize(("held_out", "judges"), [(NAMES[5:15], NAMES[5:15]), ([], NAMES[::4])])
def test_what_is_held_out_judges_and_nothing_else_does(folder, held_out, judges):
    probe = caption_probe(folder, CAPTIONS, 8, held_out)

    found = names_in(probe.pixels)
    assert probe.fitted == 48 - len(judges)
    assert sorted(found[probe.fitted :]) == judges
    assert sorted(found) == NAMES


def test_every_picture_has_the_words_of_its_own_captions(folder):
    shared = {name: ["a dog" if int(name) % 3 else "a cat"] for name in NAMES}

    probe = caption_probe(folder, shared, 8, NAMES[5:15])

    of_dogs = [int(name) % 3 > 0 for name in names_in(probe.pixels)]
    said = {tuple(row) for row, dog in zip(probe.targets, of_dogs, strict=True) if dog}
    others = {tuple(row) for row, dog in zip(probe.targets, of_dogs, strict=True) if not dog}
    assert len(said) == len(others) == 1
    assert said != others


def test_pictures_are_made_squares_as_the_encoder_wants_them(folder):
    def inverted(image, size):
        return ImageOps.invert(image.resize((size, size)))

    probe = caption_probe(folder, CAPTIONS, 4, NAMES[5:15], inverted)

    assert probe.pixels.shape[1:] == (4, 4, 3)
    assert sorted(255 - probe.pixels[:, 0, 0, 0]) == [5 * number for number in range(48)]


def test_too_few_pictures_are_refused(folder):
    with pytest.raises(UserError, match="a probe needs at least 40"):
        caption_probe(folder, {name: CAPTIONS[name] for name in NAMES[:39]}, 8)


@pytest.mark.slow
def test_caption_probe():
    """Pictures of four colours, and an encoder that sees nothing but colour."""
    labels = np.arange(80) % 4
    shades = np.array([[200, 20, 20], [20, 200, 20], [20, 20, 200], [200, 200, 20]])
    noise = np.random.default_rng(0).integers(0, 20, (80, 8, 8, 3))
    pixels = (shades[labels][:, None, None] + noise).astype(np.uint8)
    inputs = keras.Input((None, None, 3))
    encoder = keras.Model(inputs, {"pooled": keras.layers.GlobalAveragePooling2D()(inputs)})
    words = np.array(["red", "green", "blue", "yellow"])
    captions = [[f"one {words[label]} thing"] for label in labels]
    assert CaptionProbe(pixels, captions, 60)(encoder) > 0.9
    shuffled = [captions[row] for row in np.random.default_rng(1).permutation(80)]
    assert CaptionProbe(pixels, shuffled, 60)(encoder) < 0.1


@pytest.mark.slow
def test_each_stage_is_judged_by_its_own_features():
    """Two stages: the first doubles the pixels, the second keeps one channel of three."""
    pixels = np.random.default_rng(0).integers(0, 256, (60, 4, 4, 3), np.uint8)
    means = pixels.mean(axis=(1, 2))
    captions = [["much" if red > 128 else "less", "bright"] for red in means[:, 0]]
    inputs = keras.Input((None, None, 3))
    first = keras.layers.Rescaling(2.0, name="one_scale")(inputs)
    kernel = np.array([0.0, 1.0, 0.0]).reshape(1, 1, 3, 1)
    second = keras.layers.Conv2D(1, 1, use_bias=False, name="two_conv")
    pooled = keras.layers.GlobalAveragePooling2D()(second(first))
    second.set_weights([kernel])
    encoder = keras.Model(inputs, {"pooled": pooled})
    probe = CaptionProbe(pixels, captions, 45)

    found = probe.by_stage(encoder, ("one_", "two_"))

    by_hand = [ridge_share(some, probe.targets, 45) for some in (means, means[:, 1:2])]
    assert found == pytest.approx(by_hand, abs=1e-4)
    assert found[1] == pytest.approx(probe(encoder), abs=1e-9)


@pytest.mark.parametrize("name", TABLE)
def test_every_encoder_has_the_stages_of_the_table(name):
    network = build_network(name)
    probe = CaptionProbe(np.zeros((0, 32, 32, 3), np.uint8), [], 0)
    asked = []
    probe._shares = lambda _, outputs: [asked.append(output.shape) for output in outputs]

    probe.by_stage(network, TABLE[name].stages)

    assert len(asked) == len(TABLE[name].stages)
    assert all(len(shape) == 2 and shape[1] for shape in asked)
    assert asked[-1] == network.output["pooled"].shape


def test_ridge_share_equals_a_naive_regression():
    """Against the normal equations, with the strength that a naive search over them finds best."""
    random = np.random.default_rng(0)
    features = random.normal(3, 2, (50, 6))
    targets = features @ random.normal(size=(6, 4)) + random.normal(0, 3, (50, 4))
    x = (features - features[:40].mean(0)) / features[:40].std(0)
    y = targets - targets[:40].mean(0)
    found = []
    for strength in 10.0 ** np.arange(0, 7, 0.5):
        inverse = np.linalg.inv(x[:40].T @ x[:40] + strength * np.eye(6)) @ x[:40].T
        hat = x[:40] @ inverse
        error = np.square(y[:40] - hat @ y[:40]).sum() / (1 - np.trace(hat) / 40) ** 2
        left = np.square(y[40:] - x[40:] @ inverse @ y[:40]).sum()
        found.append((error, 1 - left / np.square(y[40:]).sum()))
    assert ridge_share(features, targets, 40) == pytest.approx(min(found)[1], abs=1e-6)


def test_ridge_share_leaves_dead_features_out():
    """One that moves on held-out pictures alone would weigh infinitely much."""
    random = np.random.default_rng(0)
    features, targets = random.normal(size=(50, 6)), random.normal(size=(50, 4))
    dead = np.concatenate([features, np.zeros((50, 1))], axis=1)
    dead[45:, 6] = 1.0
    assert ridge_share(dead, targets, 40) == ridge_share(features, targets, 40)


def test_word_shares():
    captions = [["A dog runs.", "The dog sits"], ["a cat"], ["two dogs run, dog!"]]
    shares = word_shares(captions, 2)
    # "dog" comes twice among the first two pictures, the others once; "a" is one letter.
    assert shares[0].tolist() == [1.0, 0.5, 0.5, 0.5, 0.0]
    assert shares[2].tolist() == [1.0, 0.0, 0.0, 0.0, 0.0]


def test_what_cannot_be_read_is_named(folder, capsys):
    (folder / "07.png").write_bytes(b"broken")

    probe = caption_probe(folder, CAPTIONS, 8, NAMES[5:15])

    assert "07" not in names_in(probe.pixels)
    assert "skipped 1 unreadable images: " in capsys.readouterr().out
