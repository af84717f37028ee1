"""Records: which of several keys names the picture, captions in lists, JSON lines."""

import json

import pytest

from captioning.cli import UserError
from captioning.datasets import read_captions, read_split

DOG, CAT = "A dog runs", "The cat's asleep"


def written(tmp_path, content):
    path = tmp_path / "captions.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


# ---- which picture ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        [{"image": "4.jpg", "image_id": 1, "text": DOG}, {"image": "1.jpg", "text": CAT}],
        [{"file_name": "4.jpg", "id": 1, "text": DOG}, {"img": "x/1.jpg", "caption": CAT}],
        [{"image_id": 1, "filepath": "4.jpg", "caption": DOG}, {"image_id": 1, "caption": CAT}],
        f"image_id,img,caption\n1,4.jpg,{DOG}\n2,1.jpg,{CAT}\n",
        f"id;filepath;caption\n1;4.jpg;{DOG}\n2;1.jpg;{CAT}\n",
    ],
)
def test_the_file_name_counts_and_not_a_number(tmp_path, content):
    assert read_captions(written(tmp_path, content)) == {"4": [DOG], "1": [CAT]}


def test_pictures_of_one_name_are_told_apart_by_the_key_that_has_the_folder(tmp_path):
    text = f"filename,path,caption\n1.jpg,cats/1.jpg,{CAT}\n1.jpg,dogs/1.jpg,{DOG}\n"
    assert read_captions(written(tmp_path, text)) == {"cats/1": [CAT], "dogs/1": [DOG]}


def test_notes_beside_a_caption_are_no_captions(tmp_path):
    path = written(tmp_path, [{"image": "1.jpg", "comment": "checked", "caption": DOG}])
    assert read_captions(path) == {"1": [DOG]}


def test_notes_beside_the_captions_of_a_table_are_no_captions(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text(f"image,comment,caption 1,caption 2\n1.jpg,checked,{DOG},{CAT}\n")
    assert read_captions(path) == {"1": [DOG, CAT]}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"id": 5}, "names no picture"),
        ({"image": " "}, "names no picture"),
        ({"image_id": 1.5}, "names no picture"),
        ({"image": "1.jpg", "caption": 5}, "has captions that are not text"),
        ({"image": "1.jpg", "caption": {"raw": "x"}}, "has captions that are not text"),
        ({"image": "1.jpg", "caption": [DOG, ["x"]]}, "has captions that are not text"),
    ],
)
def test_a_record_without_picture_or_with_a_caption_that_is_no_text_is_refused(
    tmp_path, record, message
):
    content = [{"image": "4.jpg", "caption": DOG}, {"caption": CAT, **record}]
    with pytest.raises(UserError, match=f"entry 2 {message}"):
        read_captions(written(tmp_path, content))


# ---- several captions ------------------------------------------------------------------------


def csv_cell(text: str) -> str:
    quoted = text.replace('"', '""')
    return f'image,caption\nb.jpg,x\na.jpg,"{quoted}"\n'


@pytest.mark.parametrize(
    "content",
    [
        csv_cell(str([DOG, CAT])),
        csv_cell(json.dumps([DOG, CAT])),
        csv_cell(f"['{DOG}'\n \"{CAT}\"]"),  # as numpy has it
        csv_cell(str((DOG, CAT))),
        [{"image": "b.jpg", "caption": "x"}, {"image": "a.jpg", "caption": [DOG, CAT]}],
        [{"image": "b.jpg", "caption": "x"}, {"image": "a.jpg", "captions": str([DOG, CAT])}],
        {
            "images": [{"file_name": "b.jpg", "id": 1}, {"file_name": "a.jpg", "id": 2}],
            "annotations": [
                {"image_id": 1, "caption": "x"},
                {"image_id": 2, "caption": [DOG, CAT]},
            ],
        },
    ],
)
def test_a_list_of_captions_is_several(tmp_path, content):
    assert read_captions(written(tmp_path, content)) == {"b": ["x"], "a": [DOG, CAT]}


@pytest.mark.parametrize(
    "cell", ["['A dog runs', 'The", "['A dog', 3]", "['A dog'] + exit()", '["A dog", null]']
)
def test_what_looks_like_a_list_and_is_none_is_refused_with_its_row(tmp_path, cell):
    with pytest.raises(UserError, match=r"captions.json: line 3 has a caption that looks like a l"):
        read_captions(written(tmp_path, csv_cell(cell)))


@pytest.mark.parametrize("cell", ["[laughs] A dog", "(a dog)", "('tis a dog", "[A dog, a cat]"])
def test_brackets_alone_make_no_list(tmp_path, cell):
    assert read_captions(written(tmp_path, csv_cell(cell)))["a"] == [cell]


# ---- JSON lines ------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\n\n"])
def test_json_lines_are_captions_and_a_split(tmp_path, separator):
    records = [{"file_name": "train/1.png", "text": DOG}, {"file_name": "2.png", "caption": CAT}]
    path = written(tmp_path, separator.join(map(json.dumps, records)))
    assert read_captions(path) == {"1": [DOG], "2": [CAT]}
    assert read_split(path) == ["1", "2"]


def test_json_lines_may_be_one_line_and_have_splits_and_no_captions(tmp_path):
    path = written(tmp_path, {"file_name": "1.png", "text": DOG})
    assert read_captions(path) == {"1": [DOG]}
    path = written(tmp_path, '{"image": "1.png", "split": "dev"}\n{"image": "2.png"}\n')
    assert read_split(f"{path}:dev") == ["1"]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('{"image": "1.png", "text": "x"}\n{"image": "2.png", "te\n', 2),
        ('{"image": "1.png", "text": "x"\n{"image": "2.png", "text": "x"}\n', 1),
        ('{"image": "1.png", "text": "x"}\n\noops\n', 3),
    ],
)
def test_a_damaged_line_is_refused_with_its_number(tmp_path, content, line):
    with pytest.raises(UserError, match=f"captions.json: line {line} is damaged JSON"):
        read_captions(written(tmp_path, content))
