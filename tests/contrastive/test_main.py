"""`contrastive/main.py` as a user runs it, with the mistakes that users make."""

import os
import pickle
import signal
import subprocess
import sys
import time
import zipfile

import h5py
import numpy as np
import pytest

from captioning.encoders.weights import read_recipe
from tests.conftest import ROOT, assert_refused, run_script
from tests.pretext_tools import encoded, patterns, write_pictures

pytestmark = pytest.mark.slow

SCRIPT = "contrastive/main.py"
SMALL = ("--image-size", 32, "--batch-size", 8, "--epochs", 2)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"), 20)


def test_what_is_excluded_is_not_among_the_pictures(pictures, tmp_path):
    names = [f"{number:03d}.png" for number in range(19)]
    (tmp_path / "dev.txt").write_text("\n".join(names))

    result = run_script(
        SCRIPT, "--images", pictures, "--exclude", "dev.txt", "--batch-size", 2, "--output", "run",
        cwd=tmp_path,
    )  # fmt: skip

    assert "1 pictures, 0 unreadable ones skipped" in result.stdout
    assert_refused(result, "--batch-size 2 is larger than the 1 pictures")


def test_encoder_from_pictures_to_features(pictures, dataset, tmp_path):
    """Trained, killed, resumed; its weights then make features of the recipe's size."""
    run = tmp_path / "run"
    command = [sys.executable, str(ROOT / SCRIPT), "--images", str(pictures), "--output", str(run),
               "--save-minutes", "0.0001", *map(str, SMALL)]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (run / "state.npz").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    resumed = run_script(
        SCRIPT, "--images", pictures, "--output", run, *SMALL, "--resume", cwd=tmp_path
    )
    assert resumed.returncode == 0, resumed.stderr
    assert "goes on after step" in resumed.stdout
    weights = run / "resnet18-simclr.weights.h5"
    recipe = read_recipe(weights)
    assert (recipe["preprocessing"], recipe["pictures_seen"], recipe["method"]) == (
        "squash(64)|imagenet",
        32,
        "simclr",
    )
    result = run_script(
        "1_data_preprocessor.py", "--images", dataset.images, "--captions", dataset.captions,
        "--encoder", "resnet18", "--weights", weights, "--batch-size", 6, cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "vectors of 512 numbers" in result.stdout

    # Another run may begin from these weights: at next to no learning rate they stay.
    result = run_script(
        SCRIPT, "--images", pictures, "--output", "on", *SMALL, "--weights", weights,
        "--learning-rate", 1e-12, "--weight-decay", 0, cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    kernels = []
    for path in (weights, tmp_path / "on" / weights.name):
        with h5py.File(path) as file:
            found: list[np.ndarray] = []
            file.visititems(
                lambda _, item, found=found: (
                    found.append(item[()]) if getattr(item, "ndim", 0) == 4 else None
                )
            )
            kernels.append(found)
    assert len(kernels[0]) == 20
    for one, other in zip(*kernels, strict=True):
        np.testing.assert_array_equal(one, other)
    assert read_recipe(tmp_path / "on" / weights.name)["pictures_seen"] == 2 * 32

    # Another method does not go on with this run, and leaves it as it is.
    state = (run / "state.npz").read_bytes()
    result = run_script(
        SCRIPT, "--images", pictures, "--output", run, *SMALL, "--method", "byol", "--resume",
        cwd=tmp_path,
    )  # fmt: skip
    assert_refused(result, "method was simclr, not byol")
    assert (run / "state.npz").read_bytes() == state
    # Nor do other pictures, as many as before.
    others = write_pictures(tmp_path / "others", 20, seed=1)
    result = run_script(
        SCRIPT, "--images", others, "--output", run, *SMALL, "--resume", cwd=tmp_path
    )
    assert_refused(result, "it had other pictures")
    assert (run / "state.npz").read_bytes() == state


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--temperature", "0"), ("--temperature", "'0' is not a number above 0")),
        (("--batch-size", "64"), ("--batch-size 64 is larger than the 20 pictures",)),
        (("--batch-size", "1"), ("--batch-size 1", "give more")),
        (("--method", "byol", "--small-crops", "2"), ("--small-crops", "byol")),
        (("--method", "moco", "--decoupled"), ("--decoupled", "moco")),
        (
            ("--source-weights", "more.zip=2"),
            ("--source-weights more.zip=2", "none of --images: pictures0"),
        ),
        (("--source-weights", "pictures0=x"), ("'x' is not a number",)),
        (("--source-weights", "pictures0=0"), ("--source-weights", "none of --images")),
        (("--images", "nowhere"), ("nowhere", "no such file or folder")),
        (("--images", "empty"), ("empty", "holds no picture")),
        (("--images", "broken.zip"), ("broken.zip: one.png", "not a picture")),
        (("--images", "text.txt"), ("text.txt", "neither a folder")),
        (("--method", "moco", "--queue-size", "9"), ("--queue-size 9", "multiple")),
        (("--probe-images", "empty"), ("--probe-captions",)),
    ],
)
def test_mistakes_end_in_one_line(arguments, parts, pictures, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("no pictures")
    with zipfile.ZipFile(tmp_path / "broken.zip", "w") as archive:
        archive.writestr("one.png", b"broken")
    result = run_script(SCRIPT, "--images", pictures, *SMALL, *arguments, cwd=tmp_path)
    assert_refused(result, *parts)


def test_a_wrong_process_number_is_found_before_any_picture_is_read(tmp_path):
    job = {"NUM_PROCESSES": "2", "PROCESS_ID": "2", "JOB_ADDRESSES": "127.0.0.1:1"}
    environment = {f"KERAS_DISTRIBUTION_{name}": value for name, value in job.items()}
    result = run_script(SCRIPT, "--images", "nowhere", cwd=tmp_path, **environment)
    assert_refused(result, "PROCESS_ID=2: processes count from 0 to 1")


def test_pictures_beyond_memory_stay_until_the_run_has_ended(pictures, tmp_path):
    command = (SCRIPT, "--images", pictures, "--memory-limit", 1e-6, "--output", "run", *SMALL)

    stopped = run_script(*command, "--stop-minutes", 1e-9, cwd=tmp_path)
    assert stopped.returncode == 0, stopped.stderr
    kept = (tmp_path / "run" / "pictures.npy").stat()
    resumed = run_script(*command, "--resume", cwd=tmp_path)

    assert kept.st_size > 20 * 48 * 48 * 3
    assert resumed.returncode == 0, resumed.stderr
    assert "pictures:" not in resumed.stderr  # no bar: nothing was decoded
    assert not list((tmp_path / "run").glob("pictures*"))


def test_one_broken_picture_in_a_zip_is_skipped(tmp_path):
    path = tmp_path / "some.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("broken.png", b"broken")
        for number, pixels in enumerate(patterns(8)):
            archive.writestr(f"{number}.png", encoded(pixels))
    result = run_script(SCRIPT, "--images", path, "--batch-size", 9, cwd=tmp_path)
    assert "8 pictures, 1 unreadable" in result.stdout
    skipped, refused = result.stderr.splitlines()[-2:]
    assert "broken.png" in skipped
    assert "--batch-size 9 is larger than the 8 pictures" in refused  # not 9: one was skipped


class Hostile:
    """Runs a command when `pickle.load` reads it."""

    def __reduce__(self):
        return os.system, ("touch touched",)


@pytest.mark.parametrize("hostile", [True, False])
def test_hostile_or_foreign_checkpoint(hostile, dataset, tmp_path):
    with zipfile.ZipFile(tmp_path / "weights.pth", "w") as archive:
        content = {"state_dict": {}, "args": Hostile()} if hostile else {"state_dict": {}}
        archive.writestr("archive/data.pkl", pickle.dumps(content, protocol=2))
    result = run_script(
        "1_data_preprocessor.py", "--images", dataset.images, "--captions", dataset.captions,
        "--encoder", "resnet18", "--weights", "weights.pth", cwd=tmp_path,
    )  # fmt: skip
    assert_refused(result, "weights.pth", "refused" if hostile else "no weights of a resnet")
    assert not (tmp_path / "touched").exists()
