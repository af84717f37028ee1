"""Several data sets as one, whose ids begin with the names of their folders."""

from pathlib import Path

import pytest

from captioning.cli import UserError
from captioning.datasets import find_all_images, read_images_and_captions, results
from tests import dataset_formats as formats


@pytest.fixture
def make(tmp_path):
    """What makes a folder of pictures, and the captions file of them."""

    def make(name: str, *images: str, write=formats.write_kaggle_csv, captioned=None):
        folder = tmp_path / name
        for file in images:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text("")
        path = tmp_path / f"{name.replace('/', '-')}.captions"
        write(path, {file: [f"{file} of {name}"] for file in captioned or images})
        return folder, path

    return make


def read(*sets: tuple[Path, Path]):
    return read_images_and_captions(*zip(*sets, strict=True))


def test_each_captions_file_is_read_in_its_own_format_with_the_folder_in_its_place(make):
    one = make("a", "1.jpg", "x/2.jpg", write=formats.write_flickr8k_token)
    two = make("b", "1.jpg", "9.jpg", captioned=["1.jpg", "gone.jpg"])
    dataset, images, ids, left_out = read(one, two)
    files = {"a/1": "1.jpg", "a/2": "x/2.jpg", "b/1": "1.jpg", "b/gone": "gone.jpg"}
    assert dataset.files == files
    assert dataset.captions == {i: [f"{file} of {i[0]}"] for i, file in files.items()}
    assert dataset.name == "token file (a.captions), csv (b.captions)"
    names = {"a/1": "a/1.jpg", "a/2": "a/x/2.jpg", "b/1": "b/1.jpg", "b/9": "b/9.jpg"}
    assert images == {image_id: one[0].parent / name for image_id, name in names.items()}
    assert ids == [["a/1", "a/2"], ["b/1"]]
    assert left_out == []
    wanted = ["a/1", "b/1"]
    found = find_all_images([two[0], one[0], two[0]], wanted)
    assert found == {one: images[one] for one in wanted}


def test_ids_of_a_single_data_set_have_no_folder(make):
    folder, first = make("a", "1.jpg", "2.jpg", captioned=["1.jpg"])
    _, second = make("other", captioned=["2.jpg"])
    for folders in ([folder], [folder, folder]):
        dataset, images, ids, _ = read_images_and_captions(folders, [first, second])
        assert ids == [["1", "2"]]
        assert set(dataset.captions) == {"1", "2"}
        assert find_all_images(folders, ids[0]) == images


def test_where_the_captions_file_is_not_known_a_mask_is_not_taken_for_the_picture(make):
    folder, file = make("a", "images/1.jpg", "annotations/1.png", captioned=["images/1.jpg"])

    _, images, *_ = read_images_and_captions([folder], [file])

    with pytest.raises(UserError, match="both may be the picture '1'; give --images the folder"):
        find_all_images([folder], ["1"])
    assert find_all_images([folder / "images"], ["1"]) == {"1": images["1"]}


def test_folders_of_one_name_are_told_apart_by_the_folders_above(make):
    dataset, images, *_ = read(make("a/images", "1.jpg"), make("b/images", "s/1.jpg"))
    assert set(dataset.captions) == set(images) == {"a/images/1", "b/images/1"}
    folders = [path.parents[n] for n, path in enumerate(images.values())]
    assert find_all_images(folders, images) == images


def test_splits_of_several_files_go_by_the_new_ids(make):
    def write(path, captions):
        formats.write_karpathy(path, captions, dict.fromkeys(captions, "val"))

    dataset, *_ = read(make("a", "1.jpg", write=write), make("b", "1.jpg", write=write))
    assert dataset.splits == {"val": ["a/1", "b/1"]}


def test_numbers_of_coco_files_that_two_pictures_have_are_left_out(make):
    def write(path, captions):
        formats.write_coco(path, captions, {name: 5 for name in captions})

    dataset, *_ = read(make("a", "x.jpg", write=write), make("b", "y.jpg", write=write))
    written = results([("a/x", "a dog"), ("b/y", "a cat")], dataset.numbers)
    assert [entry["image_id"] for entry in written] == ["a/x", "b/y"]


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["a", "b", "c"], "--images: 3 folders for 2 captions files; give one for all, or one for"),
        (["b", "a"], r"b: holds none of the pictures .*; are --images and --captions in the same"),
        (["a", "nowhere"], "nowhere: not a folder of pictures"),
    ],
)
def test_folders_that_do_not_fit_the_captions(make, tmp_path, folders, message):
    files = [make("a", "1.jpg")[1], make("b", "2.jpg")[1]]
    with pytest.raises(UserError, match=message):
        read_images_and_captions([tmp_path / name for name in folders], files)


def test_folders_that_ids_are_not_of_are_refused(make):
    folders = [make(name, "1.jpg")[0] for name in ("a", "b")]
    message = r"a, .*b: none of the captioned pictures; give --images the folders that 1_data"
    with pytest.raises(UserError, match=message):
        find_all_images(folders, ["mine/1", "hers/1"])
