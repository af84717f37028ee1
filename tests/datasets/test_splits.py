"""Splits: named in files of every kind, drawn by a seed, and refused where they do not belong."""

import json

import pytest

from captioning.cli import UserError
from captioning.datasets import read_split
from tests import dataset_formats as formats

CAPTIONS = {"1_a.jpg": ["A dog ."], "2_b.jpg": ["A cat .", "A cat , too"], "3_c.jpg": ["A cow ."]}
SPLITS = {"1_a.jpg": "train", "2_b.jpg": "val", "3_c.jpg": "restval"}
NUMBERS = {"1_a.jpg": 17, "2_b.jpg": 5, "3_c.jpg": 12}
DRAWN = [
    ("dev", 0, "3 29 30 31 48 52 57"), ("test", 0, "11 19 23 27 28 32 37 47"),
    ("dev", 7, "5 11 13 29 38"),
]  # fmt: skip


def test_split_without_repeats_and_blank_lines(tmp_path):
    path = tmp_path / "split.txt"
    path.write_text("b.jpg\n\na.jpg\r\nb.jpg\n")
    assert read_split(path) == ["b", "a"]


def test_split_of_a_coco_file_is_all_its_pictures_with_or_without_captions(tmp_path):
    formats.write_coco(tmp_path / "val.json", CAPTIONS, NUMBERS)
    whole = json.loads((tmp_path / "val.json").read_text())
    (tmp_path / "val.json").write_text(json.dumps({**whole, "annotations": []}))
    assert read_split(tmp_path / "val.json") == ["1_a", "2_b", "3_c"]
    (tmp_path / "image_info_test.json").write_text('{"images": [{"file_name": "a", "id": 1}]}')
    assert read_split(tmp_path / "image_info_test.json") == ["a"]


def test_split_of_coco_results_is_all_their_pictures(tmp_path):
    formats.write_coco_results(tmp_path / "list.json", CAPTIONS)
    assert read_split(tmp_path / "list.json") == ["1_a", "2_b", "3_c"]


def test_splits_of_a_karpathy_file_with_restval_in_train(tmp_path):
    formats.write_karpathy(tmp_path / "dataset.json", CAPTIONS, SPLITS)
    assert read_split(f"{tmp_path}/dataset.json:train") == ["1_a", "3_c"]
    assert read_split(f"{tmp_path}/dataset.json:val") == ["2_b"]


@pytest.mark.parametrize("name", ["", ":restval", ":dev"])
def test_a_karpathy_split_must_be_named(tmp_path, name):
    formats.write_karpathy(tmp_path / "dataset.json", CAPTIONS, SPLITS)
    with pytest.raises(UserError, match=r"there are \S*dataset\.json:train, \S*dataset\.json:val"):
        read_split(f"{tmp_path}/dataset.json{name}")


def test_a_file_name_with_a_colon_is_a_file_name(tmp_path):
    (tmp_path / "split:1").write_text("a.jpg\n")
    assert read_split(tmp_path / "split:1") == ["a"]


@pytest.mark.parametrize("split", ["missing.txt", "missing.json:val", "train"])
def test_missing_split_file(tmp_path, monkeypatch, split):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"{split}: the split file does not exist"):
        read_split(split)


def test_drawn_splits_share_out_all_images_eight_to_one_to_one():
    ids = [str(number) for number in range(5000)]
    train, dev, test = (read_split(name, ids) for name in ("train", "dev", "test"))
    assert sorted(train + dev + test, key=int) == ids
    assert (len(train), len(dev), len(test)) == pytest.approx((4000, 500, 500), abs=60)


@pytest.mark.parametrize(("split", "seed", "drawn"), DRAWN)
def test_the_same_images_are_drawn_for_ever(split, seed, drawn):
    """A model is scored on what it never trained on, whatever version trained it."""
    assert read_split(split, map(str, range(60)), seed=seed) == drawn.split()


def test_a_drawn_split_depends_on_the_seed_and_not_on_the_other_images():
    ids = [str(number) for number in range(200)]
    dev = read_split("dev", ids, seed=1)
    assert read_split("dev", ids[:100], seed=1) == [one for one in dev if int(one) < 100]
    assert read_split("dev", ids, seed=2) != dev


def test_a_file_called_train_comes_before_a_drawn_split(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train").write_text("a.jpg\n")
    assert read_split("train", ["b", "c"]) == ["a"]


@pytest.mark.parametrize(
    "content",
    [
        "a.jpg, b.jpg, c.jpg\n", "a.jpg b.jpg\nc.jpg", "a.jpg\tb.jpg\nc.png\n", "a,b,c", "a;b\nc\n",
        "image\na.jpg\nb.jpg\nc.jpg\n", "x/a.jpg\ny/b.jpg\n./c.JPG\n", "'a.jpg'\n\"b\"\nc.jpg",
        "a.jpg 0\nb.jpg 1\nc.jpg 1\n", "id,image,width\n0,a.jpg,5\n1,b.jpg,5\n2,c.jpg,5\n",
        '["a.jpg", "b.jpg", "c"]', '{"images": ["a", "b", "c"]}', '{"dev": ["a", "b", "c"]}',
        '[{"file_name": "a.jpg"}, {"file_name": "b"}, {"file_name": "c"}]',
        '{"a.jpg": 1, "b.jpg": 2, "c.jpg": 3}', "image,caption\na.jpg,x\nb.jpg,y\nc,z\n",
        "a.jpg#0\tA dog .\nb.jpg#0\tA cat\nc.jpg#0\tA cow",
    ],
)  # fmt: skip
@pytest.mark.parametrize("ids", [(), ("c", "b", "a")])
def test_a_split_is_read_for_what_it_is(tmp_path, content, ids):
    (tmp_path / "s").write_text(content)
    assert [one.rsplit("/", 1)[-1] for one in read_split(tmp_path / "s", ids)] == ["a", "b", "c"]


@pytest.mark.parametrize(
    "content",
    ['{"dev": ["b", "c"], "train": ["a"]}', '{"a": "train", "b": "dev", "c": "dev"}',
     "image,split\na.jpg,train\nb.jpg,dev\nc.jpg,dev\n", "split;file\ntrain;a\ndev;b\ndev;c\n"],
)  # fmt: skip
def test_of_several_splits_in_a_file_one_is_named(tmp_path, content):
    (tmp_path / "s").write_text(content)
    assert read_split(f"{tmp_path}/s:dev") == ["b", "c"]
    with pytest.raises(UserError, match="say which of its splits; there are"):
        read_split(tmp_path / "s")


@pytest.mark.parametrize(
    "content",
    ["[[1, 2]]", '{"a": {"b": 1}}', "[true]", "[1.5]", '{"train": [{}]}', "image,split\na.jpg\n"],
)
def test_a_split_of_another_form_is_refused(tmp_path, content):
    (tmp_path / "s").write_text(content)
    with pytest.raises(UserError, match="/s: "):
        read_split(tmp_path / "s")


def test_a_quote_without_its_other_one_is_named(tmp_path):
    """It would make one name of all that follows."""
    (tmp_path / "s.csv").write_text('image,split\n"a.jpg,train\n' + "b.jpg,dev\n" * 20_000)
    with pytest.raises(UserError, match=r"s\.csv: line \d+: "):
        read_split(f"{tmp_path}/s.csv:dev")


def test_a_name_with_a_comma_is_one_name_where_it_is_known(tmp_path):
    (tmp_path / "s").write_text("dog, cat.jpg\nb.jpg\n")
    assert read_split(tmp_path / "s", ["dog,_cat", "b"]) == ["dog,_cat", "b"]


def test_folders_in_a_split_are_taken_as_far_as_they_are_needed(tmp_path):
    (tmp_path / "s").write_text("data/cats/1.jpg\ndata/dogs/2.jpg\n")
    assert read_split(tmp_path / "s", ["cats/1", "dogs/1", "2"]) == ["cats/1", "2"]


def test_a_captions_file_without_splits_of_its_own_is_divided(tmp_path):
    captions = {f"{number}.jpg": ["A dog ."] for number in range(200)}
    formats.write_kaggle_csv(tmp_path / "own.csv", captions)
    train, dev, test = (
        read_split(f"{tmp_path}/own.csv:{name}", seed=3) for name in ("train", "dev", "test")
    )
    ids = [str(number) for number in range(200)]
    assert sorted([*train, *dev, *test], key=int) == ids
    assert dev == read_split("dev", ids, seed=3)
