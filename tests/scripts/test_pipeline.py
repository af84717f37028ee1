"""The five scripts as a user runs them, in order."""

import csv
import json
import pickle
import re
import runpy
import shutil
import sys

import pytest
from PIL import Image

from tests.conftest import ROOT, assert_refused, run_script
from tests.evaluation.test_bleu import WEIGHTS, naive_bleu
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


def scored_words(caption: str, protocol: str) -> list[str]:
    """A caption of the made data set as a protocol scores it."""
    words = re.findall("[a-z]+", caption.lower())
    return words if protocol == "coco" else ["startseq", *(w for w in words if w != "a"), "endseq"]


@pytest.mark.parametrize("protocol", ["original", "coco"])
def test_stage_3_prints_bleu_and_the_constant_caption(pipeline, protocol):
    result = run_script(
        "3_BLEU.py", "--split", pipeline.data.dev, "--protocol", protocol,
        "--captions", pipeline.data.captions, "--output", "hypotheses.json", cwd=pipeline.work,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert f"protocol {protocol}, split {pipeline.data.dev}, 3 images" in result.stdout
    hypotheses = json.loads((pipeline.work / "hypotheses.json").read_text())
    ids = ["red_left", "green_left", "blue_left"]
    assert [one["image_id"] for one in hypotheses] == ids

    rows = {line[:20].strip(): line.split()[-4:] for line in result.stdout.splitlines()}
    [constant] = re.findall(r"the constant caption: (.*)\)", result.stdout)
    said = {one["image_id"]: scored_words(one["caption"], protocol) for one in hypotheses}
    references = {image_id: [] for image_id in ids}
    for line in pipeline.data.captions.read_text().splitlines():
        name, caption = line.split("\t")
        if (image_id := name.split(".")[0]) in references:
            references[image_id].append(scored_words(caption, protocol))
    for name, candidate in {
        "model, beam width 1": said, "constant caption": dict.fromkeys(ids, constant.split()),
    }.items():  # fmt: skip
        for printed, weights in zip(rows[name], WEIGHTS[protocol], strict=True):
            assert printed == f"{naive_bleu(references, candidate, weights):.4f}"


def test_the_constant_caption_has_not_seen_the_split(pipeline, tmp_path):
    """The split's captions are all the same here, and no other two have a word in common."""
    dev = pipeline.data.dev.read_text().split()
    letters = dict(zip(pipeline.data.names, "fghijklmnopq", strict=True))
    own = {name: f"{a}b {a}c {a}d {a}e" for name, a in letters.items()}
    captions = {**own, **dict.fromkeys(dev, "all say the same")}
    lines = [f"{name}#0\t{caption}\n" for name, caption in captions.items()]
    (tmp_path / "other.txt").write_text("".join(lines))

    result = run_script(
        "3_BLEU.py", "--split", pipeline.data.dev, "--protocol", "coco", "--captions",
        tmp_path / "other.txt", cwd=pipeline.work,
    )  # fmt: skip

    assert result.returncode == 0, result.stderr
    [constant] = re.findall(r"the constant caption: (.*)\)", result.stdout)
    assert constant in own.values()


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
    assert result.stdout.startswith("model checkpoints/best_model.keras, your own")
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


SHIPPED = {  # what the model in Pre-trained/ says of the examples
    "beach": "a person is standing in the water at the beach",
    "bird": "a small child in a red shirt is standing on a tree",
    "cat": "a cat is looking at the camera",
    "dog": "a brown dog with a toy in its mouth",
    "food": "a plate of pizza on a plate",
    "living_room": "a small bathroom with a blue shirt and a yellow racket",
    "pan": "a white plate with a piece of food on it",
    "people": "a group of people standing in front of a building",
    "photographer": "a man is holding a guitar on the ground",
    "sport": "a little girl in a blue shirt and white shirt is standing on a grassy field",
    "street": "a parking lot of cars on a street",
    "train": "a man in a blue shirt is standing in front of a building",
}


def test_without_arguments_the_examples_are_captioned_by_the_shipped_model(tmp_path):
    result = run_script("5_test.py", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "model " + str(ROOT / "Pre-trained" / "model-ensemble") in result.stdout
    found = dict(re.findall(r"(\w+)\.jpg: (.+) \(", result.stdout))
    assert found.keys() == SHIPPED.keys()
    # On another processor rounding may decide between two captions that are as probable.
    assert sum(found[name] == caption for name, caption in SHIPPED.items()) >= 10


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
        "--dev-split", data.dev, "--epochs", 1, "--batch-size", 18, cwd=tmp_path,
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    picture = data.images / data.names[0]
    captioned = run_script(SCRIPTS[4], picture, cwd=tmp_path)
    assert captioned.returncode == 0, captioned.stderr
    caption = captioned.stdout.splitlines()[-1]
    assert caption.startswith(f"{picture}: ")
    looked = run_script(
        "infer.py", "--image-path", picture, "--attention", "looks.png", cwd=tmp_path
    )
    assert looked.returncode == 0, looked.stderr
    assert caption in looked.stdout.splitlines()
    assert Image.open(tmp_path / "looks.png").width >= 2 * 224


def test_a_decoder_of_grids_does_not_score_vectors(pipeline, tmp_path):
    scored = run_script(
        SCRIPTS[2], "--model", ROOT / "Pre-trained/simclr/model-without-labels.keras",
        "--features", pipeline.work / "features.pkl", "--split", pipeline.data.dev, cwd=tmp_path,
    )  # fmt: skip
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
