"""Stage 4 counts the words that stage 2 trained on."""

import json

import numpy as np

from captioning.captioners.tokenizer import read_tokenizer
from captioning.features.files import write_features
from tests.conftest import assert_refused, run_script, succeed


def write_inputs(folder) -> None:
    """Five images in two splits, one without features, and the record of a training on some."""
    texts = ("a dog dog runs", "b dog sits", "c cat jumps", "d bird sings", "e fish swims")
    (folder / "descriptions.txt").write_text("\n".join(texts) + "\n")
    (folder / "one.txt").write_text("c\na\nb\n")
    (folder / "two.txt").write_text("d\ne\n")
    write_features(folder / "some.pkl", [(list("abde"), np.ones((4, 3), np.float32))], {}, rows=4)
    (folder / "checkpoints").mkdir()
    settings = {"train_splits": ["one.txt", "two.txt"], "split_seed": 0, "limit": 1, "min_count": 1}
    record = json.dumps({**settings, "features": "some.pkl"})
    (folder / "checkpoints/training_settings.json").write_text(record)


def words(folder, *arguments) -> set[str]:
    succeed(run_script("4_tokenizer.py", *arguments, cwd=folder))
    return {*read_tokenizer(folder / "tokenizer.pkl").words} - {"startseq", "endseq"}


def test_splits_features_and_limit_are_those_of_the_model_beside_the_output(tmp_path):
    write_inputs(tmp_path)
    assert words(tmp_path) == {"dog", "runs", "bird", "sings"}


def test_what_is_given_goes_before_what_is_recorded(tmp_path):
    write_inputs(tmp_path)
    given = ("--train-split", "one.txt", "--limit", 2, "--min-count", 2)
    assert words(tmp_path, *given) == {"dog"}


def test_a_recorded_split_that_is_gone_is_named(tmp_path):
    write_inputs(tmp_path)
    (tmp_path / "two.txt").unlink()
    assert_refused(run_script("4_tokenizer.py", cwd=tmp_path), "two.txt")
