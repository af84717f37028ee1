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
from tests.conftest import (
    COLOURS,
    PLACES,
    assert_refused,
    make_dataset,
    options,
    run_script,
    succeed,
)
from tests.dataset_formats import write_coco

MODELS = ("--model-path", "narrow.keras", "wide.keras", "--features", "narrow.pkl", "wide.pkl")
WORDS = ["startseq", "endseq", *"a the red green blue square at left top holds painted".split()]


def make_model(folder, name: str, width: int) -> None:
    """A small model that has learnt nothing, and features of 12 images that fit it."""
    keras.utils.set_random_seed(width)
    MergeDecoder(width, WORDS, 8, "ptb", units=8).save(folder / f"{name}.keras")
    features = np.random.default_rng(width).normal(size=(1, width)).astype("f4")
    ids = [f"{colour}_{position}" for colour in COLOURS for position in PLACES]
    (folder / f"{name}.pkl").write_bytes(pickle.dumps(dict.fromkeys(ids, features)))


def evaluate(work, *arguments, **changes):
    """Run evaluate.py on the made data set, without Java."""
    given = options(**{"captions": work.data.captions, "split": work.data.dev, **changes})
    return run_script("evaluate.py", *given, *arguments, cwd=work.folder, PATH="")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Two models of different features, predictions from elsewhere, and one run on all three."""
    pytest.importorskip("pycocoevalcap.bleu.bleu", reason="pycocoevalcap, the toolkit, is missing")
    folder = tmp_path_factory.mktemp("evaluate")
    work = SimpleNamespace(folder=folder, data=make_dataset(folder / "data"))
    make_model(folder, "narrow", 5)
    make_model(folder, "wide", 7)
    predict(work, {name: name for name in work.data.names}, "elsewhere.json")
    outputs = {"output": "results.json", "report": "report.html", "images": work.data.images}
    work.result = evaluate(work, *MODELS, predictions="elsewhere.json", **outputs)
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
    assert work.result.returncode == 0, work.result.stderr
    lines = work.result.stdout.splitlines()
    assert lines[0].startswith(f"protocol coco, split {work.data.dev}, 3 images")
    names = [re.split(" +[0-9]", line)[0] for line in lines[2:7]]
    expected = "narrow.keras wide.keras elsewhere.json constant caption human caption"
    assert " ".join(names) == expected
    assert lines[7] == "METEOR: n/a (needs Java)"


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


def test_a_limit_scores_the_first_images_of_the_split(work):
    printed = succeed(evaluate(work, "--limit", 2, predictions="elsewhere.json"))
    assert "2 of 3 images" in printed.splitlines()[0]


def test_calibration_says_how_many_of_the_confident_captions_are_good(work):
    model = ("--model-path", "narrow.keras", "--features", "narrow.pkl")
    printed = succeed(evaluate(work, "--calibrate", "drawn.png", *model))
    assert "confident from  captions  CIDEr-D above 0.6" in printed
    assert "          0.00         3" in printed
    assert Image.open(work.folder / "drawn.png").width > 400


def test_spread_of_seeds_is_the_mean_and_the_deviation_of_the_rows_above(work):
    printed = succeed(evaluate(work, "--spread", *MODELS))
    rows = [line.rsplit(maxsplit=11) for line in printed.splitlines()]
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


def test_model_row_is_what_the_model_says_in_stage_3(work):
    """Its captions, written by stage 3 and scored as predictions, get the same figures."""
    search = {"beam_width": 2, "length_penalty": 0.5, "min_length": 5, "no_repeat_ngram": 1}
    search["mbr_samples"] = 4
    model = ("--features", "narrow.pkl", *options(**search))
    data = ("--split", work.data.dev, "--captions", work.data.captions)
    stage_3 = ("3_BLEU.py", "--model", "narrow.keras", *data, "--output", "said.json")
    succeed(run_script(*stage_3, *model, cwd=work.folder))

    outputs = {"predictions": "said.json", "output": "said_results.json"}
    succeed(evaluate(work, "--model-path", "narrow.keras", *model, **outputs))

    row, said, *_ = written(work, "said_results.json")["rows"]
    assert row.items() >= search.items()
    captions = [one["caption"].split() for one in written(work, "said.json")]
    assert all(len(set(words)) == len(words) >= 5 for words in captions)
    assert figures(said) == figures(row)


def test_another_data_set_gets_the_same_figures_for_the_same_pictures(work):
    """Two captions files in COCO's form, the second being the split, and numbers for names."""
    captions = read_captions(work.data.captions)
    numbers = {f"{one}.jpg": number for number, one in enumerate(captions, start=391_895)}
    dev = [one for one in captions if f"{one}.jpg" in work.data.dev.read_text().split()]
    for name, ids in (("train", captions.keys() - dev), ("dev", dev)):
        chosen = {f"{one}.jpg": captions[one] for one in captions if one in ids}
        write_coco(work.folder / f"{name}.json", chosen, numbers)
    data = ("--captions", "train.json", "dev.json", "--split", "dev.json")
    arguments = ("--predictions", predict(work, numbers), "--output", "coco.json")
    printed = succeed(run_script("evaluate.py", *data, *arguments, cwd=work.folder, PATH=""))
    assert "MS COCO (train.json), MS COCO (dev.json)" in printed
    row, expected = (written(work, f"{name}.json")["rows"] for name in ("coco", "results"))
    assert figures(row[0]) == figures(expected[2])


def test_the_split_of_a_seed_is_the_one_that_is_scored(work):
    drawn = read_split("train", read_captions(work.data.captions), seed=7)
    given = {"predictions": "elsewhere.json", "split": "train", "output": "drawn.json"}
    succeed(evaluate(work, "--split-seed", 7, **given))
    found = written(work, "drawn.json")
    assert (found["split"], found["split_seed"], found["images"]) == ("train", 7, len(drawn))


def test_cider_of_one_picture_is_not_available_in_table_json_and_report(work, tmp_path):
    (tmp_path / "one.txt").write_text("red_left.jpg\n")
    given = {"predictions": "elsewhere.json", "split": tmp_path / "one.txt", "output": "one.json"}

    printed = succeed(evaluate(work, "--report", "one.html", "--images", work.data.images, **given))

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
    assert_refused(result, "narrow.pkl", "5 numbers", "wide.keras")
    assert (work.folder / "results.json").read_bytes() == before
