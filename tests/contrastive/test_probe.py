"""The probe on captions: which pictures it is fitted on, which judge, and whose words are whose."""

import numpy as np
import pytest
from PIL import Image

from captioning.cli import UserError
from contrastive.probe import caption_probe

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
    assert probe.trained == 48 - len(judges)
    assert sorted(found[probe.trained :]) == judges
    assert sorted(found) == NAMES


def test_every_picture_has_the_words_of_its_own_captions(folder):
    shared = {name: ["a dog" if int(name) % 3 else "a cat"] for name in NAMES}

    probe = caption_probe(folder, shared, 8, NAMES[5:15])

    of_dogs = [int(name) % 3 > 0 for name in names_in(probe.pixels)]
    said = {tuple(row) for row, dog in zip(probe.targets, of_dogs, strict=True) if dog}
    others = {tuple(row) for row, dog in zip(probe.targets, of_dogs, strict=True) if not dog}
    assert len(said) == len(others) == 1
    assert said != others


def test_too_few_pictures_are_refused(folder):
    with pytest.raises(UserError, match="a probe needs at least 40"):
        caption_probe(folder, {name: CAPTIONS[name] for name in NAMES[:39]}, 8)
