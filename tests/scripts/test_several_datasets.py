"""Two data sets, one of them small and with names that the other has, too, through the scripts."""

import json

import numpy as np
import pytest
from PIL import Image

from captioning.features.files import write_features
from tests.conftest import make_dataset, run_script, succeed
from tests.dataset_formats import write_kaggle_csv


def test_a_decoder_learns_from_both_and_is_scored_on_both(tmp_path):
    """The made data set, and another of its own format, of other pictures of two of its names."""
    large, small = make_dataset(tmp_path / "large"), tmp_path / "small"
    (small / "images").mkdir(parents=True)
    names = [large.names[0], large.names[1], "circle.jpg"]
    for name in names:
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(small / "images" / name)
    captions = small / "captions.csv"
    write_kaggle_csv(captions, {name: ["A circle .", "A black circle ."] for name in names})
    (small / "train.txt").write_text(f"small/images/{names[1]}\ncircle.jpg\n")
    (small / "dev.txt").write_text(f"small/images/{names[0]}\n")
    # Whoever splits the large one has to say which of both is meant, too.
    for split in (large.train, large.dev):
        split.write_text("".join(f"large/images/{name}\n" for name in split.read_text().split()))
    folders, files = (large.images, small / "images"), (large.captions, captions)
    data = ("--images", *folders, "--captions", *files)

    clean = ("1_data_preprocessor.py", *data, "--only", "captions")
    succeed(run_script(*clean, cwd=tmp_path))
    lines = (tmp_path / "descriptions.txt").read_text().splitlines()
    assert len(lines) == 30
    ids = list(dict.fromkeys(line.split()[0] for line in lines))
    assert [one.rsplit("/", 1)[0] for one in ids] == ["large/images"] * 12 + ["small/images"] * 3
    features = np.random.default_rng(0).normal(size=(len(ids), 4)).astype(np.float32)
    write_features(tmp_path / "features.pkl", [(ids, features)], {}, rows=len(ids))

    train = ("--train-split", large.train, small / "train.txt")
    dev = ("--dev-split", large.dev, small / "dev.txt")
    combined = (*train, *dev, "--repeat", 1, 3, "--epochs", 1)
    trained = run_script("2_train_IC_model.py", *combined, cwd=tmp_path)
    assert "merge: 11 images" in succeed(trained)
    assert "not used" not in trained.stdout
    assert "/30 [" in trained.stderr  # captions an epoch: 9 x 2, and three times 2 x 2
    settings = json.loads((tmp_path / "checkpoints" / "training_settings.json").read_text())
    assert settings["features"] == "features.pkl"
    assert settings["train_split"] == f"{large.train}, {small / 'train.txt'} x 3"

    pytest.importorskip("pycocoevalcap.bleu.bleu", reason="pycocoevalcap, the toolkit, is missing")
    splits = ("--split", large.dev, small / "dev.txt")
    evaluate = ("evaluate.py", *data, *splits, "--java-patience", 0.1)
    scored = succeed(run_script(*evaluate, cwd=tmp_path))
    assert ", 4 images, captions token file (captions.token.txt), csv (captions.csv)" in scored
    # The captions of one data set alone have no folder in front, and find the features still.
    (tmp_path / "circle.txt").write_text("circle.jpg\n")
    alone = ("--captions", captions, "--java-patience", 0.1)
    scored = succeed(run_script("evaluate.py", *alone, "--split", "circle.txt", cwd=tmp_path))
    assert ", 1 images, captions csv (captions.csv)" in scored
