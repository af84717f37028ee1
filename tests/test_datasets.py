import pytest

from captioning.cli import UserError
from captioning.datasets import image_id, read_captions, read_split, select


def test_flickr8k_token_file(tmp_path):
    path = tmp_path / "Flickr8k.token.txt"
    path.write_text("1_a.jpg#0\tA dog , running .\n1_a.jpg#1\tDogs #1\n2_b.jpg.1#0\tA cat\n")
    assert read_captions(path) == {"1_a": ["A dog , running .", "Dogs #1"], "2_b": ["A cat"]}


def test_kaggle_csv_with_quotes_commas_and_byte_order_mark(tmp_path):
    path = tmp_path / "captions.txt"
    path.write_text(
        'image,caption\r\n1_a.jpg,"A dog , with ""fur"" ."\r\n1_a.jpg,A cat , too\r\n',
        encoding="utf-8-sig",
    )
    assert read_captions(path) == {"1_a": ['A dog , with "fur" .', "A cat , too"]}


@pytest.mark.parametrize("text", ["", "\n\n", "hello\n", "<html>", '{"images": []}', "a.jpg\tx"])
def test_unknown_format_is_refused_and_known_ones_are_named(tmp_path, text):
    path = tmp_path / "captions.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=r"Flickr8k\.token\.txt.*captions\.txt"):
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


def test_image_id_is_the_file_name_up_to_its_first_dot():
    assert image_id("folder/123_ab.jpg.1") == "123_ab"


def test_split_without_repeats_and_blank_lines(tmp_path):
    path = tmp_path / "split.txt"
    path.write_text("b.jpg\n\na.jpg\r\nb.jpg\n")
    assert read_split(path) == ["b", "a"]


def test_split_of_other_data_is_refused():
    with pytest.raises(UserError, match=r"dev\.txt.*features"):
        select(["a"], split="dev.txt", features={"b": 1})
