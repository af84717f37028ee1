"""The scripts, given what is wrong: a line on stderr, exit status 2."""

import os
import pickle
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
from PIL import Image

from captioning.captioners.loading import load_captioner
from captioning.captioners.tokenizer import read_tokenizer
from tests.conftest import ROOT, assert_refused, options, run_script, succeed


def extract(dataset, cwd, **changes):
    """Stage 1 with some arguments changed."""
    given = options(**{"images": dataset.images, "captions": dataset.captions, **changes})
    return run_script("1_data_preprocessor.py", *given, cwd=cwd)


def score(pipeline, **changes):
    """Stage 3 with some arguments changed."""
    given = options(**{"split": pipeline.data.dev, **changes})
    return run_script("3_BLEU.py", *given, cwd=pipeline.work)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"images": "nowhere"}, ["nowhere", "not a folder"]),
        ({"captions": "none.txt"}, ["none.txt", "does not exist"]),
        ({"captions": "notes.txt"}, ["notes.txt", "must name the columns", "'some notes'"]),
        ({"captions": "other.txt"}, ["none of the pictures"]),
        ({"features": "notes.txt/features.pkl"}, ["notes.txt/features.pkl", "cannot write"]),
    ],
)
def test_what_stage_1_cannot_begin_with(changes, parts, dataset, tmp_path):
    (tmp_path / "notes.txt").write_text("some notes\n")
    (tmp_path / "other.txt").write_text("other.jpg#0\tA dog .\n")
    assert_refused(extract(dataset, tmp_path, **changes), *parts)
    assert not (tmp_path / "descriptions.txt").exists()


def test_pictures_and_captions_without_partner_are_counted_and_named(dataset, tmp_path):
    shutil.copy(dataset.image, dataset.images / "extra.jpg")
    with dataset.captions.open("a") as file:
        file.writelines(f"gone{number}.jpg#0\tA dog .\n" for number in range(12))
    printed = succeed(extract(dataset, tmp_path, limit=2))
    assert "skipped 12 captioned images without a file\n" in printed
    assert "skipped 1 images without a caption: extra" in printed


def test_unreadable_pictures_are_skipped_counted_and_named(dataset, tmp_path):
    for name, content in [(dataset.names[0], b""), (dataset.names[1], b"text")]:
        (dataset.images / name).write_bytes(content)
    whole = (dataset.images / dataset.names[2]).read_bytes()
    (dataset.images / dataset.names[2]).write_bytes(whole[: len(whole) // 2])

    printed = succeed(extract(dataset, tmp_path))

    assert "skipped 3 unreadable images" in printed
    assert f"{dataset.names[0]}: is empty" in printed
    features = pickle.loads((tmp_path / "features.pkl").read_bytes())
    assert len(features) == 9
    assert "red_left" not in (tmp_path / "descriptions.txt").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of Linux stands for a full disk")
def test_full_disk_at_the_tokenizer(pipeline, tmp_path):
    """Writing fails in the same place at a limit on the size of files."""
    import resource

    given = options(
        descriptions=pipeline.work / "descriptions.txt", train_split=pipeline.data.train
    )
    command = [sys.executable, ROOT / "4_tokenizer.py", *given]
    small = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))}
    small["env"] = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, **small)
    assert_refused(result, "tokenizer.pkl: File too large")
    assert os.listdir(tmp_path) == []


def test_split_that_names_none_of_the_images(pipeline, tmp_path):
    (tmp_path / "other.txt").write_text("elsewhere.jpg\n")
    result = score(pipeline, split=tmp_path / "other.txt")
    assert_refused(result, "other.txt", "it names 'elsewhere', they 'red_left'", "same data set")


def test_features_of_a_width_the_model_does_not_fit(pipeline, tmp_path):
    features = {name.split(".")[0]: np.ones((1, 7), np.float32) for name in pipeline.data.names}
    (tmp_path / "narrow.pkl").write_bytes(pickle.dumps(features))
    result = score(pipeline, features=tmp_path / "narrow.pkl")
    assert_refused(result, "narrow.pkl", "7 numbers", "1280", "efficientnet_lite0")


def test_damaged_model_is_refused(pipeline, tmp_path):
    whole = (pipeline.work / "checkpoints/best_model.keras").read_bytes()
    (tmp_path / "broken.keras").write_bytes(whole[: len(whole) // 2])
    assert_refused(score(pipeline, model=tmp_path / "broken.keras"), "broken.keras", "damaged")


@pytest.mark.parametrize(
    "output, parts",
    [
        ("looks.pdf", ("looks.pdf", ".png")),
        ("looks.png", ("best_model.keras", "--decoder attention")),
    ],
)
def test_where_a_model_looked_that_does_not_look_or_in_another_format(pipeline, output, parts):
    result = run_script("infer.py", pipeline.data.image, "--attention", output, cwd=pipeline.work)
    assert_refused(result, *parts)
    assert not (pipeline.work / output).exists()


@pytest.mark.parametrize(
    "script, arguments, part",
    [
        ("1_data_preprocessor.py", ["--batch-size", "0"], "--batch-size"),
        ("1_data_preprocessor.py", ["--grid", "--features", "features.pkl"], ".h5"),
        ("2_train_IC_model.py", ["--learning-rate", "-1"], "--learning-rate"),
        ("2_train_IC_model.py", ["--patience", "-1"], "--patience"),
        ("2_train_IC_model.py", ["--attention-penalty", "1"], "merge decoder has none"),
        ("3_BLEU.py", ["--beam-width", "0"], "--beam-width"),
        ("3_BLEU.py", ["--length-penalty", "11"], "it must be from 0 to 10"),
        ("3_BLEU.py", ["--protocol", "mine"], "mine"),
        ("5_test.py", ["--beam-width", "1001"], "to 1000"),
        ("5_test.py", ["--output", "captions.pdf"], ".html"),
        ("5_test.py", ["--outputs", "captions.html"], "--outputs"),
        ("infer.py", ["nowhere.jpg"], "nowhere.jpg"),
        ("infer.py", ["--watch", "nowhere"], "nowhere: is no folder"),
        ("infer.py", ["--stdin", "--attention", "a.png"], "--attention: not with --watch or --st"),
        ("infer.py", ["--stdin", "--watch", "."], "not allowed with argument"),
        ("evaluate.py", ["--java-patience", "0"], "--java-patience"),
        ("evaluate.py", ["--captions", "nowhere.txt"], "nowhere.txt"),
        ("evaluate.py", ["--output", "nowhere/results.json"], "nowhere/results.json"),
        ("evaluate.py", ["--calibrate", "--predictions", "a.json"], "--calibrate"),
    ],
)
def test_wrong_arguments(script, arguments, part, tmp_path):
    assert_refused(run_script(script, *arguments, cwd=tmp_path), part)


@pytest.mark.parametrize("kind", ["features", "pictures"])
def test_an_hdf5_file_that_is_being_written_is_not_called_damaged(kind, tmp_path):
    """Who follows the advice to make it again would lose what the other program writes."""
    path = tmp_path / "some.h5"
    with h5py.File(path, "w") as file:
        file["pictures"] = np.zeros((2, 8, 8, 3), np.uint8)
        file.flush()
        if kind == "pictures":
            result = run_script("contrastive/main.py", "--images", path, cwd=tmp_path)
        else:
            (tmp_path / "descriptions.txt").write_text("a dog\n")
            (tmp_path / "s").write_text("a\n")
            given = ("--features", path, "--train-split", "s")
            result = run_script("2_train_IC_model.py", *given, cwd=tmp_path)
    assert_refused(result, "some.h5", "is open in another program", "wait")
    assert "make it again" not in result.stderr


def test_stage_4_counts_the_captions_that_stage_2_counts(dataset, tmp_path):
    """The sharded way, with captions cleaned apart: one picture is broken, and has own words."""
    with dataset.captions.open("a") as file:
        file.write(f"{dataset.names[1]}#2\tUnheard-of words\n")
    (dataset.images / dataset.names[1]).write_bytes(b"broken")
    for more in (("--only", "captions"), ("--shard", "1/2"), ("--shard", "2/2")):
        given = (*dataset.files, "--batch-size", 6, *more)
        succeed(run_script("1_data_preprocessor.py", *given, cwd=tmp_path))
    assert "unheardof" in (tmp_path / "descriptions.txt").read_text()
    train = ("2_train_IC_model.py", "--features", "features", *dataset.splits, "--epochs", 1)
    succeed(run_script(*train, cwd=tmp_path))
    succeed(run_script("4_tokenizer.py", "--train-split", dataset.train, cwd=tmp_path))
    model = load_captioner(tmp_path / "checkpoints/best_model.keras")
    assert read_tokenizer(tmp_path / "tokenizer.pkl") == model.vocabulary


def test_a_second_captioner_that_is_not_there_is_told_before_the_first_caption(tmp_path):
    given = (ROOT / "examples/dog.jpg", "--beside", "typo.keras")
    result = run_script("5_test.py", *given, cwd=tmp_path)

    assert_refused(result, "typo.keras", "does not exist")
    assert "dog.jpg: " not in result.stdout


@pytest.mark.parametrize(
    "command",
    [
        ("5_test.py", "--output", "page.html", "photo.png"),  # meant as a picture to caption
        ("5_test.py", "photo.png", "--output", "photo.png"),
        ("infer.py", "--image-path", "photo.png", "--attention", "photo.png"),
    ],
)
def test_a_photograph_is_not_written_over(command, tmp_path):
    photo = tmp_path / "photo.png"
    Image.new("RGB", (40, 30), "red").save(photo)
    before = photo.read_bytes()

    assert_refused(run_script(*command, cwd=tmp_path), "photo.png: exists")

    assert photo.read_bytes() == before
