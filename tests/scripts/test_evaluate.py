"""`evaluate.py` as a user runs it, with the mistakes that users make."""

import json
import pickle
import re
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image

from captioning.datasets import read_captions, read_split
from captioning.decoders.merge import MergeDecoder
from tests.conftest import assert_refused, make_dataset, options, run_script, succeed
from tests.dataset_formats import write_coco

MODELS = ("--model-path", "narrow.keras", "wide.keras", "--features", "narrow.pkl", "wide.pkl")
NO_JAVA = ("--java-patience", 0.01)  # seconds, in which it does not even start
SEARCH = {"beam_width": 2, "length_penalty": 0.5, "min_length": 5, "no_repeat_ngram": 1}
SEARCH |= {"mbr_samples": 4}
WORDS = ["startseq", "endseq", *"a the red green blue square at left top holds painted".split()]


def make_model(work, name: str, width: int) -> None:
    """A small model that has learnt nothing, and features of 12 images that fit it."""
    keras.utils.set_random_seed(width)
    MergeDecoder(width, WORDS, 8, "ptb", units=8).save(work.folder / f"{name}.keras")
    features = np.random.default_rng(width).normal(size=(1, width)).astype("f4")
    ids = [image.removesuffix(".jpg") for image in work.data.names]
    (work.folder / f"{name}.pkl").write_bytes(pickle.dumps(dict.fromkeys(ids, features)))


def evaluate(work, *arguments, **changes):
    """Run evaluate.py on the made data set, without Java."""
    given = options(**{"captions": work.data.captions, "split": work.data.dev, **changes})
    return run_script("evaluate.py", *given, *arguments, *NO_JAVA, cwd=work.folder)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Two models of different features, predictions from elsewhere, and one run on all three."""
    pytest.importorskip("pycocoevalcap.bleu.bleu", reason="pycocoevalcap, the toolkit, is missing")
    folder = tmp_path_factory.mktemp("evaluate")
    work = SimpleNamespace(folder=folder, data=make_dataset(folder / "data"))
    make_model(work, "narrow", 5)
    make_model(work, "wide", 7)
    predict(work, {name: name for name in work.data.names}, "elsewhere.json")
    outputs = {"output": "results.json", "report": "report.html", "images": work.data.images}
    given = {"predictions": "elsewhere.json", "calibrate": "drawn.png", **outputs}
    work.lines = succeed(evaluate(work, *MODELS, "--spread", **given)).splitlines()
    return work


def predict(work, names: dict, file: str = "predicted.json") -> str:
    """A file of predictions by these names or numbers of the data set's images, all alike."""
    entries = [
        {"image_id": image_id, "caption": f"a {name.split('_')[0]} square at the left"}
        for name, image_id in names.items()
    ]
    (work.folder / file).write_text(json.dumps(entries))
    return file


def written(work, name: str) -> dict:
    return json.loads((work.folder / name).read_text())


def figures(row: dict) -> dict:
    return {name: value for name, value in row.items() if name[0].isupper()}


def test_a_row_for_each_model_and_the_rows_to_read_it_by(work):
    assert work.lines[0].startswith(f"protocol coco, split {work.data.dev}, 3 images")
    names = [re.split(" +[0-9]", line)[0] for line in work.lines[2:7]]
    expected = "narrow.keras wide.keras elsewhere.json constant caption human caption"
    assert " ".join(names) == expected
    assert work.lines[9].startswith("METEOR: n/a (")


def test_figures_settings_and_digests_are_kept(work):
    results = written(work, "results.json")
    assert results["protocol"] == "coco" and results["images"] == 3
    assert [len(one) for one in results["captions_sha256"]] == [64]
    assert len(results["image_ids_sha256"]) == 64
    models, elsewhere = results["rows"][:2], results["rows"][2]
    assert [one["features"] for one in models] == ["narrow.pkl", "wide.pkl"]
    assert all(len(one["model_sha256"]) == 64 for one in models)
    search = {"beam_width": 3, "length_penalty": 1.0, "min_length": 0, "no_repeat_ngram": None}
    assert all(one.items() >= search.items() for one in models)
    # Word for word the first reference of each image, less its full stop.
    assert elsewhere["BLEU-4"] == pytest.approx(1, abs=1e-6)
    assert elsewhere["METEOR"] is None
    assert (elsewhere["distinct"], elsewhere["mean_length"], elsewhere["vocabulary"]) == (3, 6, 8)


def test_calibration_says_how_many_of_the_confident_captions_are_good(work):
    printed = "\n".join(work.lines)
    assert printed.count("confident from  captions  CIDEr-D above 0.6") == 2
    assert printed.count("          0.00         3") == 2
    assert Image.open(work.folder / "drawn.png").width > 400


def test_spread_of_seeds_is_the_mean_and_the_deviation_of_the_rows_above(work):
    rows = [line.rsplit(maxsplit=11) for line in work.lines[2:9]]
    found = {row[0].strip(): row[1:] for row in rows}
    # BLEU-1 and 4, ROUGE-L and CIDEr-D have four decimals, words a caption one.
    for column, rounding in ((0, 1e-4), (3, 1e-4), (5, 1e-4), (6, 1e-4), (8, 0.1)):
        pair = [float(found[name][column]) for name in ("narrow.keras", "wide.keras")]
        mean, std = (float(found[name][column]) for name in ("mean of 2", "deviation"))
        assert mean == pytest.approx(np.mean(pair), abs=rounding)
        assert std == pytest.approx(np.std(pair, ddof=1), abs=rounding)
    assert found["mean of 2"][4] == "n/a"  # METEOR, without Java


def test_report_shows_the_pictures_of_the_split(work):
    page = (work.folder / "report.html").read_text()
    assert page.count("<article") == page.count("data:image/jpeg;base64,") == 3
    assert page.count('<p class="') == 9  # by three


@pytest.fixture(scope="module")
def coco(work) -> SimpleNamespace:
    """Stage 3 and evaluate.py on the same pictures in COCO's form, with numbers for names.

    There are two captions files, of which the second is the split.
    """
    captions = read_captions(work.data.captions)
    numbers = {f"{one}.jpg": number for number, one in enumerate(captions, start=391_895)}
    dev = work.data.dev.read_text().split()
    for file, names in (("train.json", numbers.keys() - dev), ("dev.json", dev)):
        chosen = {name: captions[name.removesuffix(".jpg")] for name in numbers if name in names}
        write_coco(work.folder / file, chosen, numbers)
    given = ["--captions", "train.json", "dev.json", "--split", "dev.json"]
    given += ["--features", "narrow.pkl", *options(**SEARCH)]
    stage_3 = ("3_BLEU.py", "--model", "narrow.keras", "--output", "said.json")
    succeed(run_script(*stage_3, *given, cwd=work.folder))
    scored = ("--model-path", "narrow.keras", "--predictions", "said.json", predict(work, numbers))
    outputs = ("--output", "coco.json", *NO_JAVA)
    printed = succeed(run_script("evaluate.py", *scored, *given, *outputs, cwd=work.folder))
    rows = written(work, "coco.json")["rows"]
    return SimpleNamespace(printed=printed, rows=rows, dev=[numbers[name] for name in dev])


def test_model_row_is_what_the_model_says_in_stage_3(work, coco):
    """Its captions, written by stage 3 and scored as predictions, get the same figures."""
    row, by_stage_3, *_ = coco.rows
    said = written(work, "said.json")
    assert row.items() >= SEARCH.items()
    assert [one["image_id"] for one in said] == coco.dev
    captions = [one["caption"].split() for one in said]
    assert all(len(set(words)) == len(words) >= 5 for words in captions)
    assert figures(by_stage_3) == figures(row)


def test_another_data_set_gets_the_same_figures_for_the_same_pictures(work, coco):
    assert "MS COCO (train.json), MS COCO (dev.json)" in coco.printed
    assert figures(coco.rows[2]) == figures(written(work, "results.json")["rows"][2])


def test_the_split_of_a_seed_is_the_one_that_is_scored(work):
    drawn = read_split("train", read_captions(work.data.captions), seed=7)
    given = {"predictions": "elsewhere.json", "split": "train", "output": "drawn.json"}
    succeed(evaluate(work, "--split-seed", 7, **given))
    found = written(work, "drawn.json")
    assert (found["split"], found["split_seed"], found["images"]) == ("train", 7, len(drawn))


def test_cider_of_one_picture_is_not_available_in_table_json_and_report(work):
    outputs = {"output": "one.json", "report": "one.html", "images": work.data.images}

    printed = succeed(evaluate(work, "--limit", 1, predictions="elsewhere.json", **outputs))

    assert "1 of 3 images" in printed.splitlines()[0]
    assert [line.split()[6 + 1] for line in printed.splitlines() if "elsewhere" in line] == ["n/a"]
    assert "CIDEr-D: n/a (needs two images or more)" in printed
    assert [row["CIDEr-D"] for row in written(work, "one.json")["rows"]] == [None] * 3
    assert '<p class="none"><b>n/a</b>' in (work.folder / "one.html").read_text()


# ---- mistakes --------------------------------------------------------------------------------


def test_features_for_fewer_models_than_there_are(work):
    models = ("--model-path", "narrow.keras", "wide.keras", "narrow.keras")
    result = evaluate(work, *models, "--features", "narrow.pkl", "wide.pkl")
    assert_refused(result, "--features", "2 files for 3 models")


def test_features_of_another_model_are_refused_and_nothing_is_lost(work):
    before = (work.folder / "results.json").read_bytes()
    models = ("--model-path", "narrow.keras", "wide.keras", "--features", "narrow.pkl")
    result = evaluate(work, *models, "--output", "results.json")
    remedy = "make the right ones with: python 1_data_preprocessor.py"
    assert_refused(result, "narrow.pkl: features (5,)", "wide.keras takes (7,)", remedy)
    assert (work.folder / "results.json").read_bytes() == before
