"""How pictures are called and found, whichever data set names them."""

import pytest

from captioning.cli import UserError
from captioning.datasets import (
    find_pictures,
    read_captions,
    read_dataset,
)
from captioning.images.names import Excluded, image_id


@pytest.mark.parametrize(
    "name, expected",
    [
        ("folder/123_ab.jpg", "123_ab"),
        ("frame.0001.JPG", "frame.0001"),
        ("frame.0001", "frame.0001"),
        ("a.b/c.jpeg", "c"),
        ("folder/123_ab.jpg.1", "123_ab.jpg.1"),
        ("with  space.jpg", "with_space"),
        ("line\nbreak.jpg", "line_break"),
        (".jpg", ".jpg"),
        ("Cafe\u0301.jpg", "Caf\u00e9"),
        ("COCO_val2014_00000039189.jpg", "COCO_val2014_00000039189"),
    ],
)
def test_image_id_is_one_word_the_file_name_less_its_picture_suffix(name, expected):
    assert image_id(name) == expected


def test_pictures_are_found_in_the_folders_that_data_sets_have(tmp_path):
    for name in ("train2014/COCO_train2014_000000000009.jpg", "val2017/000000000139.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"")
    found, left_out = find_pictures(tmp_path, {})
    assert found == {"9": tmp_path / "train2014" / "COCO_train2014_000000000009.jpg",
                     "139": tmp_path / "val2017" / "000000000139.jpg"}  # fmt: skip
    assert left_out == []


@pytest.mark.parametrize(
    "files, expected, other",
    [
        ({"a": "a"}, "a.jpg", "a.png"),
        ({"a": "a.png"}, "a.png", "a.jpg"),
        ({"a": "somewhere/a.png"}, "a.png", "a.jpg"),
    ],
)
def test_of_two_pictures_with_one_id_the_named_one_is_taken(tmp_path, files, expected, other):
    (tmp_path / "a.jpg").write_bytes(b"")
    (tmp_path / "a.png").write_bytes(b"")
    found, left_out = find_pictures(tmp_path, files)
    assert found == {"a": tmp_path / expected}
    assert left_out == [other]


def test_a_name_that_ends_in_two_suffixes_is_told_from_the_one_without(tmp_path):
    names = ("photo.jpg", "photo.jpg.webp", "other.jpg", "other.png")
    for name in names:
        (tmp_path / name).write_bytes(b"")

    found, left_out = find_pictures(tmp_path, {})

    assert found == {"photo": tmp_path / "photo.jpg", "photo.jpg": tmp_path / "photo.jpg.webp",
                     "other": tmp_path / "other.png"}  # fmt: skip
    assert left_out == ["other.jpg"]


def test_pictures_in_class_folders_are_told_apart_as_far_as_is_needed(tmp_path):
    names = ["cats/1.jpg", "dogs/1.jpg", "dogs/2.jpg"]
    (tmp_path / "c.csv").write_text(
        "image,caption\ncats/1.jpg,a cat\ndogs/1.jpg,a dog\ndogs/2.jpg,two\n"
    )
    for name in names:
        (tmp_path / "p" / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / "p" / name).write_bytes(b"")
    dataset = read_dataset(tmp_path / "c.csv")
    assert dataset.captions == {"cats/1": ["a cat"], "dogs/1": ["a dog"], "2": ["two"]}
    found, left_out = find_pictures(tmp_path / "p", dataset.files)
    ids = ("cats/1", "dogs/1", "2")
    assert found == {one: tmp_path / "p" / name for one, name in zip(ids, names, strict=True)}
    assert left_out == []


def test_a_name_that_may_be_either_of_two_pictures_is_refused(tmp_path):
    for folder in ("cats", "dogs"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"cats/1\.jpg and .*dogs/1\.jpg: both may be"):
        find_pictures(tmp_path, {"1": "1.jpg"})
    assert set(find_pictures(tmp_path, {})[0]) == {"cats/1", "dogs/1"}


@pytest.mark.parametrize("names", [["a.jpg", "a.png"], ["a b.jpg", "a_b.jpg"], ["x/a", "x/a.jpg"]])
def test_captions_of_pictures_that_no_id_tells_apart_are_refused(tmp_path, names):
    (tmp_path / "c.csv").write_text("image,caption\n" + "".join(f"{one},a cat\n" for one in names))
    with pytest.raises(UserError, match=rf"c\.csv: '{names[0]}' and '{names[1]}' cannot be told"):
        read_captions(tmp_path / "c.csv")


def test_excluded_names():
    out = Excluded(["frame.0001.jpg", "cats/1.jpg", "7"])
    inside = ["frame.0001.jpg", "x/frame.0001.png", "data/cats/1.jpg", "1.jpg", "b/7.jpeg"]
    assert [name in out for name in inside] == [True] * 5
    outside = ["frame.0002.jpg", "frame.jpg", "dogs/1.jpg", "data/dogs/1.jpg", "77.jpg"]
    assert [name in out for name in outside] == [False] * 5
