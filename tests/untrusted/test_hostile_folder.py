"""The whole corpus in one folder, through stages 1 and 5 as a user runs them."""

import csv
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from captioning.images.names import image_id
from tests import corpus
from tests.conftest import ROOT, run_afresh

GOOD, BAD = corpus.good_images(), corpus.bad_files()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="bytes in names, and /proc, are Linux'"),
]

# The system's own count of a child's peak (`ru_maxrss`) begins with what its parent had.
MEASURED = """
import atexit, re, runpy, sys
from pathlib import Path

def note():
    status = Path("/proc/self/status").read_text()
    Path("peak").write_text(re.search(r"VmHWM:\\s*(\\d+)", status)[1])

atexit.register(note)
sys.argv = sys.argv[1:]
sys.path.insert(0, str(Path(sys.argv[0]).parent))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_measured(script: str, *arguments, cwd: Path) -> subprocess.CompletedProcess:
    """A script with its outputs and its peak memory in GB."""
    result = run_afresh("-c", MEASURED, ROOT / script, *arguments, cwd=cwd)
    result.memory = int((cwd / "peak").read_text()) / 1e6
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hostile") / "pictures"
    folder.mkdir()
    for name, image in GOOD.items():
        (folder / name).write_bytes(image.content)
    for name, (make, _) in BAD.items():
        make(folder / name)
    with open(os.fsencode(folder) + b"/\xff.jpg", "wb") as file:
        file.write(GOOD["baseline.jpg"].content)
    with open(folder.parent / "captions.csv", "w", newline="", encoding="utf-8") as file:
        rows = [[name, f"a picture called {n}"] for n, name in enumerate([*GOOD, *BAD])]
        csv.writer(file).writerows([["image", "caption"], *rows])
    return folder


def test_features_of_the_corpus(folder, tmp_path):
    given = ("--images", folder, "--captions", folder.parent / "captions.csv", "--batch-size", 4)
    result = run_measured("1_data_preprocessor.py", *given, "--encoder", "resnet18", cwd=tmp_path)

    assert result.returncode == 0, result.stderr
    assert f"{len(GOOD) + len(BAD)} images" in result.stdout
    unopened = {"folder.jpg"}  # no file at all, so it counts as missing
    assert "1 captioned images without a file: folder" in result.stdout
    assert f"skipped {len(BAD) - len(unopened)} unreadable images" in result.stdout
    assert "skipped 1 images without a caption: \\udcff" in result.stdout
    features = pickle.loads((tmp_path / "features.pkl").read_bytes())
    assert set(features) == {image_id(name) for name in GOOD}
    lines = (tmp_path / "descriptions.txt").read_text(encoding="utf-8").splitlines()
    assert {line.split(" ")[0] for line in lines} == set(features)
    assert result.memory < 0.9  # 0.74 on as many clean pictures: TensorFlow and the encoder


def test_captions_of_the_corpus(folder, tmp_path):
    outputs = ["captions.json", "captions.csv", "captions.html", "captions.png"]
    given = (folder, "--beam-width", 1, "--output", *outputs)
    result = run_measured("5_test.py", *given, cwd=tmp_path)

    assert result.returncode == 2
    bad = set(BAD) - {"folder.jpg"}  # which is looked into, and holds no picture
    assert f"{len(bad)} of " in result.stderr.splitlines()[-1]
    captions = json.loads((tmp_path / "captions.json").read_text())
    assert {Path(one["file"]).name for one in captions} == {*GOOD, "\udcff.jpg"}
    skipped = [line for line in result.stderr.splitlines() if "skipped: " in line]
    assert len(skipped) == len(bad)
    assert all(any(f"/{name}: " in line for line in skipped) for name in bad)
    assert "\\x1b[31mescape.png: " in result.stdout
    assert "line\\nbreak.png: " in result.stdout
    assert (tmp_path / "captions.html").read_text().count("<article") == len(captions)
    assert result.memory < 1.2  # 1.01 on as many clean pictures: TensorFlow and the encoder
