"""The same code under JAX, and spread over processes (needs jax, a development dependency)."""

import csv
from pathlib import Path

import pytest

from tests.conftest import ROOT, run_script
from tests.jax_processes import JAX, PLAIN, finish, needs_jax, start, start_two
from tests.pretext_tools import write_pictures

METHODS = ("simclr", "moco", "byol")
pytestmark = [pytest.mark.slow, needs_jax]


def test_losses_augmentation_and_methods_under_jax():
    names = ("losses", "augment", "methods")
    files = [f"tests/contrastive/test_{name}.py" for name in names]
    # What a method does with its vectors, and an encoder with its weights, is no backend's affair.
    others = "not collapses and not spreads and not begin_as"
    finish(start("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", others, *files, **PLAIN))


def losses(folder: Path) -> list[float]:
    with open(folder / "history.csv", newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]


def test_two_processes_equal_one(tmp_path):
    """Batch normalisation included: its statistics are those of the whole batch."""
    worker = ROOT / "tests" / "distributed_worker.py"
    finish(start(worker, tmp_path / "one", *METHODS, **PLAIN))
    finish(*start_two(worker, tmp_path / "two", *METHODS, **PLAIN))
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
            cwd=tmp_path, **JAX,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
    assert "goes on after step 1 of 4" in result.stdout
    assert len(losses(tmp_path / "run")) == 2
