"""The same code under JAX, and spread over processes (needs jax, a development dependency)."""

import csv
import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, run_script
from tests.pretext_tools import write_pictures

METHODS = ("simclr", "moco", "byol")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed"),
]


def start(*arguments, **environment) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT, env={**os.environ, "KERAS_BACKEND": "jax", **environment},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finish(process: subprocess.Popen) -> None:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output


def test_losses_augmentation_and_methods_under_jax():
    names = ("losses", "augment", "methods")
    files = [f"tests/test_contrastive_{name}.py" for name in names]
    finish(start("-m", "pytest", "-q", "-p", "no:cacheprovider", *files))


def losses(folder: Path) -> list[float]:
    with open(folder / "history.csv", newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_two_processes_equal_one(tmp_path):
    """Batch normalisation included: its statistics are those of the whole batch."""
    worker = ROOT / "tests" / "distributed_worker.py"
    alone = start(worker, tmp_path / "one", *METHODS)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    together = [
        start(
            worker, tmp_path / "two", *METHODS,
            KERAS_DISTRIBUTION_JOB_ADDRESSES=address,
            KERAS_DISTRIBUTION_NUM_PROCESSES="2", KERAS_DISTRIBUTION_PROCESS_ID=str(number),
        )
        for number in (0, 1)
    ]  # fmt: skip
    for process in (alone, *together):
        finish(process)
    for method in METHODS:
        one, two = (losses(tmp_path / name / method) for name in ("one", "two"))
        assert len(one) == 3
        assert two == pytest.approx(one, rel=1e-4)


def test_main_script_trains_and_resumes_under_jax(tmp_path):
    """With a probe: its own model must not disturb the training loop's variables."""
    for seed, name in enumerate(("one", "other")):
        write_pictures(tmp_path / "pictures" / name, 8, seed=seed)
    arguments = ("--images", tmp_path / "pictures", "--image-size", 32, "--batch-size", 8,
                 "--epochs", 2, "--probe-every", 1)  # fmt: skip
    for more in (("--stop-minutes", 0.0001), ("--resume",)):
        result = run_script(
            "contrastive/main.py", *arguments, "--output", tmp_path / "run", *more,
            cwd=tmp_path, KERAS_BACKEND="jax",
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
    assert "goes on after step 1 of 4" in result.stdout
    assert len(losses(tmp_path / "run")) == 2
