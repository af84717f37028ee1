"""Captions files of every data set, into one value."""

import json
import re
from functools import partial

import pytest

from captioning.cli import UserError
from captioning.datasets import read_captions, read_datasets, results
from tests import dataset_formats as formats

CAPTIONS = {
    "1_a.jpg": ["A dog , running .", "Dogs #1"],
    "2_b.jpg": ['A cat with "fur" | and a tail', "A cat , too"],
    "3_c.jpg": ["Zwei Kätzchen"],
}
BY_ID = {"1_a": CAPTIONS["1_a.jpg"], "2_b": CAPTIONS["2_b.jpg"], "3_c": CAPTIONS["3_c.jpg"]}
SPLITS = {"1_a.jpg": "train", "2_b.jpg": "val", "3_c.jpg": "restval"}
NUMBERS = {"1_a.jpg": 17, "2_b.jpg": 5, "3_c.jpg": 12}


def write_coco(path, captions) -> None:
    formats.write_coco(path, captions, NUMBERS)


def written(tmp_path, text: str):
    (tmp_path / "captions").write_text(text)
    return tmp_path / "captions"


@pytest.mark.parametrize(
    ("write", "dataset", "name"),
    [
        (formats.write_flickr8k_token, "table", "token file"),
        (formats.write_kaggle_csv, "table", "csv"),
        (formats.write_flickr30k_csv, "table", "csv"),
        (write_coco, "coco", "MS COCO"),
        (formats.write_coco_results, "coco", "JSON"),
        (partial(formats.write_karpathy, splits=SPLITS), "coco", "Karpathy's splits of flickr8k"),
    ],
)
def test_captions_of_every_format(tmp_path, write, dataset, name):
    write(tmp_path / "captions", CAPTIONS)
    found = read_datasets([tmp_path / "captions"])
    assert found.captions == BY_ID
    assert found.name == f"{name} (captions)"
    assert read_datasets([tmp_path / "captions"], dataset) == found
    with pytest.raises(UserError, match="of no known form"):
        read_datasets([tmp_path / "captions"], "coco" if dataset == "table" else "table")


UNKNOWN = ("", "\n\n", "hello\n", "<html>", "[1]", "a.jpg\tx", "photo,words")
UNKNOWN += ('{"images": []}', "{}", '{"images": [1]}', '[{"x": 1}]')


@pytest.mark.parametrize("text", UNKNOWN)
def test_an_unknown_form_is_told_what_the_first_line_is_to_be(tmp_path, text):
    message = f"by its first line '{text.strip()}'; that of a csv must name the columns"
    with pytest.raises(UserError, match=re.escape(message)):
        read_captions(written(tmp_path, text))


@pytest.mark.parametrize(
    "content", [b"\xff\xfea\0b\0", b"PK\x03\x04\xff\xfe", b"\x80\x04\x95\xff", b"caf\xe9"]
)
def test_what_is_no_utf_8_text_is_refused(tmp_path, content):
    (tmp_path / "captions.txt").write_bytes(content)
    with pytest.raises(UserError, match="captions file is not UTF-8 text; save a spreadsheet as"):
        read_captions(tmp_path / "captions.txt")


def test_a_reader_that_is_none_is_refused(tmp_path):
    formats.write_kaggle_csv(tmp_path / "captions.txt", CAPTIONS)
    with pytest.raises(UserError, match="--dataset flickr8k: give auto, coco or table"):
        read_datasets([tmp_path / "captions.txt"], "flickr8k")


# ---- tables ----------------------------------------------------------------------------------


def test_flickr8k_names_with_a_second_number(tmp_path):
    """A caption that has no picture, and is not another picture's."""
    path = written(tmp_path, "2_b.jpg#0\tA dog\n2_b.jpg.1#0\tA cat\n")
    assert read_captions(path) == {"2_b": ["A dog"], "2_b.jpg.1": ["A cat"]}


@pytest.mark.parametrize(
    "text, expected",
    [
        ('\ufeffimage,caption\r\na.jpg,"A ""fur"" , so"\r\n', ['A "fur" , so']),
        ("image,caption,id\na.jpg,a dog runs,0\na.jpg,two,1\n", ["a dog runs", "two"]),
        ('image,caption,split\na.jpg,"a dog, running",train\n', ["a dog, running"]),
        ("split,image,caption\ntrain,a.jpg,a dog, running\n", ["a dog, running"]),
        ("caption,image\na dog,x/a.jpg\n", ["a dog"]),
        ("image;caption\na.jpg;a dog, running\n", ["a dog, running"]),
        ("filename\ttext\na.jpg\ta dog\n", ["a dog"]),
        ("\n\timage\tcaption\n0\ta.jpg\ta dog\n", ["a dog"]),
        ("image,caption1,caption2,id\na.jpg,one,two,7\n", ["one", "two"]),
        ("image,caption1,caption2\na.jpg,one,\n", ["one"]),
        ("image_name,comment_number,comment,lang\na.jpg,0,a dog,en\n", ["a dog"]),
    ],
)
def test_csv_goes_by_its_header(tmp_path, text, expected):
    assert read_captions(written(tmp_path, text)) == {"a": expected}


@pytest.mark.parametrize("bar", ["| ", ",", "|"])
def test_flickr30k_csv_with_bars_or_commas_and_the_row_that_lacks_one(tmp_path, bar):
    text = "image_name|comment_number|comment\n1.jpg|0|4 dogs run .\n2.jpg|3|A dog runs .\n"
    broken = "2.jpg|4   A dog runs across the grass .\n" if "|" in bar else ""
    found = read_captions(written(tmp_path, (text + broken).replace("|", bar)))
    last = ["A dog runs across the grass ."] if broken else []
    assert found == {"1": ["4 dogs run ."], "2": ["A dog runs .", *last]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg#0\tA dog\nb.jpg A cat\n", "line 2 is not 'name.jpg#0<TAB>caption'"),
        ("image,caption,id\na.jpg,a dog, running,0\n", "line 2 has 4 columns, and the first line"),
        ("image,caption,id\na.jpg,a dog\n", "line 2 has 2 columns, and the first line names 3"),
        ("image_name| comment_number| comment\n1.jpg| 0| A dog\n1.jpg A cat\n", "line 3 has 1 col"),
        ("image,caption\n ,a dog\n", "line 2 names no picture"),
        ('image,caption\na.jpg,"a dog\n', "line 2: unexpected end of data"),
        ("/#0\ta dog\n", "has a caption that belongs to no picture"),
        ('{"images": [{"file_name": "a.jpg"', "captions: is damaged JSON"),
    ],
)
def test_what_is_broken_is_named(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_captions(written(tmp_path, text))


# ---- JSON ------------------------------------------------------------------------------------


def test_coco_pictures_keep_the_order_of_the_file_and_their_numbers(tmp_path):
    write_coco(tmp_path / "val.json", CAPTIONS)
    found = read_datasets([tmp_path / "val.json"])
    assert list(found.captions) == ["1_a", "2_b", "3_c"]
    assert found.numbers == {"1_a": 17, "2_b": 5, "3_c": 12}


def image(number, file="a.jpg") -> dict:
    return {"file_name": file, "id": number}


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"images": [{"file_name": "a.jpg"}]}, "image 0 has no 'id'"),
        ({"images": [image("1")]}, "image 0 has no 'id' of type int"),
        ({"images": [image(1), image(2, "a.png")], "annotations": []}, "told apart"),
        ({"images": [image(1), image(1, "b.jpg")]}, "listed twice"),
        ({"images": [image(1), image(2)]}, "listed twice"),
        ({"annotations": [{"image_id": 99, "caption": "x"}]}, "image 99, which is not listed"),
        ({"annotations": [{"image_id": 17, "bbox": []}]}, "annotation 0 has no 'caption'"),
        ({"annotations": {}}, "no 'annotations' of type list"),
        ({"annotations": []}, "holds no caption"),
    ],
)
def test_coco_file_that_contradicts_itself_is_refused(tmp_path, changes, reason):
    write_coco(tmp_path / "val.json", CAPTIONS)
    whole = json.loads((tmp_path / "val.json").read_text())
    (tmp_path / "val.json").write_text(json.dumps({**whole, **changes}))
    with pytest.raises(UserError, match=reason):
        read_captions(tmp_path / "val.json")


def test_half_characters_of_json_become_text(tmp_path):
    formats.write_coco(tmp_path / "val.json", {"a.jpg": ["A dog \ud83d ."]}, {"a.jpg": 1})
    assert read_captions(tmp_path / "val.json") == {"a": ["A dog ? ."]}
    records = written(tmp_path, json.dumps([{"image": "a", "caption": ["A \ud83d"]}]))
    assert read_captions(records) == {"a": ["A ?"]}


def test_results_are_numbered_as_the_coco_server_wants():
    captions = {"391895": "a dog", "1_a": "a cat", "2_b": "no number", "007": "a spy"}
    assert results(captions.items(), {"1_a": 17}) == [
        {"image_id": 391895, "caption": "a dog", "file": "391895"},
        {"image_id": 17, "caption": "a cat", "file": "1_a"},
        {"image_id": "2_b", "caption": "no number", "file": "2_b"},
        {"image_id": "007", "caption": "a spy", "file": "007"},
    ]


# ---- several files ---------------------------------------------------------------------------


def test_training_and_validation_files_are_one_data_set(tmp_path):
    write_coco(tmp_path / "train.json", {"1_a.jpg": ["x"]})
    write_coco(tmp_path / "val.json", {"2_b.jpg": ["y"]})
    found = read_datasets([tmp_path / "train.json", tmp_path / "val.json"])
    assert found.captions == {"1_a": ["x"], "2_b": ["y"]}
    assert found.numbers == {"1_a": 17, "2_b": 5}
    assert found.name == "MS COCO (train.json), MS COCO (val.json)"


def test_a_picture_in_two_captions_files_is_refused(tmp_path):
    write_coco(tmp_path / "val.json", CAPTIONS)
    formats.write_kaggle_csv(tmp_path / "captions.txt", CAPTIONS)
    with pytest.raises(UserError, match=r"captions\.txt\): image 1_a is in another captions file"):
        read_datasets([tmp_path / "val.json", tmp_path / "captions.txt"])
