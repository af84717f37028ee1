"""Scripts that are killed and resumed, and what does not resume."""

import csv
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from captioning.untrusted.pickles import load_pickles
from tests.conftest import assert_refused, kill_when, run_script, start, succeed

EXTRACT, TRAIN = "1_data_preprocessor.py", "2_train_IC_model.py"
SETTINGS = ("--train-split", "train.txt", "--dev-split", "dev.txt", "--epochs", 8)
SETTINGS += ("--batch-size", 4, "--output-dir", "whole")


@pytest.fixture(scope="module")
def trained(pipeline, tmp_path_factory) -> Path:
    """A folder with hand-off files, splits and a run of stage 2 on them."""
    folder = tmp_path_factory.mktemp("trained")
    for name in ("features.pkl", "descriptions.txt", "descriptions.txt.json"):
        shutil.copy(pipeline.work / name, folder)
    shutil.copy(pipeline.data.train, folder)
    shutil.copy(pipeline.data.dev, folder)
    succeed(run_script(TRAIN, *SETTINGS, cwd=folder))
    return folder


@pytest.fixture
def work(trained, tmp_path) -> Path:
    """A copy of that folder."""
    return shutil.copytree(trained, tmp_path / "work")


@pytest.mark.slow
def test_killed_extraction_resumes_with_the_same_features(dataset, tmp_path):
    arguments = [*dataset.files, "--batch-size", 1]
    succeed(run_script(EXTRACT, *arguments, "--features", "whole.pkl", cwd=tmp_path))
    parts = tmp_path / "features.pkl.parts"

    kill_when(start(EXTRACT, *arguments, cwd=tmp_path), lambda: list(parts.glob("0*.npz")))
    assert not (tmp_path / "features.pkl").exists()
    finished = len([*parts.glob("0*.npz")])
    resumed = run_script(EXTRACT, *arguments, "--resume", cwd=tmp_path)

    assert resumed.returncode == 0, resumed.stderr
    assert f"{finished}/12" in resumed.stderr  # the bar starts where the killed run stopped
    assert not parts.exists()
    whole, again = (
        pickle.loads((tmp_path / f).read_bytes()) for f in ("whole.pkl", "features.pkl")
    )
    assert all(np.array_equal(whole[one], again[one]) for one in whole)


@pytest.mark.slow
def test_killed_training_resumes_with_the_same_history(work):
    command = [TRAIN, *SETTINGS[:-1], "broken"]
    state = work / "broken/checkpoints/state.npz"

    kill_when(start(*command, cwd=work), state.exists)
    resumed = succeed(run_script(*command, "--resume", cwd=work))

    assert " 0 epochs already trained" not in resumed
    whole, broken = (
        [{**row, "seconds": ""} for row in csv.DictReader((work / run / "history.csv").open())]
        for run in ("whole", "broken")
    )
    assert whole == broken


def other_dev_split(work: Path) -> None:
    (work / "dev.txt").write_text((work / "dev.txt").read_text().splitlines()[0])


def other_rules(work: Path) -> None:
    (work / "descriptions.txt.json").unlink()


def other_features(work: Path) -> None:
    path = work / "features.pkl"
    features, record = load_pickles(path, 2)
    path.write_bytes(pickle.dumps(features) + pickle.dumps({**record, "weights_sha256": "0" * 64}))


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (None, ("--epochs", 99), "epochs was 8, not 99"),
        (None, ("--min-count", 2), "min_count was 1, not 2"),
        (other_dev_split, (), "it had other captions of splits"),
        (other_rules, (), "text_rules was ptb, not original"),
        (other_features, (), "it had other features"),
    ],
)
def test_resuming_with_other_settings_or_data_is_refused(work, change, settings, message):
    if change:
        change(work)
    result = run_script(TRAIN, *SETTINGS, *settings, "--resume", cwd=work)
    assert_refused(result, f"state.npz: {message}")
