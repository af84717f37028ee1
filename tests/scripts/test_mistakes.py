"""The scripts, given what is wrong: a line on stderr, exit status 2."""

import os
import shlex
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT, assert_refused, run_script, succeed


def test_features_that_could_not_be_written_are_told_before_the_work(dataset, tmp_path):
    (tmp_path / "notes.txt").touch()
    given = (*dataset.files, "--features", "notes.txt/features.pkl")
    result = run_script("1_data_preprocessor.py", *given, cwd=tmp_path)
    assert_refused(result, "notes.txt/features.pkl", "cannot write")
    assert not (tmp_path / "descriptions.txt").exists()


def test_what_has_no_partner_or_cannot_be_read_is_counted_and_named(dataset, tmp_path):
    shutil.copy(dataset.image, dataset.images / "extra.jpg")
    dataset.image.write_bytes(b"")
    with dataset.captions.open("a") as file:
        file.writelines(f"gone{number}.jpg#0\tA dog .\n" for number in range(12))

    given = (*dataset.files, "--limit", 3)
    printed = succeed(run_script("1_data_preprocessor.py", *given, cwd=tmp_path))

    assert "skipped 12 captioned images without a file\n" in printed
    assert "skipped 1 images without a caption: extra" in printed
    assert f"skipped 1 unreadable images: {dataset.image}: is empty" in printed


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of Linux stands for a full disk")
def test_full_disk_at_the_tokenizer(pipeline, tmp_path):
    """Writing fails in the same place at a limit on the size of files."""
    import resource

    given = ["--descriptions", pipeline.work / "descriptions.txt"]
    given += ["--train-split", pipeline.data.train]
    command = [sys.executable, ROOT / "4_tokenizer.py", *given]
    small = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))}
    small["env"] = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, **small)
    assert_refused(result, "tokenizer.pkl: File too large")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
@pytest.mark.parametrize(
    ("redirected", "status", "said"),
    [
        (">/dev/full", 2, "4_tokenizer.py: No space left on device\n"),
        ("2>&1 | true; exit ${PIPESTATUS[0]}", 0, ""),
        (">&- 2>&-", 0, ""),
    ],
)
def test_standard_output_that_takes_nothing(pipeline, tmp_path, redirected, status, said):
    given = ["--descriptions", pipeline.work / "descriptions.txt"]
    given += ["--train-split", pipeline.data.train]
    command = shlex.join(map(str, [sys.executable, ROOT / "4_tokenizer.py", *given]))
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    words = ["bash", "-c", f"{command} {redirected}"]
    result = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, env=buffered)
    assert (result.returncode, result.stderr) == (status, said)
    assert os.listdir(tmp_path) == ["tokenizer.pkl"]


def test_a_pipe_is_not_replaced_by_a_file(pipeline, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    given = ("--train-split", pipeline.data.train, "--output", tmp_path / "pipe")
    result = run_script("4_tokenizer.py", *given, cwd=pipeline.work)
    assert_refused(result, "pipe: is a device or a pipe")
    assert (tmp_path / "pipe").is_fifo()


def test_damaged_model_is_refused(pipeline, tmp_path):
    whole = (pipeline.work / "checkpoints/best_model.keras").read_bytes()
    (tmp_path / "broken.keras").write_bytes(whole[: len(whole) // 2])
    given = ("--split", pipeline.data.dev, "--model", tmp_path / "broken.keras")
    result = run_script("3_BLEU.py", *given, cwd=pipeline.work)
    assert_refused(result, "broken.keras", "damaged")


def test_where_a_model_looked_that_does_not_look(pipeline):
    given = (pipeline.data.image, "--attention", "looks.png")
    result = run_script("infer.py", *given, cwd=pipeline.work)
    assert_refused(result, "best_model.keras", "--decoder attention")
    assert not (pipeline.work / "looks.png").exists()


@pytest.mark.parametrize(
    "script, arguments, part",
    [
        ("1_data_preprocessor.py", ["--batch-size", "0"], "--batch-size"),
        ("1_data_preprocessor.py", ["--grid", "--features", "features.pkl"], ".h5"),
        ("2_train_IC_model.py", ["--learning-rate", "-1"], "--learning-rate"),
        ("2_train_IC_model.py", ["--patience", "-1"], "--patience"),
        ("2_train_IC_model.py", ["--attention-penalty", "1"], "merge decoder has none"),
        ("3_BLEU.py", ["--length-penalty", "11"], "it must be from 0 to 10"),
        ("3_BLEU.py", ["--protocol", "mine"], "mine"),
        ("5_test.py", ["--beam-width", "1001"], "to 1000"),
        ("5_test.py", ["--output", "captions.pdf"], ".html"),
        ("5_test.py", ["--outputs", "captions.html"], "--outputs"),
        ("infer.py", ["nowhere.jpg"], "nowhere.jpg"),
        ("infer.py", ["--attention", "looks.pdf"], "end the name in .png"),
        ("infer.py", ["--stdin", "--attention", "a.png"], "--attention: not with --watch or --st"),
        ("infer.py", ["--stdin", "--captions", "2"], "--captions: not with --watch or --stdin"),
        ("infer.py", ["--stdin", "--new-only"], "--new-only: is of --watch"),
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


def test_a_second_captioner_that_is_not_there_is_told_before_the_first_caption(tmp_path):
    given = (ROOT / "examples/dog.jpg", "--beside", "typo.keras")
    result = run_script("5_test.py", *given, cwd=tmp_path)

    assert_refused(result, "typo.keras", "does not exist")
    assert "dog.jpg: " not in result.stdout


@pytest.mark.parametrize(
    "command",
    [
        ("5_test.py", "--output", "page.html", "photo.png"),  # meant as a picture to caption
        ("infer.py", "--image-path", "photo.png", "--attention", "photo.png"),
    ],
)
def test_a_photograph_is_not_written_over(command, tmp_path):
    photo = tmp_path / "photo.png"
    Image.new("RGB", (40, 30), "red").save(photo)
    before = photo.read_bytes()

    assert_refused(run_script(*command, cwd=tmp_path), "photo.png: exists")

    assert photo.read_bytes() == before
