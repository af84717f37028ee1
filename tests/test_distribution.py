"""Stage 2 on several devices and hosts: two processes train as one does."""

import pytest

from captioning import distribution
from captioning.cli import UserError
from tests.conftest import ROOT, history_of
from tests.jax_processes import PLAIN, finish, needs_jax, start, start_two


@pytest.mark.slow
@needs_jax
def test_two_processes_train_a_captioner_as_one_does(pipeline, tmp_path):
    data, work = pipeline.data, pipeline.work
    files = ("--features", work / "features.pkl", "--descriptions", work / "descriptions.txt")
    settings = ("--epochs", 1, "--batch-size", 5, "--output-dir")
    command = (ROOT / "2_train_IC_model.py", *files, *data.splits, *settings)
    finish(start(*command, tmp_path / "one", cwd=tmp_path, **PLAIN))
    finish(*start_two(*command, tmp_path / "two", cwd=tmp_path, **PLAIN))

    [one], [two] = (history_of(tmp_path / name) for name in ("one", "two"))
    for column in ("loss", "val_loss"):  # the latter after four steps
        assert float(two[column]) == pytest.approx(float(one[column]), rel=1e-4)
    assert (tmp_path / "two" / "checkpoints" / "best_model.keras").is_file()


@pytest.mark.parametrize(
    "given",
    [
        {"NUM_PROCESSES": "2"},
        {"NUM_PROCESSES": "2", "PROCESS_ID": "0"},
        {"NUM_PROCESSES": "two", "PROCESS_ID": "0", "JOB_ADDRESSES": "a:1"},
        {"NUM_PROCESSES": "2", "PROCESS_ID": "2", "JOB_ADDRESSES": "a:1"},
    ],
)
def test_a_job_that_does_not_say_who_is_who_is_refused(monkeypatch, given):
    monkeypatch.setattr("keras.backend.backend", lambda: "jax")
    for name, value in given.items():
        monkeypatch.setenv(f"KERAS_DISTRIBUTION_{name}", value)
    with pytest.raises(UserError, match="KERAS_DISTRIBUTION_PROCESS_ID"):
        distribution.use_all_devices()


def test_a_number_left_over_from_another_job_means_nothing(monkeypatch):
    monkeypatch.setenv("KERAS_DISTRIBUTION_PROCESS_ID", "1")
    assert distribution.use_all_devices() == (0, 1, 1)
