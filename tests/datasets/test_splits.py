"""Splits: named in files of every kind, drawn by a seed, and refused where they do not belong."""

import pytest

from captioning.cli import UserError
from captioning.datasets import read_split
from tests import dataset_formats as formats

SPLITS = {"1_a.jpg": "train", "2_b.jpg": "val", "3_c.jpg": "restval"}


# ---- files -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        "a.jpg\n\nb.jpg\r\na.jpg\nc\n",
        "\ufeffa.jpg#0\nb.jpg#1\nc.PNG#2",
        "image\na.jpg\nb.jpg\nc.jpg\n",
        "id,image,width\n0,a.jpg,5\n1,b.jpg,5\n2,c.jpg,5\n",
        "image,caption\na.jpg,x\nb.jpg,y\nc,z\n",
        "a.jpg#0\tA dog .\nb.jpg#0\tA cat\nc.jpg#0\tA cow",
        '{"images": [{"file_name": "a", "id": 1}, {"file_name": "b", "id": 2},'
        ' {"file_name": "c", "id": 3}], "annotations": [{"image_id": 2, "caption": "x"}]}',
        '[{"image_id": "a", "caption": "x"}, {"image_id": "b.jpg", "caption": "y"},'
        ' {"image_id": "a", "caption": "z"}, {"image_id": "c", "caption": "z"}]',
    ],
)
@pytest.mark.parametrize("ids", [(), ("c", "b", "a"), ("f/c", "f/b", "f/a")])
def test_a_split_is_read_for_what_it_is(tmp_path, content, ids):
    (tmp_path / "s").write_text(content)
    found = read_split(tmp_path / "s", ids)
    assert found == (["f/a", "f/b", "f/c"] if "f/a" in ids else ["a", "b", "c"])


@pytest.fixture
def karpathy(tmp_path):
    """A file of Karpathy's."""
    captions = {name: ["A dog ."] for name in SPLITS}
    formats.write_karpathy(tmp_path / "dataset.json", captions, SPLITS)
    return tmp_path / "dataset.json"


def test_splits_of_a_karpathy_file_with_restval_in_train(karpathy):
    assert read_split(f"{karpathy}:train") == ["1_a", "3_c"]
    assert read_split(f"{karpathy}:val") == ["2_b"]


@pytest.mark.parametrize(
    "content",
    ["image,split\na.jpg,train\nb.jpg,dev\nc.jpg,dev\n", "split;file\ntrain;a\ndev;b\ndev;c"],
)
def test_a_csv_may_have_a_column_of_splits(tmp_path, content):
    (tmp_path / "s").write_text(content)
    assert read_split(f"{tmp_path}/s:dev") == ["b", "c"]


@pytest.mark.parametrize("name", ["", ":restval", ":dev"])
def test_of_several_splits_in_a_file_one_must_be_named(karpathy, name):
    with pytest.raises(UserError, match=r"there are \S*dataset\.json:train, \S*dataset\.json:val"):
        read_split(f"{karpathy}{name}")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("a.jpg\nb.jpg, c.jpg\n", 2),
        ("a.jpg b.jpg\n", 1),
        ("a.jpg\tb.jpg\n", 1),
        ("a.jpg 0\nb.jpg 1\n", 1),
        ("a,b,c\n", 1),
        ("'a'\n\"b.jpg\"\n", 2),
        ('["a.jpg", "b.jpg"]', 1),
        ('{"train": ["a.jpg"]}', 1),
        ('{"a": "train",\n "b": "dev"}', 1),
        ("<html>", 1),
    ],
)
def test_a_split_of_another_form_is_refused_with_what_is_accepted(tmp_path, content, line):
    (tmp_path / "s").write_text(content)
    message = f"/s: line {line} is not one name of a picture; a split is"
    with pytest.raises(UserError, match=message):
        read_split(tmp_path / "s")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image,split\na.jpg\n", "line 2 has 1 columns"),
        # It would make one name of all that follows.
        ('image,split\n"a.jpg,train\n' + "b.jpg,dev\n" * 20_000, r"line \d+: "),
        ("a.jpg\n", "names one split; leave out ':dev'"),
        ("image,caption\n", "names no image"),
    ],
)
def test_a_damaged_split_is_refused(tmp_path, content, message):
    (tmp_path / "s").write_text(content)
    with pytest.raises(UserError, match=message):
        read_split(f"{tmp_path}/s:dev")


@pytest.mark.parametrize("split", ["missing.txt", "missing.json:val", "train"])
def test_missing_split_file(tmp_path, monkeypatch, split):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"{split}: the split file does not exist"):
        read_split(split)


@pytest.mark.parametrize("name", ["dog, cat.jpg", "[1].jpg", "a (1).jpg", "#1.jpg", "split:1"])
def test_unusual_names_are_names(tmp_path, name):
    (tmp_path / name).write_text(f"{name}\nb.jpg\n")
    expected = name.removesuffix(".jpg").replace(" ", "_")
    assert read_split(tmp_path / name) == [expected, "b"]


def test_folders_in_a_split_are_taken_as_far_as_they_are_needed(tmp_path):
    (tmp_path / "s").write_text("data/cats/1.jpg\n./data/dogs/2.JPG\n")
    assert read_split(tmp_path / "s") == ["data/cats/1", "data/dogs/2"]
    assert read_split(tmp_path / "s", ["cats/1", "dogs/1", "2"]) == ["cats/1", "2"]


def test_a_name_of_several_data_sets_needs_its_folder(tmp_path):
    known = ["x/images/1", "y/images/1", "y/images/2"]
    (tmp_path / "s").write_text("y/images/1.jpg\n2.jpg\n3.jpg\n")
    assert read_split(tmp_path / "s", known) == ["y/images/1", "y/images/2", "3"]
    for name in ("1", "images/1"):
        (tmp_path / "s").write_text(name)
        message = f"s: '{name}' may be 'x/images/1' or 'y/images/1'; write its folder, too, or give"
        with pytest.raises(UserError, match=message):
            read_split(tmp_path / "s", known)


# ---- drawn -----------------------------------------------------------------------------------


def test_drawn_splits_share_out_all_images_eight_to_one_to_one():
    ids = [str(number) for number in range(5000)]
    train, dev, test = (read_split(name, ids) for name in ("train", "dev", "test"))
    assert sorted(train + dev + test, key=int) == ids
    assert (len(train), len(dev), len(test)) == pytest.approx((4000, 500, 500), abs=60)


@pytest.mark.parametrize(
    ("split", "seed", "drawn"),
    [
        ("dev", 0, "3 29 30 31 48 52 57"),
        ("test", 0, "11 19 23 27 28 32 37 47"),
        ("dev", 7, "5 11 13 29 38"),
    ],
)
def test_the_same_images_are_drawn_for_ever_whichever_others_there_are(split, seed, drawn):
    """A model is scored on what it never trained on, whatever version trained it."""
    assert read_split(split, map(str, range(60)), seed=seed) == drawn.split()
    more = read_split(split, map(str, range(200)), seed=seed)
    assert [one for one in more if int(one) < 60] == drawn.split()


def test_a_file_called_train_comes_before_a_drawn_split(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train").write_text("a.jpg\n")
    assert read_split("train", ["b", "c"]) == ["a"]


def test_a_captions_file_without_splits_of_its_own_is_divided(tmp_path):
    ids = [str(number) for number in range(200)]
    formats.write_kaggle_csv(tmp_path / "own.csv", {f"{i}.jpg": ["A dog ."] for i in ids})
    dev = read_split("dev", ids, seed=3)
    assert read_split(f"{tmp_path}/own.csv:dev", seed=3) == dev
    of_several = [f"own/{i}" for i in ids]
    assert read_split(f"{tmp_path}/own.csv:dev", of_several, seed=3) == [f"own/{i}" for i in dev]
