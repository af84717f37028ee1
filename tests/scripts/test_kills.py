"""The five scripts killed and resumed, and what does not resume."""

import csv
import pickle
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.conftest import ROOT, assert_refused, run_script

SCRIPTS = ["1_data_preprocessor.py", "2_train_IC_model.py"]


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
    for name in ("features.pkl", "descriptions.txt", "descriptions.txt.json"):
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
