"""A disk that is full: one line, and nothing half-written."""

import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT, assert_refused

# A file system in memory, mounted where only the script and its shell see it. They can list it,
# nobody else can: so the shell says what is left there.
ON_SMALL_DISK = """
mount -t tmpfs -o "size=$1" small-disk disk || exit 77
shift
"$@"
status=$?
find disk -type f > left.txt
exit $status
"""


def run_on_disk(room: str, script: str, *arguments, cwd) -> subprocess.CompletedProcess:
    """Run a script of the project in `cwd`, where the folder `disk` has no more room than that."""
    if not shutil.which("unshare"):
        pytest.skip("needs unshare, of util-linux")
    (cwd / "disk").mkdir()
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", ON_SMALL_DISK, "sh", room]
    command += [sys.executable, str(ROOT / script), *map(str, arguments)]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    if not (cwd / "left.txt").exists():
        pytest.skip(f"this system does not let its users mount a disk: {result.stderr.strip()}")
    return result


@pytest.mark.slow
@pytest.mark.parametrize(
    "job, room, result",
    [
        ("extraction", "50k", "features.pkl"),
        ("training", "2m", "checkpoints/best_model.keras"),
        ("HDF5", "1m", "pictures.hdf5"),
    ],
)
def test_a_full_disk_is_named_and_leaves_no_result(pipeline, job, room, result, tmp_path):
    data, work = pipeline.data, pipeline.work
    here = ("--features", "disk/features.pkl", "--descriptions", "disk/descriptions.txt")
    made = ("--features", work / "features.pkl", "--descriptions", work / "descriptions.txt")
    jobs = {
        "extraction": ["1_data_preprocessor.py", *data.files, *here],
        "training": ["2_train_IC_model.py", *made, *data.splits, "--output-dir", "disk"],
        "HDF5": ["jigsaw/to_hdf5.py", "--images", data.images, "--output", "disk/pictures.hdf5"],
    }

    ended = run_on_disk(room, *jobs[job], cwd=tmp_path)

    assert_refused(ended, "disk", "No space left on device")
    assert f"disk/{result}" not in (tmp_path / "left.txt").read_text().split()
