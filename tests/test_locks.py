"""Two runs in one folder: the second is told who is there, and nothing is mixed."""

import fcntl
import subprocess
import sys

import pytest

from captioning.cli import UserError
from captioning.files import lock, open_run
from tests.conftest import ROOT, assert_refused, run_script

HOLDER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from captioning.files import lock
lock(sys.argv[2])
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder():
    """Start a process that holds a path until its stdin is closed; all end with the test."""
    started = []

    def start_one(path) -> subprocess.Popen:
        command = [sys.executable, "-c", HOLDER, str(ROOT), str(path)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen(command, text=True, **pipes)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start_one
    for process in started:
        process.kill()
        process.communicate()


def test_the_lock_goes_with_its_process_killed_or_not(tmp_path, holder):
    killed = holder(tmp_path / "features.pkl")
    killed.kill()
    killed.wait()
    second = holder(tmp_path / "features.pkl")
    assert (tmp_path / ".features.pkl.lock").read_text() == f"{second.pid}\n"
    second.communicate("")
    assert not list(tmp_path.iterdir())


def test_a_lock_on_a_file_that_has_just_been_taken_away_is_none(tmp_path, monkeypatch):
    """Opened while another run held it, locked when that had ended and unlinked it."""
    flock = fcntl.flock

    def end_the_other_run_first(file, how) -> None:
        (tmp_path / ".lock").unlink()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", end_the_other_run_first)
    with pytest.raises(UserError, match="another run"):
        lock(tmp_path)


@pytest.mark.parametrize(
    ("script", "arguments", "held"),
    [
        ("1_data_preprocessor.py", "--images {images} --captions {captions} --features", "f.pkl"),
        ("2_train_IC_model.py", "--train-split {train} --dev-split {dev} --output-dir", "out"),
        ("contrastive/main.py", "--images {images} --batch-size 4 --output", "out"),
        ("jigsaw/to_hdf5.py", "--images {images} --output", "p.hdf5"),
    ],
)
def test_scripts_refuse_what_another_run_writes(
    script, arguments, held, pipeline, tmp_path, holder
):
    (tmp_path / "out").mkdir()
    first = holder(tmp_path / held)
    given = arguments.format(**vars(pipeline.data)).split()
    result = run_script(script, *given, tmp_path / held, cwd=pipeline.work)
    assert_refused(result, held, f"another run (process {first.pid})")


@pytest.mark.parametrize("state", ["state.npz", "checkpoints/state.npz"])
def test_a_folder_with_a_run_is_taken_only_by_resume_or_restart(tmp_path, state):
    open_run(tmp_path, resume=False, restart=False, locks=False)
    (tmp_path / state).parent.mkdir(exist_ok=True)
    (tmp_path / state).touch()

    open_run(tmp_path, resume=True, restart=False, locks=False)
    open_run(tmp_path, resume=False, restart=True, locks=False)
    with pytest.raises(UserError, match="--resume continues it, --restart begins anew"):
        open_run(tmp_path, resume=False, restart=False, locks=False)
    with pytest.raises(UserError, match="give one of them"):
        open_run(tmp_path, resume=True, restart=True, locks=False)
