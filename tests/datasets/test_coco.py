"""The scripts on COCO's files: what Flickr8k's give comes out."""

import json
import pickle
from types import SimpleNamespace

import numpy as np
import pytest

from captioning.datasets import read_captions
from tests import dataset_formats as formats
from tests.conftest import run_script, succeed

FIRST_ID = 391_895


@pytest.fixture
def coco(pipeline, tmp_path) -> SimpleNamespace:
    """The made data set as COCO's: numbered, in two folders, with two captions files."""
    raw = read_captions(pipeline.data.captions)
    dev = pipeline.data.dev.read_text().split()
    numbers = {name: FIRST_ID + n for n, name in enumerate(sorted(pipeline.data.names))}
    annotations = {}
    train = [name for name in pipeline.data.names if name not in dev]
    for year, chosen in (("train2014", train), ("val2014", dev)):
        (tmp_path / "coco" / year).mkdir(parents=True)
        called = {name: f"COCO_{year}_{numbers[name]:012d}.jpg" for name in chosen}
        for name, other in called.items():
            (tmp_path / "coco" / year / other).symlink_to(pipeline.data.images / name)
        annotations[year] = tmp_path / f"captions_{year}.json"
        formats.write_coco(
            annotations[year],
            {other: raw[name.removesuffix(".jpg")] for name, other in called.items()},
            {other: numbers[name] for name, other in called.items()},
        )
    names = {str(number): name.removesuffix(".jpg") for name, number in numbers.items()}
    train, val = annotations.values()
    return SimpleNamespace(images=tmp_path / "coco", train=train, val=val, names=names)


@pytest.mark.slow
def test_coco_gives_what_flickr8k_gives_but_for_the_ids(pipeline, coco, tmp_path):
    data = ("--images", coco.images, "--captions", coco.train, coco.val, "--text-rules", "ptb")
    extract = ("1_data_preprocessor.py", *data, "--batch-size", 6)
    printed = succeed(run_script(*extract, cwd=tmp_path))
    assert "MS COCO (captions_train2014.json), MS COCO (captions_val2014.json): 12 im" in printed
    features, others = (
        pickle.loads((folder / "features.pkl").read_bytes()) for folder in (tmp_path, pipeline.work)
    )
    assert {coco.names[one] for one in features} == set(others)
    assert all(np.array_equal(row, others[coco.names[one]]) for one, row in features.items())
    lines, expected = (
        (folder / "descriptions.txt").read_text().splitlines()
        for folder in (tmp_path, pipeline.work)
    )
    pairs = (line.split(" ", 1) for line in lines)
    assert sorted(f"{coco.names[one]} {words}" for one, words in pairs) == sorted(expected)

    succeed(run_script("4_tokenizer.py", "--train-split", coco.train, cwd=tmp_path))
    tokenizers = [(folder / "tokenizer.pkl").read_bytes() for folder in (tmp_path, pipeline.work)]
    assert tokenizers[0] == tokenizers[1]

    arguments = ("--protocol", "coco", "--captions", coco.train, coco.val, "--output", "found.json")
    model = pipeline.work / "checkpoints" / "best_model.keras"
    score = ("3_BLEU.py", "--model", model, "--split", coco.val, *arguments)
    succeed(run_script(*score, cwd=tmp_path))
    found = json.loads((tmp_path / "found.json").read_text())
    wanted = [image["id"] for image in json.loads(coco.val.read_text())["images"]]
    assert [one["image_id"] for one in found] == wanted
    assert all(set(one) == {"image_id", "caption"} and one["caption"] for one in found)
