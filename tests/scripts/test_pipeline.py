"""The five scripts as a user runs them, in order."""

import csv
import json
import pickle
import re
import shutil

import keras
import pytest
from PIL import Image

from captioning.captioners.loading import load_captioner
from captioning.captioners.tokenizer import read_tokenizer
from tests.conftest import ROOT, assert_refused, run_script, succeed
from tests.dataset_formats import write_flickr8k_token
from tests.evaluation.test_bleu import WEIGHTS, naive_bleu
from tests.jax_processes import JAX, PLAIN, needs_jax


def test_stage_1_writes_features_and_descriptions(pipeline):
    features = pickle.loads((pipeline.work / "features.pkl").read_bytes())
    assert len(features) == 12
    assert features["red_left"].shape == (1, 1280)
    lines = (pipeline.work / "descriptions.txt").read_text().splitlines()
    assert lines[0] == "red_left a red square at the left"
    assert lines[1] == "red_left the left holds a square painted red"


def test_stage_2_keeps_model_history_and_plot(pipeline):
    rows = list(csv.DictReader((pipeline.work / "history.csv").open()))
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    best = min(rows, key=lambda row: float(row["val_loss"]))
    losses = f"loss{float(best['loss']):.3f}-val_loss{float(best['val_loss']):.3f}"
    [model] = pipeline.work.glob("model-ep*.keras")
    assert model.name == f"model-ep{int(best['epoch']):03d}-{losses}.keras"
    assert Image.open(pipeline.work / "history.png").width > 400


def test_stage_2_fits_which_words_an_image_has(pipeline):
    model = load_captioner(pipeline.work / "checkpoints" / "best_model.keras")
    features = pickle.loads((pipeline.work / "features.pkl").read_bytes())
    colours = {"red", "green", "blue"} & model.vocabulary.word_index.keys()
    assert len(colours) > 1
    for name in pipeline.data.train.read_text().split():
        name = name.removesuffix(".jpg")
        [expected] = keras.ops.convert_to_numpy(model.expected_words(features[name]))
        found = max(colours, key=lambda colour: expected[model.vocabulary.word_index[colour]])
        assert found == name.partition("_")[0]


def scored_words(caption: str, protocol: str) -> list[str]:
    """A caption of the made data set as a protocol scores it."""
    words = re.findall("[a-z]+", caption.lower())
    return words if protocol == "coco" else ["startseq", *(w for w in words if w != "a"), "endseq"]


def score(pipeline, *arguments, split=None) -> str:
    """What stage 3 prints, of the development split if of no other."""
    given = ("--split", split or pipeline.data.dev, *arguments)
    return succeed(run_script("3_BLEU.py", *given, cwd=pipeline.work))


@pytest.mark.parametrize("protocol", ["original", "coco"])
def test_stage_3_prints_bleu_and_the_constant_caption(pipeline, protocol, tmp_path):
    captions, output = pipeline.data.captions, tmp_path / "hypotheses.json"
    given = ("--protocol", protocol, "--captions", captions, "--output", output)
    printed = score(pipeline, *given)
    assert f"protocol {protocol}, split {pipeline.data.dev}, 3 images" in printed
    hypotheses = json.loads(output.read_text())
    ids = ["red_left", "green_left", "blue_left"]
    assert [one["image_id"] for one in hypotheses] == ids

    rows = {line[:20].strip(): line.split()[-4:] for line in printed.splitlines()}
    [constant] = re.findall(r"the constant caption: (.*)\)", printed)
    said = {one["image_id"]: scored_words(one["caption"], protocol) for one in hypotheses}
    references = {image_id: [] for image_id in ids}
    for line in captions.read_text().splitlines():
        name, caption = line.split("\t")
        if (image_id := name.split(".")[0]) in references:
            references[image_id].append(scored_words(caption, protocol))
    same = dict.fromkeys(ids, constant.split())
    for name, candidate in {"model, beam width 1": said, "constant caption": same}.items():
        for printed, weights in zip(rows[name], WEIGHTS[protocol], strict=True):
            assert printed == f"{naive_bleu(references, candidate, weights):.4f}"


def test_the_constant_caption_has_not_seen_the_split(pipeline, tmp_path):
    """Nor those of its pictures that have no features, whose captions are all the same here.

    No two others have a word in common.
    """
    unscored = [f"without_features{number}.jpg" for number in range(3)]
    letters = zip(pipeline.data.names, "fghijklmnopq", strict=True)
    own = {name: f"{a}b {a}c {a}d {a}e" for name, a in letters}
    captions = {**own, **dict.fromkeys(unscored, "all say the same")}
    write_flickr8k_token(tmp_path / "other.txt", {name: [captions[name]] for name in captions})
    dev = pipeline.data.dev.read_text().split()
    (tmp_path / "dev.txt").write_text("\n".join([*dev, *unscored]))

    given = ("--protocol", "coco", "--captions", tmp_path / "other.txt")
    printed = score(pipeline, *given, split=tmp_path / "dev.txt")

    [constant] = re.findall(r"the constant caption: (.*)\)", printed)
    assert constant in {own[name] for name in own if name not in dev}


def test_stage_4_numbers_words_as_the_model_does(pipeline):
    model = load_captioner(pipeline.work / "checkpoints/best_model.keras")
    assert read_tokenizer(pipeline.work / "tokenizer.pkl") == model.vocabulary


def test_stage_5_captions_pictures_in_every_format(pipeline, tmp_path):
    outputs = [tmp_path / f"captions.{kind}" for kind in ("json", "csv", "html", "png")]
    search = ("--min-length", 7, "--no-repeat-ngram", 1)
    given = (pipeline.data.images, *search, "--output", *outputs)
    printed = succeed(run_script("5_test.py", *given, cwd=pipeline.work))
    assert printed.startswith("model checkpoints/best_model.keras; for another")
    captions = json.loads(outputs[0].read_text())
    assert len(captions) == 12
    words = set((pipeline.work / "descriptions.txt").read_text().split())
    assert all(set(one["caption"].split()) <= words for one in captions)
    assert {len(set(one["caption"].split())) for one in captions} == {7}  # the longest there is
    assert len(list(csv.reader(outputs[1].open()))) == 13
    page = outputs[2].read_text()
    assert page.count("data:image/jpeg;base64,") == 12
    assert "http" not in page.replace('http-equiv="', "")
    assert Image.open(outputs[3]).width > 1000


def test_captions_are_written_although_a_picture_among_few_is_broken(pipeline, tmp_path):
    """The exit status and the last line say that something failed; ids tell equal names apart."""
    for name in ("a/1.jpg", "b/1.jpg"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(pipeline.data.image, tmp_path / name)
    for name in ("2.jpg", "3.jpg", "4.jpg"):
        (tmp_path / "b" / name).write_bytes(b"broken")
    folders = (tmp_path / "a", tmp_path / "b")
    given = (*folders, "--output", tmp_path / "c.json")
    result = run_script("5_test.py", *given, cwd=pipeline.work)
    assert result.returncode == 2
    assert "3 of 5 pictures failed; the others have their captions" in result.stderr
    captions = json.loads((tmp_path / "c.json").read_text())
    assert [one["image_id"] for one in captions] == ["a/1", "b/1"]
    model = ("--model-path", "checkpoints/best_model.keras")
    broken = ("--image-path", tmp_path / "b" / "2.jpg")
    result = run_script("infer.py", *broken, *model, cwd=pipeline.work)
    assert_refused(result, "1 of 1 pictures failed", "2.jpg")
    assert result.stdout == "model checkpoints/best_model.keras\n"


def test_captions_go_into_copies(pipeline, tmp_path):
    image = tmp_path / "mine" / "one.jpg"
    image.parent.mkdir()
    shutil.copy(pipeline.data.image, image)
    Image.new("RGB", (32, 32)).save(tmp_path / "mine" / "two.gif")

    given = ("--image-path", image.parent, "--embed", tmp_path / "copies")
    result = run_script("5_test.py", *given, cwd=pipeline.work)

    # That is as Pillow reads it, and of the GIF the last line says that it has no copy.
    embedded = Image.open(tmp_path / "copies" / "one.jpg").getexif()[270]
    assert f"one.jpg: {embedded} (" in result.stdout
    assert_refused(result, "1 of 2 captioned pictures have no copy", "two.gif", "only JPEG")
    assert image.read_bytes() == pipeline.data.image.read_bytes()


SHIPPED = {  # what the model in Pre-trained/ says of twelve of the examples, with --fast
    "beach": "a person is sitting on a beach with the sun in the background",
    "bird": "a black and white bird sitting on a branch",
    "cat": "a cat laying on top of a wooden cat",
    "dog": "a brown dog with a stick in its mouth",
    "food": "a plate of pizza on a table with a piece of food",
    "living_room": "a close up of a bowl of scissors on the floor",
    "pan": "a small bowl with a knife on it",
    "people": "a group of people are standing in front of a crowd",
    "photographer": "a man holding a cell phone in his hand",
    "sport": "a black and white dog is in a field",
    "street": "a parking lot of cars parked on a street",
    "train": "a blue and white train sitting on the side of a building",
}


def test_without_arguments_the_examples_are_captioned_by_the_shipped_model(tmp_path):
    printed = succeed(run_script("5_test.py", "--fast", cwd=tmp_path))
    assert f"model {ROOT / 'Pre-trained' / 'model-ensemble'}" in printed
    found = dict(re.findall(r"(\w+)\.jpg: (.+) \(", printed))
    assert found.keys() > SHIPPED.keys()
    # On another processor rounding may decide between two captions that are as probable.
    assert sum(found[name] == caption for name, caption in SHIPPED.items()) >= 10


def test_the_shipped_captioner_without_labels_stands_beside_the_other(tmp_path):
    [model] = (ROOT / "Pre-trained/simclr").glob("*.keras")
    given = (ROOT / "examples/dog.jpg", "--beside", model, "--output", "c.csv", "c.json", "c.html")

    printed = succeed(run_script("5_test.py", *given, cwd=tmp_path))

    [first, (other, _)] = re.findall(r"dog\.jpg: (.*) \((.*)\)", printed)
    [row] = csv.DictReader((tmp_path / "c.csv").open())
    assert (row["caption"], row["confidence"]) == first
    assert row[model.stem] == other
    [record] = json.loads((tmp_path / "c.json").read_text())
    assert record["beside"] == {model.stem: other}
    assert f"<b>{model.stem}:</b> {other}" in (tmp_path / "c.html").read_text()
    assert f"{record['confidence']:.2f}" == row["confidence"]


@pytest.fixture(scope="module")
def grids(pipeline, tmp_path_factory):
    """A folder with features.h5 and descriptions.txt, as stage 1 leaves them."""
    folder, data = tmp_path_factory.mktemp("grids"), pipeline.data
    given = (*data.files, "--text-rules", "ptb")
    extract = ("1_data_preprocessor.py", *given, "--grid", "--batch-size", 6)
    printed = succeed(run_script(*extract, cwd=folder))
    assert "features.h5: 12 grids of vectors of 1280 numbers" in printed
    return folder


def train(pipeline, decoder: str, **where):
    """An epoch of stage 2 on grids."""
    settings = ("--epochs", 1, "--batch-size", 18, "--decoder", decoder)
    return run_script("2_train_IC_model.py", *pipeline.data.splits, *settings, **where)


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["attention", "transformer"])
def test_grids_train_a_decoder_that_captions_pictures(pipeline, grids, tmp_path, decoder):
    shutil.copytree(grids, tmp_path, dirs_exist_ok=True)
    succeed(train(pipeline, decoder, cwd=tmp_path))
    snapshot = ("infer.py", "--image-path", pipeline.data.image, "--attention", "looks.png")
    assert f"{pipeline.data.image}: " in succeed(run_script(*snapshot, cwd=tmp_path))
    assert Image.open(tmp_path / "looks.png").width >= 2 * 224


@pytest.mark.slow
@needs_jax
def test_what_computes_does_so_under_jax(pipeline, grids, tmp_path):
    """The merge decoder trains so in test_distribution.py; the transformer in test_decoders.py."""
    shutil.copytree(grids, tmp_path, dirs_exist_ok=True)
    here = {"cwd": tmp_path, **JAX, **PLAIN}
    succeed(train(pipeline, "attention", **here))
    captioned = succeed(run_script("5_test.py", pipeline.data.image, **here))
    assert f"{pipeline.data.image}: " in captioned
