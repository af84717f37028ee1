import json

import pytest

from captioning.cli import UserError
from captioning.evaluation.predictions import choose, read_predictions

KNOWN = {"red_left", "42", "17", "5"}
NUMBERS = {"red_left": 5, "5": 1}  # by which a data set calls two of them


def write(tmp_path, entries):
    path = tmp_path / "results.json"
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    return path


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("red_left", "red_left"),
        ("red_left.jpg", "red_left"),
        (42, "42"),
        ("COCO_val2014_000000000042.jpg", "42"),
        ("000000000042", "42"),
        ("17", "17"),
        (1, "5"),
        ("5", "5"),
    ],
)
def test_an_image_may_be_named_or_numbered(tmp_path, given, name):
    path = write(tmp_path, [{"image_id": given, "caption": "a dog", "score": 1}])
    assert read_predictions(path, KNOWN, NUMBERS) == {name: "a dog"}


def test_a_number_that_may_be_another_pictures_name_is_refused_unless_the_file_is_told(tmp_path):
    """5 is the number of one picture and the name of another."""
    entry = {"image_id": 5, "caption": "a dog"}
    with pytest.raises(UserError, match=r"image 5 .* names and numbers are at odds"):
        read_predictions(write(tmp_path, [entry]), KNOWN, NUMBERS)
    for file, name in (("pictures/5.png", "5"), ("red_left.jpg", "red_left")):
        path = write(tmp_path, [{**entry, "file": file}])
        assert read_predictions(path, KNOWN, NUMBERS) == {name: "a dog"}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ("{", "is damaged JSON"),
        pytest.param("[" * 100_000, "is damaged JSON", id="deep"),
        ([], "is not a list of"),
        ({"image_id": 17, "caption": "a dog"}, "is not a list of"),
        ([{"image_id": 17}], "entry 1 is not"),
        ([{"image_id": 17, "caption": ["a dog", "dogs"]}], "entry 1 is not"),
        ([{"image": "18.jpg", "image_id": 17, "caption": "a dog"}], "no references: 18"),
        ([{"image_id": True, "caption": "a dog"}], "entry 1 is not"),
        ([{"image_id": 1.5, "caption": "a dog"}], "entry 1 is not"),
        ([{"image_id": 17, "caption": "a"}, {"image_id": "17", "caption": "b"}], "17 has two"),
        ([{"image_id": 17, "caption": "a"}, {"image_id": 18, "caption": "b"}], "1 of 2 images"),
    ],
)
def test_what_cannot_be_scored_is_refused(tmp_path, entries, message):
    with pytest.raises(UserError, match=message):
        read_predictions(write(tmp_path, entries), KNOWN, {})


def test_chosen_captions_come_in_the_order_of_the_split():
    assert list(choose(["2", "1"], {"1": "a", "2": "b", "3": "c"}, "results.json")) == ["2", "1"]


def test_a_caption_that_is_missing_is_named():
    with pytest.raises(UserError, match="no caption for 1 of the 2 images to score, such as 3"):
        choose(["1", "3"], {"1": "a"}, "results.json")
