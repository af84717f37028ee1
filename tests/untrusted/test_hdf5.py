"""What is said where the system keeps a file from HDF5: the file and the reason."""

import pytest

from tests.conftest import ROOT, assert_refused, run_afresh

SCRIPT = """
import resource, sys
import h5py
sys.path.insert(0, {root!r})
from captioning.cli import run

def use_up_files():
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    while True:
        try:
            opened.append(open("/dev/null"))
        except OSError:
            return

def main():
    {what}

opened = []
h5py.File("a.h5", "w").close()
run(main)
"""


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("use_up_files(); h5py.is_hdf5('a.h5')", "a.h5: Too many open files"),
        ("h5py.File('nowhere/b.h5', 'w')", "nowhere/b.h5: No such file or directory"),
        ("h5py.File('.', 'r')", ": Is a directory"),
    ],
)
def test_what_the_system_says_of_a_file_is_told_in_one_line(what, message, tmp_path):
    code = SCRIPT.format(root=str(ROOT), what=what)
    result = run_afresh("-c", code, cwd=tmp_path)
    assert_refused(result, message)
    assert "errno" not in result.stderr
