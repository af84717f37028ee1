"""Scripts that are killed and resumed, and what does not resume."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from captioning.untrusted.pickles import load_pickles
from tests.conftest import assert_refused, history_of, kill_when, run_script, start, succeed

EXTRACT, TRAIN = "1_data_preprocessor.py", "2_train_IC_model.py"
SETTINGS = ("--train-split", "train.txt", "--dev-split", "dev.txt", "--epochs", 8)
SETTINGS += ("--batch-size", 4, "--output-dir")


@pytest.fixture(scope="module")
def trained(pipeline, tmp_path_factory) -> Path:
    """A folder with hand-off files, splits and a run of stage 2 on them."""
    folder = tmp_path_factory.mktemp("trained")
    for name in ("features.pkl", "descriptions.txt", "descriptions.txt.json"):
        shutil.copy(pipeline.work / name, folder)
    shutil.copy(pipeline.data.train, folder)
    shutil.copy(pipeline.data.dev, folder)
    succeed(run_script(TRAIN, *SETTINGS, "whole", cwd=folder))
    return folder


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
def test_killed_training_resumes_with_the_same_history(trained):
    command = [TRAIN, *SETTINGS, "broken"]
    state = trained / "broken/checkpoints/state.npz"

    kill_when(start(*command, cwd=trained), state.exists)
    resumed = succeed(run_script(*command, "--resume", cwd=trained))

    assert " 0 epochs already trained" not in resumed
    whole, broken = (
        [{**row, "seconds": ""} for row in history_of(trained / run)] for run in ("whole", "broken")
    )
    assert whole == broken


def test_resuming_with_other_settings_and_data_is_refused(trained, tmp_path):
    work = shutil.copytree(trained, tmp_path / "work")
    (work / "dev.txt").write_text((work / "dev.txt").read_text().splitlines()[0])
    (work / "descriptions.txt.json").unlink()
    features, record = load_pickles(work / "features.pkl", 2)
    other = pickle.dumps(features) + pickle.dumps({**record, "weights_sha256": "0" * 64})
    (work / "features.pkl").write_bytes(other)

    others = ("--epochs", 99, "--min-count", 2)
    result = run_script(TRAIN, *SETTINGS, "whole", *others, "--resume", cwd=work)

    changes = ["epochs was 8, not 99", "min_count was 1, not 2"]
    changes += ["text_rules was ptb, not original"]
    changes += ["it had other captions of splits", "it had other features"]
    assert_refused(result, "state.npz: ", *changes)
