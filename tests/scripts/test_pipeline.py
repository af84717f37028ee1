"""The five scripts as a user runs them, in order, and killed and resumed."""

import csv
import json
import pickle
import runpy
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT, assert_refused, run_script
from tests.jax_processes import JAX, PLAIN

SCRIPTS = ["1_data_preprocessor.py", "2_train_IC_model.py", "3_BLEU.py", "4_tokenizer.py",
           "5_test.py"]  # fmt: skip


# ---- in order --------------------------------------------------------------------------------


def test_stage_1_writes_features_and_descriptions(pipeline):
    with open(pipeline.work / "features.pkl", "rb") as file:
        features = pickle.load(file)
    assert len(features) == 12
    assert features["red_left"].shape == (1, 1280)
    lines = (pipeline.work / "descriptions.txt").read_text().splitlines()
    assert lines[:2] == ["red_left a red square at the left",
                         "red_left the left holds a square painted red"]  # fmt: skip


def test_stage_2_keeps_model_history_and_plot(pipeline):
    rows = list(csv.DictReader((pipeline.work / "history.csv").open()))
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    best = min(rows, key=lambda row: float(row["val_loss"]))
    [model] = pipeline.work.glob("model-ep*.keras")
    loss, val_loss = float(best["loss"]), float(best["val_loss"])
    assert model.name == (
        f"model-ep{int(best['epoch']):03d}-loss{loss:.3f}-val_loss{val_loss:.3f}.keras"
    )
    assert Image.open(pipeline.work / "history.png").width > 400


@pytest.mark.parametrize("protocol", ["original", "coco"])
def test_stage_3_prints_bleu_and_the_constant_caption(pipeline, protocol):
    result = run_script(
        "3_BLEU.py", "--split", pipeline.data.dev, "--protocol", protocol,
        "--captions", pipeline.data.captions, "--output", "hypotheses.json", cwd=pipeline.work,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert f"protocol {protocol}, split {pipeline.data.dev}, 3 images" in result.stdout
    rows = {line[:20].strip(): line.split()[-4:] for line in result.stdout.splitlines()}
    for name in ("model, beam width 1", "constant caption"):
        assert all(0 <= float(figure) <= 1 for figure in rows[name])
    hypotheses = json.loads((pipeline.work / "hypotheses.json").read_text())
    assert [one["image_id"] for one in hypotheses] == ["red_left", "green_left", "blue_left"]


def test_stage_4_numbers_words_as_the_model_does(pipeline):
    from captioning.captioners.loading import load_captioner
    from captioning.captioners.tokenizer import read_tokenizer

    model = load_captioner(pipeline.work / "checkpoints/best_model.keras")
    assert read_tokenizer(pipeline.work / "tokenizer.pkl") == model.vocabulary


def test_stage_5_captions_pictures_in_every_format(pipeline):
    result = run_script(
        "5_test.py", pipeline.data.images, "--output", "captions.json", "captions.csv",
        "captions.html", "captions.png", "--min-length", 7, "--no-repeat-ngram", 1,
        cwd=pipeline.work,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("model checkpoints/best_model.keras, tokenizer tokenizer.pkl")
    captions = json.loads((pipeline.work / "captions.json").read_text())
    assert len(captions) == 12
    words = set((pipeline.work / "descriptions.txt").read_text().split())
    assert all(set(one["caption"].split()) <= words for one in captions)
    assert {len(set(one["caption"].split())) for one in captions} == {7}  # the longest there is
    assert len(list(csv.reader((pipeline.work / "captions.csv").open()))) == 13
    page = (pipeline.work / "captions.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 12
    assert "http" not in page.replace('http-equiv="', "")
    assert Image.open(pipeline.work / "captions.png").width > 1000


def test_captions_are_written_although_a_picture_among_few_is_broken(pipeline, tmp_path):
    """The exit status and the last line say that something failed; ids tell equal names apart."""
    for name in ("a/1.jpg", "b/1.jpg"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(pipeline.data.images / pipeline.data.names[0], tmp_path / name)
    for name in ("2.jpg", "3.jpg", "4.jpg"):
        (tmp_path / "b" / name).write_bytes(b"broken")
    result = run_script(
        "5_test.py", tmp_path / "a", tmp_path / "b", "--output", tmp_path / "c.json",
        cwd=pipeline.work,
    )  # fmt: skip
    assert result.returncode == 2
    assert "3 of 5 pictures failed; the others have their captions" in result.stderr
    captions = json.loads((tmp_path / "c.json").read_text())
    assert [one["image_id"] for one in captions] == ["a/1", "b/1"]
    result = run_script("infer.py", "--image-path", tmp_path / "b" / "2.jpg", cwd=pipeline.work)
    assert_refused(result, "1 of 1 pictures failed", "2.jpg")


def test_captions_go_into_copies_and_no_name_is_overwritten(pipeline, tmp_path):
    picture = tmp_path / "mine" / "one.jpg"
    picture.parent.mkdir()
    shutil.copy(pipeline.data.images / pipeline.data.names[0], picture)
    Image.new("RGB", (32, 32)).save(tmp_path / "mine" / "two.gif")
    before = picture.read_bytes()
    arguments = ("5_test.py", tmp_path / "mine", "--embed")

    result = run_script(*arguments, tmp_path / "copies", cwd=pipeline.work)

    # That is as Pillow reads it, and of the GIF the last line says that it has no copy.
    caption = Image.open(tmp_path / "copies/one.jpg").getexif()[270]
    assert f"one.jpg: {caption} (" in result.stdout
    assert picture.read_bytes() == before
    assert_refused(result, "1 of 2 captioned pictures have no copy", "two.gif", "only JPEG")
    for folder in ("copies", "mine"):  # what is there, the originals among it, stays
        assert_refused(run_script(*arguments, tmp_path / folder, cwd=pipeline.work), "exists")
    assert picture.read_bytes() == before


def test_without_arguments_the_examples_are_captioned_by_the_shipped_model(tmp_path):
    result = run_script("5_test.py", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "model " + str(ROOT / "Pre-trained" / "model-ensemble") in result.stdout
    assert "examples/cat.jpg: " in result.stdout


def test_the_shipped_captioner_without_labels_stands_beside_the_other(tmp_path):
    [model] = (ROOT / "Pre-trained/simclr").glob("*.keras")
    outputs = ["c.csv", "c.json", "c.html", "c.png"]

    result = run_script(
        "5_test.py", ROOT / "examples/dog.jpg", "--beside", model, "--output", *outputs,
        cwd=tmp_path,
    )  # fmt: skip

    assert result.returncode == 0, result.stderr
    [first, second] = [line for line in result.stdout.splitlines() if "dog.jpg: " in line]
    caption, other = (line.split("dog.jpg: ")[1] for line in (first, second))
    [row] = csv.DictReader((tmp_path / "c.csv").open())
    assert f"{row['caption']} ({row['confidence']})" == caption
    other = other.rsplit(" (", 1)[0]
    assert row[model.stem] == other
    [record] = json.loads((tmp_path / "c.json").read_text())
    assert record["beside"] == {model.stem: other}
    assert f"<b>{model.stem}:</b> {other}" in (tmp_path / "c.html").read_text()
    assert f"{record['confidence']:.2f}" == row["confidence"]
    plain = 16 + 240 + 66 + 16
    assert Image.open(tmp_path / "c.png").height == plain + 66


@pytest.fixture(scope="module")
def grids(pipeline, tmp_path_factory):
    """A folder with features.h5 and descriptions.txt, as stage 1 leaves them."""
    folder = tmp_path_factory.mktemp("grids")
    extracted = run_script(
        SCRIPTS[0], "--images", pipeline.data.images, "--captions", pipeline.data.captions,
        "--grid", "--text-rules", "ptb", "--batch-size", 6, cwd=folder,
    )  # fmt: skip
    assert extracted.returncode == 0, extracted.stderr
    assert "features.h5: 12 grids of vectors of 1280 numbers" in extracted.stdout
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["attention", "transformer"])
def test_grids_train_a_decoder_that_captions_pictures(pipeline, grids, tmp_path, decoder):
    data = pipeline.data
    shutil.copytree(grids, tmp_path, dirs_exist_ok=True)
    trained = run_script(
        SCRIPTS[1], "--decoder", decoder, "--train-split", data.train,
        "--dev-split", data.dev, "--epochs", 2, "--batch-size", 4, cwd=tmp_path,
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    picture = data.images / data.names[0]
    captioned = run_script(
        SCRIPTS[4], picture, "--tokenizer", pipeline.work / "tokenizer.pkl", cwd=tmp_path
    )
    assert captioned.returncode == 0, captioned.stderr
    caption = captioned.stdout.splitlines()[-1]
    assert caption.startswith(f"{picture}: ")
    looked = run_script(
        "infer.py", "--image-path", picture, "--attention", "looks.png", cwd=tmp_path
    )
    assert looked.returncode == 0, looked.stderr
    assert caption in looked.stdout.splitlines()
    assert Image.open(tmp_path / "looks.png").width > 2 * 224

    scored = run_script(
        SCRIPTS[2], "--features", pipeline.work / "features.pkl", "--split", data.dev, cwd=tmp_path
    )
    assert_refused(scored, "features.pkl", "one vector a picture", "--grid")


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["attention", "transformer"])
def test_grids_train_and_caption_under_jax(pipeline, grids, tmp_path, decoder):
    pytest.importorskip("jax")
    shutil.copytree(grids, tmp_path, dirs_exist_ok=True)
    dev = ("--split", pipeline.data.dev)
    for command in (
        (SCRIPTS[1], "--decoder", decoder, "--train-split", pipeline.data.train, "--dev-split",
         pipeline.data.dev, "--epochs", 1, "--batch-size", 18),
        (SCRIPTS[2], "--features", "features.h5", *dev, "--beam-width", 2),
    ):  # fmt: skip
        result = run_script(*command, cwd=tmp_path, **JAX, **PLAIN)
        assert result.returncode == 0, result.stderr
    assert "model, beam width 2" in result.stdout


@pytest.mark.parametrize(
    ("script", "argument"), [("1_data_preprocessor.py", "text_rules"), ("3_BLEU.py", "protocol")]
)
def test_seed_is_an_old_name_of_original_that_help_does_not_show(
    script, argument, monkeypatch, capsys
):
    parse_arguments = runpy.run_path(str(ROOT / script))["parse_arguments"]
    flag = "--" + argument.replace("_", "-")
    monkeypatch.setattr(sys, "argv", [script, flag, "seed"])
    assert vars(parse_arguments())[argument] == "original"
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit):
        parse_arguments()
    assert f"{flag} {{original," in capsys.readouterr().out


@pytest.mark.slow
def test_stages_2_to_5_run_under_jax(pipeline, tmp_path):
    pytest.importorskip("jax")
    for name in ("features.pkl", "features.pkl.json", "descriptions.txt", "descriptions.txt.json"):
        shutil.copy(pipeline.work / name, tmp_path)
    train, dev = ("--train-split", pipeline.data.train), ("--dev-split", pipeline.data.dev)
    for command in (
        ("2_train_IC_model.py", *train, *dev, "--epochs", 2, "--dtype", "bfloat16"),
        ("3_BLEU.py", "--split", pipeline.data.dev, "--beam-width", 2),
        ("4_tokenizer.py", *train),
        ("5_test.py", pipeline.data.images / pipeline.data.names[0]),
    ):
        result = run_script(*command, cwd=tmp_path, **JAX, **PLAIN)
        assert result.returncode == 0, result.stderr
    assert f"{pipeline.data.names[0]}: " in result.stdout


# ---- killed and resumed ----------------------------------------------------------------------


def start(script: str, *arguments, cwd) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(ROOT / script), *map(str, arguments)],
        cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def kill_when(process: subprocess.Popen, happened) -> None:
    """Kill -9 as soon as `happened()`; fail if the process ends before."""
    try:
        while not happened():
            assert process.poll() is None, "ended before it could be killed"
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_killed_extraction_resumes_with_the_same_features(dataset, tmp_path):
    arguments = ["--images", dataset.images, "--captions", dataset.captions, "--batch-size", 1]
    assert (
        run_script(SCRIPTS[0], *arguments, "--features", "whole.pkl", cwd=tmp_path).returncode == 0
    )
    parts = tmp_path / "features.pkl.parts"

    kill_when(start(SCRIPTS[0], *arguments, cwd=tmp_path), lambda: list(parts.glob("0*.npz")))
    assert not (tmp_path / "features.pkl").exists()
    kept = {part: part.stat().st_mtime_ns for part in parts.glob("0*.npz")}
    resumed = run_script(SCRIPTS[0], *arguments, "--resume", cwd=tmp_path)

    assert resumed.returncode == 0, resumed.stderr
    assert f"{len(kept) * 4}/12" in resumed.stderr  # the bar starts where the killed run stopped
    assert not parts.exists()
    whole, again = (
        pickle.loads((tmp_path / f).read_bytes()) for f in ("whole.pkl", "features.pkl")
    )
    assert all(np.array_equal(whole[one], again[one]) for one in whole)


@pytest.mark.slow
def test_killed_training_resumes_with_the_same_history(pipeline, tmp_path):
    for name in ("features.pkl", "features.pkl.json", "descriptions.txt", "descriptions.txt.json"):
        shutil.copy(pipeline.work / name, tmp_path)
    arguments = ["--train-split", pipeline.data.train, "--dev-split", pipeline.data.dev,
                 "--epochs", 8, "--batch-size", 4]  # fmt: skip
    whole = run_script(SCRIPTS[1], *arguments, "--output-dir", "whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    state = tmp_path / "broken/checkpoints/state.npz"

    kill_when(start(SCRIPTS[1], *arguments, "--output-dir", "broken", cwd=tmp_path), state.exists)
    resumed = run_script(SCRIPTS[1], *arguments, "--output-dir", "broken", "--resume", cwd=tmp_path)

    assert resumed.returncode == 0, resumed.stderr
    assert " 0 epochs already trained" not in resumed.stdout
    for name in ("loss", "val_loss"):
        histories = [
            [float(row[name]) for row in csv.DictReader((tmp_path / run / "history.csv").open())]
            for run in ("whole", "broken")
        ]
        np.testing.assert_allclose(histories[0], histories[1], atol=1e-6)


def test_resuming_with_other_settings_is_refused(pipeline):
    result = run_script(
        SCRIPTS[1], "--train-split", pipeline.data.train, "--dev-split", pipeline.data.dev,
        "--epochs", 99, "--batch-size", 4, "--learning-rate", 0.005, "--resume", cwd=pipeline.work,
    )  # fmt: skip
    assert_refused(result, "epochs was 12, not 99")


def test_resuming_with_another_development_split_of_that_name_is_refused(pipeline):
    data, whole = pipeline.data, pipeline.data.dev.read_text()
    data.dev.write_text(whole.splitlines()[0])
    result = run_script(
        SCRIPTS[1], "--train-split", data.train, "--dev-split", data.dev, "--epochs", 12,
        "--batch-size", 4, "--learning-rate", 0.005, "--resume", cwd=pipeline.work,
    )  # fmt: skip
    data.dev.write_text(whole)
    assert_refused(result, "state.npz: it had other captions of splits")
