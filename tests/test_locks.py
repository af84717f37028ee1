"""Two runs in one folder: the second is told who is there, and nothing is mixed."""

import os
import signal
import subprocess
import sys
import time

import pytest

from captioning.cli import UserError
from captioning.files import sole_writer
from tests.conftest import ROOT, assert_refused, run_script

HOLDER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from captioning.files import hold
hold(sys.argv[2])
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder():
    """Start a process that holds a path; the processes end with the test."""
    started = []

    def start(path) -> subprocess.Popen:
        command = [sys.executable, "-c", HOLDER, str(ROOT), str(path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_second_writer_is_told_of_the_first(tmp_path, holder):
    first = holder(tmp_path)
    with (
        pytest.raises(UserError, match=rf"another run \(process {first.pid}\)"),
        sole_writer(tmp_path),
    ):
        pass


def test_the_lock_ends_with_its_process_however_that_ends(tmp_path, holder):
    process = holder(tmp_path / "features.pkl")
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    with sole_writer(tmp_path / "features.pkl"):
        assert (tmp_path / ".features.pkl.lock").read_text() == f"{os.getpid()}\n"
    assert not list(tmp_path.iterdir())


def test_of_many_at_once_one_gets_it(tmp_path):
    """Each takes it for a moment, over and over: no two ever at the same time."""
    script = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from captioning.cli import UserError
from captioning.files import sole_writer
took, end = 0, time.monotonic() + 2
while time.monotonic() < end:
    try:
        with sole_writer(sys.argv[2]):
            os.mkdir(sys.argv[2] + "/alone")  # fails if another is here
            os.rmdir(sys.argv[2] + "/alone")
            took += 1
    except UserError:
        pass
print(took)
"""
    command = [sys.executable, "-c", script, str(ROOT), str(tmp_path)]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    counts = [int(run.communicate()[0]) for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert sum(counts) > 10


@pytest.mark.parametrize(
    ("script", "arguments", "held"),
    [
        ("1_data_preprocessor.py", ("--images", "{images}", "--captions", "{captions}"),
         "features.pkl"),
        ("contrastive/main.py", ("--images", "{images}", "--batch-size", "4", "--output", "out"),
         "out"),
        ("jigsaw/to_hdf5.py", ("--images", "{images}", "--output", "p.hdf5"), "p.hdf5"),
    ],
)  # fmt: skip
def test_scripts_refuse_what_another_run_writes(script, arguments, held, dataset, tmp_path, holder):
    if held == "out":
        (tmp_path / "out").mkdir()
    first = holder(tmp_path / held)
    filled = [one.format(images=dataset.images, captions=dataset.captions) for one in arguments]
    result = run_script(script, *filled, cwd=tmp_path)
    assert_refused(result, held, f"another run (process {first.pid})")


def test_stage_2_refuses_a_folder_that_another_run_fills(pipeline, tmp_path, holder):
    (tmp_path / "out").mkdir()
    first = holder(tmp_path / "out")
    result = run_script(
        "2_train_IC_model.py", "--train-split", pipeline.data.train, "--dev-split",
        pipeline.data.dev, "--output-dir", tmp_path / "out", cwd=pipeline.work,
    )  # fmt: skip
    assert_refused(result, "out", f"another run (process {first.pid})")


def kill_after_first_part(command, parts, cwd) -> None:
    process = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not list(parts.glob("*.npz")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_features_of_other_pictures_of_the_same_names_are_not_mixed(dataset, tmp_path):
    """Killed on one folder, resumed on another: all vectors are those of the other."""
    from PIL import Image

    from captioning.features.reading import read_features

    other = tmp_path / "other"
    other.mkdir()
    for name in dataset.names:
        Image.new("RGB", (64, 64), (9, 99, 199)).save(other / name)
    arguments = ("--captions", dataset.captions, "--batch-size", 1, "--only", "features")
    script = str(ROOT / "1_data_preprocessor.py")
    command = [sys.executable, script, "--images", str(dataset.images), *map(str, arguments)]
    kill_after_first_part(command, tmp_path / "features.pkl.parts", tmp_path)
    result = run_script(
        "1_data_preprocessor.py", "--images", other, *arguments, "--resume", cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert "is of a run with other pictures_sha256; starts again" in result.stdout
    features = read_features(tmp_path / "features.pkl")
    assert len(features) == 12
    assert (features.matrix == features.matrix[0]).all()
