"""Several data sets as one, and names that two of them have."""

from pathlib import Path

import pytest

from captioning.cli import UserError
from captioning.datasets import find_all_pictures, read_with_pictures, results
from tests import dataset_formats as formats


@pytest.fixture
def make(tmp_path):
    """What makes a folder of pictures, whose bytes are given, and the captions file of them."""

    def make(name: str, pictures: dict[str, str], write=formats.write_kaggle_csv, captions=None):
        folder = tmp_path / name
        for file, content in pictures.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(content)
        if captions is None:
            captions = {file: [f"{file} of {name}"] for file in pictures}
        path = tmp_path / f"{name.replace('/', '-')}.captions"
        write(path, captions)
        return folder, path

    return make


def read(*sets: tuple[Path, Path]):
    folders, captions = zip(*sets, strict=True)
    return read_with_pictures(folders, captions)


def test_each_captions_file_is_read_in_its_own_format_with_the_folder_in_its_place(make):
    one = make("a", {"1.jpg": "x", "2.jpg": "y"}, formats.write_flickr8k_token)
    two = make("b", {"3.jpg": "z"})
    found = read(one, two)
    assert found.dataset.captions == {"1": ["1.jpg of a"], "2": ["2.jpg of a"], "3": ["3.jpg of b"]}
    assert found.pictures == {"1": one[0] / "1.jpg", "2": one[0] / "2.jpg", "3": two[0] / "3.jpg"}
    assert found.ids == [["1", "2"], ["3"]]


def test_files_with_one_folder_are_one_data_set(make):
    folder, first = make("a", {"1.jpg": "x", "2.jpg": "y"}, captions={"1.jpg": ["one"]})
    _, second = make("other", {}, captions={"2.jpg": ["two"]})
    for folders in ([folder], [folder, folder]):
        found = read_with_pictures(folders, [first, second])
        assert found.ids == [["1", "2"]]


def test_different_pictures_of_one_name_get_their_folders_name(make, capsys):
    one, two = make("a", {"1.jpg": "x", "2.jpg": "y"}), make("b", {"1.jpg": "z"})
    found = read(one, two)
    assert found.dataset.captions == {
        "a/1": ["1.jpg of a"], "2": ["2.jpg of a"], "b/1": ["1.jpg of b"]
    }  # fmt: skip
    expected = {"a/1": one[0] / "1.jpg", "2": one[0] / "2.jpg", "b/1": two[0] / "1.jpg"}
    assert found.pictures == expected
    assert "1 names stand for different pictures in two data sets: now 'a/1' and 'b/1'" in (
        capsys.readouterr().out
    )
    assert find_all_pictures([two[0], one[0]], expected) == expected


def test_folders_of_one_name_are_told_apart_by_the_folders_above(make):
    found = read(make("a/images", {"1.jpg": "x"}), make("b/images", {"s/1.jpg": "y"}))
    assert set(found.dataset.captions) == set(found.pictures) == {"a/images/1", "b/images/1"}
    folders = [path.parents[n] for n, path in enumerate(found.pictures.values())]
    assert find_all_pictures(folders, found.pictures) == found.pictures


def test_one_picture_in_two_data_sets_counts_once_with_the_captions_of_both(make):
    captions = {"1.jpg": ["a dog", "a cat"]}
    one = make("a", {"1.jpg": "same"}, captions={"1.jpg": ["a dog"]})
    found = read(one, make("b", {"1.jpg": "same"}, captions=captions))
    assert found.dataset.captions == {"1": ["a dog", "a cat"]}
    assert found.ids == [["1"], []]
    assert found.pictures == {"1": one[0] / "1.jpg"}


def test_a_picture_without_a_caption_or_captions_without_a_picture_take_no_others_name(make):
    """Else fine-tuning would find two pictures, and a split of the one would mean the other."""
    one = make("a", {"1.jpg": "x", "9.jpg": "y"}, captions={"9.jpg": ["nine"], "2.jpg": ["two"]})
    two = make("b", {"1.jpg": "z", "2.jpg": "z"})
    found = read(one, two)
    assert set(found.dataset.captions) == {"9", "a/2", "b/1", "b/2"}
    assert found.ids == [["9"], ["b/1", "b/2"]]
    ids = ["9", "b/1", "b/2"]
    assert find_all_pictures([one[0], two[0]], ids) == {i: found.pictures[i] for i in ids}


def test_numbers_of_coco_files_that_two_pictures_have_are_left_out(make):
    def write(path, captions):
        formats.write_coco(path, captions, {name: 5 for name in captions})

    found = read(make("a", {"x.jpg": "x"}, write), make("b", {"y.jpg": "y"}, write))
    written = results([("x", "a dog"), ("y", "a cat")], found.dataset.numbers)
    assert [entry["image_id"] for entry in written] == ["x", "y"]


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["a", "b", "c"], "--images: 3 folders for 2 captions files; give one for all, or one for"),
        (["b", "a"], r"b: holds none of the pictures .*; are --images and --captions in the same"),
        (["a", "nowhere"], "nowhere: not a folder of pictures"),
    ],
)
def test_folders_that_do_not_fit_the_captions(make, tmp_path, folders, message):
    files = [make("a", {"1.jpg": "x"})[1], make("b", {"2.jpg": "y"})[1]]
    with pytest.raises(UserError, match=message):
        read_with_pictures([tmp_path / name for name in folders], files)


def test_folders_whose_names_do_not_tell_pictures_apart(make):
    one = make("a", {"b/1.jpg": "x", "c/1.jpg": "y"})  # so that these are b/1 and c/1
    with pytest.raises(UserError, match="give one of the folders another name"):
        read(one, make("b", {"1.jpg": "z"}), make("d", {"1.jpg": "w"}))


def test_two_pictures_that_may_be_the_same_one_are_refused(make):
    one, two = make("a", {"1.jpg": "x"}), make("b", {"1.jpg": "y"})
    with pytest.raises(UserError, match=r"a/1\.jpg and .*b/1\.jpg: both may be the picture '1'"):
        find_all_pictures([one[0], two[0]], ["1"])


def test_a_folder_that_lies_in_another_is_refused(make):
    outer = make("pics", {"a/x.jpg": "x", "b/x.jpg": "y"})
    inner = make("pics/a", {"x.jpg": "x"})

    with pytest.raises(UserError, match="give no folder that lies in another one"):
        read(outer, inner)
