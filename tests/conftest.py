"""A small data set of coloured squares, and how to run a script as a user would."""

import csv
import hashlib
import os
import platform
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
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


# What no `pip install` brings. In CI every other skip is a failure.
MAY_BE_MISSING = re.compile("java|unshare|mount a disk|Flickr8k|Linux", re.IGNORECASE)


def pytest_configure() -> None:
    """Have JAX keep what it compiles in the user's cache, for later processes, runs and clones.

    JAX finds a program by all that it was compiled from, so an old one is never taken for a new.
    Code that was compiled for another processor may crash, so each kind has a folder.
    """
    cpu = Path("/proc/cpuinfo")
    kind = cpu.read_text().partition("\n\n")[0] if cpu.exists() else platform.processor()
    kind = re.sub(r"(cpu MHz|bogomips)\s*:.*", "", kind)  # which differ from boot to boot
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "image-captioning-tests" / f"jax-{hashlib.md5(kind.encode()).hexdigest()[:8]}"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder))
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """In CI, where all requirements are installed, a test that skips is one that is lost."""
    report = yield
    skipped = report.skipped and not hasattr(report, "wasxfail")
    if skipped and os.environ.get("CI") and not MAY_BE_MISSING.search(str(report.longrepr)):
        report.outcome, report.longrepr = "failed", f"skipped in CI: {report.longrepr[-1]}"
    return report


pytest_make_collect_report = pytest_runtest_makereport  # so is a file that skips


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
    """12 pictures of a coloured square in a place, 2 captions each, 9 to train and 3 to judge.

    `image` is one of the pictures; `files` and `splits` are these files as a script's arguments.
    """
    images = folder / "images"
    images.mkdir(parents=True)
    lines, names = [], []
    for colour, rgb in COLOURS.items():
        for position, (left, top) in PLACES.items():
            name = f"{colour}_{position}.jpg"
            image = np.full((224, 224, 3), 230, np.uint8)
            image[top : top + 70, left : left + 70] = rgb
            Image.fromarray(image).save(images / name)
            lines.append(f"{name}#0\tA {colour} square at the {position} .")
            lines.append(f"{name}#1\tThe {position} holds a square , painted {colour} !")
            names.append(name)
    captions = folder / "captions.token.txt"
    captions.write_text("\n".join(lines) + "\n")
    train, dev = folder / "train.txt", folder / "dev.txt"
    dev.write_text("\n".join(names[::4]) + "\n")
    train.write_text("\n".join(name for name in names if name not in names[::4]) + "\n")
    paths = {"images": images, "captions": captions, "train": train, "dev": dev}
    files = ("--images", images, "--captions", captions)
    splits = ("--train-split", train, "--dev-split", dev)
    more = {"names": names, "image": images / names[0]}
    return SimpleNamespace(**paths, **more, files=files, splits=splits)


@pytest.fixture
def dataset(tmp_path: Path) -> SimpleNamespace:
    """The made data set in a folder of its own."""
    return make_dataset(tmp_path / "data")


@pytest.fixture
def call_main(monkeypatch) -> Callable[..., None]:
    """Runs a script's `main` in this process, which lets go of its locks as at a process's end."""
    monkeypatch.setattr("captioning.files._held", locks := [])

    def call(main: Callable[[], None], *arguments) -> None:
        monkeypatch.setattr(sys, "argv", ["script", *map(str, arguments)])
        try:
            main()
        finally:
            while locks:
                locks.pop().close()

    return call


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
    command, environment = [sys.executable, *map(str, arguments)], {**os.environ, **environment}
    how = {"capture_output": True, "text": True, "timeout": 300}
    return subprocess.run(command, cwd=cwd, env=environment, **how)


def options(**values) -> list:
    """`--name value` of each keyword argument, with hyphens."""
    return [part for k, value in values.items() for part in (f"--{k.replace('_', '-')}", value)]


def succeed(result: subprocess.CompletedProcess) -> str:
    """What a run printed, which must have ended well."""
    assert result.returncode == 0, result.stderr
    return result.stdout


def history_of(folder: Path) -> list[dict[str, str]]:
    """The rows of a run's history."""
    with open(folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def assert_refused(result: subprocess.CompletedProcess, *parts: str) -> None:
    """The user's mistake: exit status 2 and one line on stderr that has all `parts`.

    Lines of progress bars do not count.
    """
    assert result.returncode == 2, result.stderr
    lines = re.split(r"[\r\n]+", result.stderr)
    messages = [one for one in lines if one.strip() and "%|" not in one and "it/s" not in one]
    assert len(messages) == 1, result.stderr
    for part in parts:
        assert part in messages[0]


def start(script: str, *arguments, cwd: Path) -> subprocess.Popen:
    """Start a script of the project as a process of its own, to be killed."""
    command = [sys.executable, str(ROOT / script), *map(str, arguments)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=cwd, **quiet)


def kill_when(process: subprocess.Popen, happened: Callable[[], object]) -> None:
    """Kill -9 as soon as `happened()`; fail if the process ends before, or time is up."""
    deadline = time.monotonic() + 300
    try:
        while not happened():
            assert process.poll() is None, "ended before it could be killed"
            assert time.monotonic() < deadline, "what it is to be killed at does not happen"
            time.sleep(0.01)
        assert process.poll() is None, "ended before it could be killed"
    finally:
        process.kill()
        process.communicate()


class Hostile:
    """Runs a command when `pickle.load` meets it."""

    def __init__(self, command: str = "touch hostile-was-run") -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def make_zip(path: Path, members: Mapping[str, bytes]) -> Path:
    """Write an archive of these members."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory) -> SimpleNamespace:
    """Stages 1, 2 and 4 run in order on the made data set, in a working folder of their own."""
    work = tmp_path_factory.mktemp("pipeline")
    data = make_dataset(work / "data")
    given = (*data.files, "--text-rules", "ptb")
    succeed(run_script("1_data_preprocessor.py", *given, "--batch-size", 6, cwd=work))
    settings = ("--epochs", 12, "--batch-size", 4, "--learning-rate", 0.005)
    succeed(run_script("2_train_IC_model.py", *data.splits, *settings, cwd=work))
    succeed(run_script("4_tokenizer.py", "--train-split", data.train, cwd=work))
    return SimpleNamespace(work=work, data=data)
