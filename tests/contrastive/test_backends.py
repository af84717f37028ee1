"""The same code under JAX, and spread over processes (needs jax, a development dependency)."""

from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT, history_of, run_script, succeed
from tests.jax_processes import JAX, PLAIN, finish, needs_jax, start, start_two
from tests.pretext_tools import arrays_in, write_images

METHODS = ("simclr", "moco")  # BYOL shares no more than batch statistics, as SimCLR
pytestmark = [pytest.mark.slow, needs_jax]


def test_losses_augmentation_and_methods_under_jax():
    names = ("losses", "augment", "methods")
    files = [f"tests/contrastive/test_{name}.py" for name in names]
    # What a method does with its vectors, and an encoder with its weights, is no backend's affair;
    # that it learns under JAX, the tests below show.
    others = "not spreads and not begin_as and not falls and not multi_crop and not happens"
    finish(start("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", others, *files, **PLAIN))


def losses(folder: Path) -> list[float]:
    return [float(row["loss"]) for row in history_of(folder)]


def test_two_processes_equal_one(tmp_path):
    """Batch normalisation included: its statistics are those of the whole batch."""
    worker = ROOT / "tests" / "distributed_worker.py"
    one_process = start(worker, tmp_path / "one", *METHODS, **PLAIN)
    finish(one_process, *start_two(worker, tmp_path / "two", *METHODS, **PLAIN))
    for method in METHODS:
        one, two = (tmp_path / name / method for name in ("one", "two"))
        assert len(losses(one)) == 3
        assert losses(two) == pytest.approx(losses(one), rel=1e-4)
        name = f"tiny-{method}.weights.h5"
        for first, second in zip(arrays_in(one / name), arrays_in(two / name), strict=True):
            np.testing.assert_allclose(second, first, rtol=2e-3, atol=2e-3)


def test_main_script_trains_and_resumes_under_jax(tmp_path):
    """With a probe: its own model must not disturb the training loop's variables."""
    write_images(tmp_path / "pictures", 40)
    lines = [f"{number:03d}.png#0\tpicture {number % 3}" for number in range(40)]
    (tmp_path / "captions.txt").write_text("\n".join(lines))
    options = ("--image-size", 32, "--pictures-seen", 32, "--log-pictures", 16, "--batch-size", 8)
    probe = ("--probe-images", "pictures", "--probe-captions", "captions.txt", "--probe-every", 1)
    command = ("contrastive/main.py", "--images", "pictures", *options, *probe, "--output", "run")
    succeed(run_script(*command, "--stop-minutes", 0.0001, cwd=tmp_path, **JAX))
    resumed = succeed(run_script(*command, "--resume", cwd=tmp_path, **JAX))
    assert "resuming after step 1 of 4" in resumed
    assert len(losses(tmp_path / "run")) == 2
