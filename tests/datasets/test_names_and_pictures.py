"""How pictures are called and found, whichever data set names them."""

import pytest

from captioning.cli import UserError
from captioning.datasets import find_images, read_captions, read_datasets
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
        # COCO's names of all years, and its number, meet.
        ("COCO_val2014_000000391895.jpg", "391895"),
        ("COCO_train2014_000000391895.jpg", "391895"),
        ("val2017/000000391895.jpg", "391895"),
        ("391895", "391895"),
    ],
)
def test_image_id_is_one_word_the_file_name_less_its_picture_suffix(name, expected):
    assert image_id(name) == expected


def touch(folder, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_pictures_are_found_in_the_folders_that_data_sets_have(tmp_path):
    first, second = "train2014/COCO_train2014_000000000009.jpg", "val2017/000000000139.jpg"
    touch(tmp_path, first, second, "others/x.jpg")
    found, left_out = find_images(tmp_path, {"9": first, "139": "000000000139.jpg"})
    names = {"9": first, "139": second, "others/x": "others/x.jpg"}
    assert found == {image_id: tmp_path / name for image_id, name in names.items()}
    assert left_out == []


@pytest.mark.parametrize(
    "files, expected, other",
    [
        ({"a": "a"}, "a.jpg", "a.png"),
        ({"a": "a.png"}, "a.png", "a.jpg"),
        ({"a": "somewhere/a.png"}, "a.png", "a.jpg"),
        ({}, "a.jpg", "a.png"),
    ],
)
def test_of_two_pictures_with_one_id_the_named_one_is_taken(tmp_path, files, expected, other):
    touch(tmp_path, "a.jpg", "a.png", "a.jpg.webp")
    found, left_out = find_images(tmp_path, files)
    assert found == {"a": tmp_path / expected, "a.jpg": tmp_path / "a.jpg.webp"}
    assert left_out == [other]


def test_pictures_in_class_folders_are_told_apart_as_far_as_is_needed(tmp_path):
    names = ["cats/1.jpg", "dogs/1.jpg", "dogs/2.jpg"]
    ids = ["cats/1", "dogs/1", "2"]
    lines = [f"{name},{image_id}\n" for name, image_id in zip(names, ids, strict=True)]
    (tmp_path / "c.csv").write_text("image,caption\n" + "".join(lines))
    touch(tmp_path / "p", *names)
    dataset = read_datasets([tmp_path / "c.csv"])
    assert dataset.captions == {image_id: [image_id] for image_id in ids}
    found = [tmp_path / "p" / name for name in names]
    assert find_images(tmp_path / "p", dataset.files) == (dict(zip(ids, found, strict=True)), [])


def test_a_namesake_in_another_folder_is_not_a_missing_picture(tmp_path):
    touch(tmp_path, "train/1.jpg", "val/1.jpg", "val/2.jpg", "train/s/3.jpg")
    found, left_out = find_images(tmp_path, {n: f"train/{n}.jpg" for n in "123"})
    names = {"1": "train/1", "val/1": "val/1", "val/2": "val/2", "3": "train/s/3"}
    assert found == {image_id: tmp_path / f"{name}.jpg" for image_id, name in names.items()}
    assert left_out == []


def test_a_name_that_may_be_either_of_two_pictures_is_refused(tmp_path):
    touch(tmp_path, "cats/1.jpg", "dogs/1.jpg")
    with pytest.raises(UserError, match=r"cats/1\.jpg and .*dogs/1\.jpg: both may be"):
        find_images(tmp_path, {"1": "1.jpg"})
    assert set(find_images(tmp_path, {})[0]) == {"cats/1", "dogs/1"}


@pytest.mark.parametrize("names", [["a.jpg", "a.png"], ["a b.jpg", "a_b.jpg"], ["x/a", "x/a.jpg"]])
def test_captions_of_pictures_that_no_id_tells_apart_are_refused(tmp_path, names):
    (tmp_path / "c.csv").write_text("image,caption\n" + "".join(f"{one},a cat\n" for one in names))
    with pytest.raises(UserError, match=rf"c\.csv: '{names[0]}' and '{names[1]}' cannot be told"):
        read_captions(tmp_path / "c.csv")


# ---- --exclude -------------------------------------------------------------------------------


def test_excluded_names():
    out = Excluded(["frame.0001.jpg", "cats/1.jpg", "7"])
    inside = ["frame.0001.jpg", "x/frame.0001.png", "data/cats/1.jpg", "1.jpg", "b/7.jpeg"]
    assert [name in out for name in inside] == [True] * 5
    outside = ["frame.0002.jpg", "frame.jpg", "dogs/1.jpg", "data/dogs/1.jpg", "77.jpg"]
    assert [name in out for name in outside] == [False] * 5
