"""Which images of one split or several are used, how often, and what is said of the others."""

import pytest

from captioning.cli import UserError
from captioning.datasets import described, read_splits, select
from captioning.datasets.selection import fingerprint, select_for_training


def test_how_many_names_are_not_used_is_told(capsys):
    assert select(["a", "b", "c"], split="s", features={"a": 1, "b": 1}, words={"a": 1}) == ["a"]
    expected = "skipped 2 of the 3 images of s, which are not in the features or the words: b, c\n"
    assert capsys.readouterr().out == expected


def test_a_split_of_other_data_is_refused_with_a_name_of_either():
    message = r"dev\.txt: none of the images .* in the features: it names 'a', they 'b.jpg'; do"
    with pytest.raises(UserError, match=message):
        select(["a"], split="dev.txt", features={"b.jpg": 1})


# ---- several data sets -----------------------------------------------------------------------


@pytest.fixture
def splits(tmp_path):
    """Two data sets' splits, a train and a dev each, and captions of one image more."""
    for name, ids in {"a": "123", "a-dev": "4", "b": "35", "b-dev": "6"}.items():
        (tmp_path / name).write_text("\n".join(ids))
    return {name: str(tmp_path / name) for name in ("a", "a-dev", "b", "b-dev")}


CAPTIONS = {name: ["a dog", "a cat"] for name in "1234567"}


def choose(splits, train=("a", "b"), dev=("a-dev", "b-dev"), **options):
    named = [[splits.get(name, name) for name in names] for names in (train, dev)]
    return select_for_training(*named, CAPTIONS, seed=0, **options)


def test_captions_of_a_split_are_seen_as_often_as_is_said(splits, capsys):
    repeats, dev = choose(splits, repeat=[1, 3])
    assert repeats == {"1": 1, "2": 1, "3": 1, "5": 3}  # 3 is in both, and goes by the first
    assert dev == ["4", "6"]
    assert f"{splits['b']}: 2 images, seen 3 x an epoch" in capsys.readouterr().out


def test_a_limit_is_one_of_every_split(splits):
    assert choose(splits, dev=("b", "a"), limit=1) == ({"1": 1, "3": 1}, ["3", "1"])


def test_images_that_validate_and_are_trained_on_are_told(splits, capsys):
    _, dev = choose(splits, train=["a"], dev=["b", "b-dev"])
    assert dev == ["3", "5", "6"]
    assert "1 images validate and are trained on, which flatters: 3\n" in capsys.readouterr().out


def test_the_fingerprint_tells_other_images_and_other_captions():
    one = fingerprint({"1": 1, "2": 1}, ["3"], CAPTIONS)
    assert one == fingerprint({"1": 1, "2": 1}, ["3"], {**CAPTIONS, "4": ["no split's"]})
    others = [
        fingerprint({"1": 1, "2": 1}, ["4"], CAPTIONS),
        fingerprint({"1": 1, "2": 2}, ["3"], CAPTIONS),
        fingerprint({"1": 1}, ["2", "3"], CAPTIONS),
        fingerprint({"1": 1, "2": 1}, ["3"], {**CAPTIONS, "3": ["a dog"]}),
    ]
    assert len({one, *others}) == 5


def test_the_test_split_is_not_used_and_not_called_skipped(splits, capsys):
    choose(splits, train=["a"], dev=["a-dev"])
    printed = capsys.readouterr().out
    assert printed.startswith("not used: 3 images with 6 captions, which neither --train-split nor")
    assert "skipped" not in printed


def test_a_weight_for_each_split(splits):
    with pytest.raises(UserError, match="--repeat: 1 numbers for 2 training splits; give one for"):
        choose(splits, repeat=[2])


def test_a_split_drawn_from_all_data_sets_beside_another_is_refused(splits):
    """What it draws for training may be another's development split."""
    with pytest.raises(UserError, match=r"train: is drawn from .* give CAPTIONS_FILE:train"):
        choose(splits, train=["a", "train"])
    assert read_splits(["train"], CAPTIONS)  # alone it is drawn from both


def test_settings_say_how_often_a_split_was_seen():
    assert described(["a.txt"]) == "a.txt"
    assert described(["a.txt", "b.txt"], [1, 3]) == "a.txt, b.txt x 3"
