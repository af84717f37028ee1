"""Captions files of every data set, into one form."""

import json

import pytest

from captioning.cli import UserError
from captioning.datasets import (
    read_captions,
    read_dataset,
    read_datasets,
    read_split,
    results,
)
from captioning.images.names import image_id
from tests import dataset_formats as formats

CAPTIONS = {
    "1_a.jpg": ["A dog , running .", "Dogs #1"],
    "2_b.jpg": ['A cat with "fur" | and a tail', "A cat , too"],
    "3_c.jpg": ["Zwei Kätzchen"],
}
BY_ID = {"1_a": CAPTIONS["1_a.jpg"], "2_b": CAPTIONS["2_b.jpg"], "3_c": CAPTIONS["3_c.jpg"]}
SPLITS = {"1_a.jpg": "train", "2_b.jpg": "val", "3_c.jpg": "restval"}
NUMBERS = {"1_a.jpg": 17, "2_b.jpg": 5, "3_c.jpg": 12}


# ---- every format gives the same -------------------------------------------------------------

WRITERS = {
    "flickr8k token": formats.write_flickr8k_token,
    "flickr8k csv": formats.write_kaggle_csv,
    "flickr30k csv": formats.write_flickr30k_csv,
    "flickr30k token": formats.write_flickr8k_token,
    "coco": lambda path, captions: formats.write_coco(path, captions, NUMBERS),
    "coco-results": formats.write_coco_results,
    "karpathy": lambda path, captions: formats.write_karpathy(path, captions, SPLITS),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_captions_of_every_format(tmp_path, kind):
    WRITERS[kind](tmp_path / "captions", CAPTIONS)
    assert read_captions(tmp_path / "captions") == BY_ID


@pytest.mark.parametrize("kind", WRITERS)
def test_the_data_set_that_is_named_is_read(tmp_path, kind):
    WRITERS[kind](tmp_path / "captions", CAPTIONS)
    assert read_dataset(tmp_path / "captions", kind.split()[0]).captions == BY_ID


@pytest.mark.parametrize(
    "kind, name",
    [("flickr8k token", "Flickr8k"), ("flickr8k csv", "Flickr8k"), ("flickr30k csv", "Flickr30k"),
     ("coco", "MS COCO"), ("coco-results", "captions in COCO's results format"),
     ("karpathy", "Karpathy's splits of flickr8k")],
)  # fmt: skip
def test_the_data_set_is_found_from_the_content(tmp_path, kind, name):
    WRITERS[kind](tmp_path / "captions", CAPTIONS)
    assert read_dataset(tmp_path / "captions").name == f"{name} (captions)"


def test_a_token_file_whose_names_are_numbers_is_flickr30ks(tmp_path):
    (tmp_path / "captions").write_text("1000092795.jpg#0\tTwo young guys\n")
    assert read_dataset(tmp_path / "captions").name == "Flickr30k (captions)"


def test_a_data_set_that_the_file_is_not_of_is_refused(tmp_path):
    formats.write_flickr8k_token(tmp_path / "captions", CAPTIONS)
    with pytest.raises(UserError, match="known: MS COCO's"):
        read_dataset(tmp_path / "captions", "coco")


# ---- Flickr8k --------------------------------------------------------------------------------


def test_flickr8k_names_with_a_second_number(tmp_path):
    """A caption that has no picture, and is not another picture's."""
    (tmp_path / "x").write_text("2_b.jpg#0\tA dog\n2_b.jpg.1#0\tA cat\n")
    assert read_captions(tmp_path / "x") == {"2_b": ["A dog"], "2_b.jpg.1": ["A cat"]}


def test_kaggle_csv_with_quotes_commas_and_byte_order_mark(tmp_path):
    path = tmp_path / "captions.txt"
    path.write_text(
        'image,caption\r\n1_a.jpg,"A dog , with ""fur"" ."\r\n1_a.jpg,A cat , too\r\n',
        encoding="utf-8-sig",
    )
    assert read_captions(path) == {"1_a": ['A dog , with "fur" .', "A cat , too"]}


@pytest.mark.parametrize(
    "text, expected",
    [
        ("image,caption,id\na.jpg,a dog runs,0\na.jpg,two,1\n", ["a dog runs", "two"]),
        ('image,caption,split\na.jpg,"a dog, running",train\n', ["a dog, running"]),
        ("split,image,caption\ntrain,a.jpg,a dog, running\n", ["a dog, running"]),
        ("caption,image\na dog,x/a.jpg\n", ["a dog"]),
        ("image;caption\na.jpg;a dog, running\n", ["a dog, running"]),
        ("filename\ttext\na.jpg\ta dog\n", ["a dog"]),
        ("\n\timage\tcaption\n0\ta.jpg\ta dog\n", ["a dog"]),
        ("\t\n\timage\tcaption\n0\ta.jpg\ta dog\n", ["a dog"]),
        ("image,caption1,caption2,id\na.jpg,one,two,7\n", ["one", "two"]),
        ("image_name,comment_number,comment,lang\na.jpg,0,a dog,en\n", ["a dog"]),
    ],
)
def test_csv_goes_by_its_header(tmp_path, text, expected):
    (tmp_path / "c.csv").write_text(text)
    assert read_captions(tmp_path / "c.csv") == {"a": expected}


@pytest.mark.parametrize(
    "text", ["image,caption,id\na.jpg,a dog, running,0\n", "image,caption,id\na.jpg,a dog\n"]
)
def test_a_csv_row_of_other_columns_is_refused(tmp_path, text):
    (tmp_path / "c.csv").write_text(text)
    with pytest.raises(UserError, match=r"line 2 has [24] columns, and the first line names 3"):
        read_captions(tmp_path / "c.csv")


@pytest.mark.parametrize(
    "text",
    ["", "\n\n", "hello\n", "<html>", '{"images": []}', "{}", "[1]", "a.jpg\tx", '{"images": [1]}'],
)
def test_unknown_format_is_refused_and_known_ones_are_named(tmp_path, text):
    path = tmp_path / "captions.txt"
    path.write_text(text)
    with pytest.raises(
        UserError, match=r"Flickr8k\.token\.txt.*captions\.txt.*results\.csv.*captions_.*dataset_"
    ):
        read_captions(path)


def test_broken_line_is_named_by_number(tmp_path):
    path = tmp_path / "captions.txt"
    path.write_text("a.jpg#0\tA dog\nb.jpg A cat\n")
    with pytest.raises(UserError, match="line 2"):
        read_captions(path)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "captions.txt"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UserError, match="not UTF-8"):
        read_captions(path)


# ---- Flickr30k -------------------------------------------------------------------------------


@pytest.mark.parametrize("bar", ["| ", ",", "|"])
def test_flickr30k_csv_with_bars_or_commas_and_the_row_that_lacks_one(tmp_path, bar):
    lines = [
        ["image_name", "comment_number", "comment"],
        ["1.jpg", "0", "4 dogs run ."],
        ["2199200615.jpg", "3", "A dog runs ."],
    ]
    broken = [["2199200615.jpg", "4   A dog runs across the grass ."]] if "|" in bar else []
    path = tmp_path / "results.csv"
    path.write_text("".join(bar.join(line) + "\n" for line in lines + broken))
    last = ["A dog runs across the grass ."] if broken else []
    assert read_captions(path) == {"1": ["4 dogs run ."], "2199200615": ["A dog runs .", *last]}


def test_flickr30k_broken_line_is_named_by_number(tmp_path):
    path = tmp_path / "results.csv"
    path.write_text("image_name| comment_number| comment\n1.jpg| 0| A dog\n1.jpg A cat\n")
    with pytest.raises(UserError, match="line 3"):
        read_captions(path)


# ---- COCO ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["COCO_val2014_000000391895.jpg", "000000391895.jpg", "391895", "val2014/000000391895.jpg",
     "COCO_train2014_000000391895.jpg"],
)  # fmt: skip
def test_coco_names_of_all_years_and_its_number_meet(name):
    assert image_id(name) == "391895"


def coco_file(path, captions, **changes) -> dict:
    formats.write_coco(path, captions, NUMBERS)
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(content))
    return content


def test_coco_pictures_keep_the_order_of_the_file_and_their_numbers(tmp_path):
    coco_file(tmp_path / "val.json", CAPTIONS)
    found = read_dataset(tmp_path / "val.json")
    assert list(found.captions) == ["1_a", "2_b", "3_c"]
    assert found.numbers == {"1_a": 17, "2_b": 5, "3_c": 12}


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"images": [{"file_name": "a.jpg"}]}, "image 0 has no 'id'"),
        ({"images": [{"file_name": "a.jpg", "id": "1"}]}, "image 0 has no 'id' of type int"),
        (
            {"images": [{"file_name": "a.jpg", "id": 1}, {"file_name": "a.png", "id": 2}]},
            "told apart",
        ),
        ({"images": [{"file_name": "a.jpg", "id": 1}, {"file_name": "b.jpg", "id": 1}]}, "twice"),
        ({"annotations": [{"image_id": 99, "caption": "x"}]}, "image 99, which is not listed"),
        ({"annotations": [{"image_id": 17, "bbox": []}]}, "annotation 0 has no 'caption'"),
        ({"annotations": {}}, "no 'annotations' of type list"),
        ({"annotations": []}, "holds no caption"),
    ],
)
def test_coco_file_that_contradicts_itself_is_refused(tmp_path, changes, reason):
    coco_file(tmp_path / "val.json", CAPTIONS, **changes)
    with pytest.raises(UserError, match=reason):
        read_captions(tmp_path / "val.json")


def test_coco_results_may_call_pictures_by_number(tmp_path):
    entries = [{"image_id": 391895, "caption": "A dog ."}, {"image_id": 7, "caption": "A cat ."},
               {"image_id": 391895, "caption": "Dogs ."}]  # fmt: skip
    (tmp_path / "list.json").write_text(json.dumps(entries))
    found = read_dataset(tmp_path / "list.json")
    assert found.captions == {"391895": ["A dog .", "Dogs ."], "7": ["A cat ."]}
    assert found.numbers == {"391895": 391895, "7": 7}


def test_text_that_begins_with_a_bracket_is_text(tmp_path):
    (tmp_path / "captions.txt").write_text("[1].jpg#0\tA dog .\n")
    (tmp_path / "split.txt").write_text("[1].jpg\n")
    assert read_captions(tmp_path / "captions.txt") == {"[1]": ["A dog ."]}
    assert read_split(tmp_path / "split.txt") == ["[1]"]


@pytest.mark.parametrize("entry", [{"image_id": 1.5, "caption": "a"}, {"image_id": 1}, 3])
def test_a_broken_entry_of_coco_results_is_named(tmp_path, entry):
    (tmp_path / "list.json").write_text(json.dumps([{"image_id": 1, "caption": "a"}, entry]))
    with pytest.raises(UserError, match="entry 2"):
        read_dataset(tmp_path / "list.json")


def test_json_that_is_cut_off_is_refused(tmp_path):
    coco_file(tmp_path / "val.json", CAPTIONS)
    (tmp_path / "val.json").write_text((tmp_path / "val.json").read_text()[:-20])
    with pytest.raises(UserError, match=r"val\.json: is damaged JSON"):
        read_captions(tmp_path / "val.json")


def test_half_characters_of_json_become_text(tmp_path):
    formats.write_coco(tmp_path / "val.json", {"a.jpg": ["A dog \ud83d ."]}, {"a.jpg": 1})
    assert read_captions(tmp_path / "val.json") == {"a": ["A dog ? ."]}


def test_training_and_validation_files_are_one_data_set(tmp_path):
    first, second = {"1_a.jpg": ["x"]}, {"2_b.jpg": ["y"]}
    formats.write_coco(tmp_path / "train.json", first, NUMBERS)
    formats.write_coco(tmp_path / "val.json", second, NUMBERS)
    whole = read_datasets([tmp_path / "train.json", tmp_path / "val.json"])
    assert whole.captions == {"1_a": ["x"], "2_b": ["y"]}
    assert whole.name == "MS COCO (train.json), MS COCO (val.json)"


def test_a_picture_in_two_captions_files_is_refused(tmp_path):
    formats.write_coco(tmp_path / "val.json", CAPTIONS, NUMBERS)
    formats.write_kaggle_csv(tmp_path / "captions.txt", CAPTIONS)
    with pytest.raises(UserError, match=r"captions\.txt: image 1_a is in another"):
        read_datasets([tmp_path / "val.json", tmp_path / "captions.txt"])


def test_results_are_numbered_as_the_coco_server_wants():
    captions = {"391895": "a dog", "1_a": "a cat", "2_b": "no number", "007": "a spy"}
    assert results(captions.items(), {"1_a": 17}) == [
        {"image_id": 391895, "caption": "a dog"},
        {"image_id": 17, "caption": "a cat"},
        {"image_id": "2_b", "caption": "no number"},
        {"image_id": "007", "caption": "a spy"},
    ]
