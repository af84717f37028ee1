"""A small data set of coloured squares, and how to run a script as a user would."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from captioning.cli import import_keras
from tests import zygote

if "PYTEST_XDIST_WORKER" in os.environ:  # workers, not their threads, are to keep the cores busy
    for threads in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(threads, "1")
import_keras()

ROOT = Path(__file__).resolve().parent.parent
COLOURS = {"red": (200, 30, 30), "green": (30, 160, 40), "blue": (30, 50, 200)}
PLACES = {"left": (20, 80), "right": (130, 80), "top": (80, 20), "bottom": (80, 130)}


def pytest_configure(config) -> None:
    """What one process under JAX has compiled, the next one reads, and the tests of another day.

    JAX finds a program by all that it was compiled from, so an old one is never taken for a new.
    """
    if cache := getattr(config, "cache", None):  # compiled for this machine's processor
        folder = cache.mkdir(f"jax-{platform.node()}")
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


@pytest.hookimpl(tryfirst=True)  # before pytest itself goes by the marks
def pytest_collection_modifyitems(items) -> None:
    """What needs a trained captioner is slow, if nothing else; and slow files come first.

    Files are shared out among the workers, and one that comes last has them wait.
    """
    for item in items:
        if "pipeline" in item.fixturenames:
            item.add_marker(pytest.mark.slow)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def make_dataset(folder: Path) -> SimpleNamespace:
    """12 pictures of a coloured square in a place, 2 captions each, 9 to train and 3 to judge."""
    images = folder / "images"
    images.mkdir(parents=True)
    lines, names = [], []
    for colour, rgb in COLOURS.items():
        for place, (left, top) in PLACES.items():
            name = f"{colour}_{place}.jpg"
            picture = np.full((224, 224, 3), 230, np.uint8)
            picture[top : top + 70, left : left + 70] = rgb
            Image.fromarray(picture).save(images / name)
            lines.append(f"{name}#0\tA {colour} square at the {place} .")
            lines.append(f"{name}#1\tThe {place} holds a square , painted {colour} !")
            names.append(name)
    captions = folder / "captions.token.txt"
    captions.write_text("\n".join(lines) + "\n")
    train, dev = folder / "train.txt", folder / "dev.txt"
    dev.write_text("\n".join(names[::4]) + "\n")
    train.write_text("\n".join(name for name in names if name not in names[::4]) + "\n")
    return SimpleNamespace(images=images, captions=captions, train=train, dev=dev, names=names)


@pytest.fixture
def dataset(tmp_path: Path) -> SimpleNamespace:
    """The made data set in a folder of its own."""
    return make_dataset(tmp_path / "data")


def run_script(script: str, *arguments, cwd: Path, **environment) -> subprocess.CompletedProcess:
    """Run a script of the project in `cwd`; keyword arguments become environment variables.

    Without such, the process is forked from one that has imported TensorFlow (`zygote.py`).
    """
    command = [str(ROOT / script), *map(str, arguments)]
    if not environment and sys.platform == "linux":
        return zygote.run(command, cwd)
    return run_afresh(*command, cwd=cwd, **environment)


def run_afresh(*arguments, cwd: Path, **environment) -> subprocess.CompletedProcess:
    """Run `python ARGUMENTS` as a process of its own from the start."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip


def assert_refused(result: subprocess.CompletedProcess, *parts: str) -> None:
    """The user's mistake: exit status 2 and one line on stderr that has all `parts`.

    Lines of progress bars do not count.
    """
    assert result.returncode == 2, result.stderr
    lines = re.split(r"[\r\n]+", result.stderr)
    messages = [line for line in lines if line and "%|" not in line and "it/s" not in line]
    assert len(messages) == 1, result.stderr
    for part in parts:
        assert part in messages[0]


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory) -> SimpleNamespace:
    """Stages 1, 2 and 4 run in order on the made data set, in a working folder of their own."""
    work = tmp_path_factory.mktemp("pipeline")
    data = make_dataset(work / "data")
    extracted = run_script(
        "1_data_preprocessor.py", "--images", data.images, "--captions", data.captions,
        "--text-rules", "ptb", "--batch-size", 6, cwd=work,
    )  # fmt: skip
    assert extracted.returncode == 0, extracted.stderr
    trained = run_script(
        "2_train_IC_model.py", "--train-split", data.train, "--dev-split", data.dev,
        "--epochs", 12, "--batch-size", 4, "--learning-rate", 0.005, cwd=work,
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    tokenized = run_script("4_tokenizer.py", "--train-split", data.train, cwd=work)
    assert tokenized.returncode == 0, tokenized.stderr
    return SimpleNamespace(
        work=work, data=data, extracted=extracted, trained=trained, tokenized=tokenized
    )
