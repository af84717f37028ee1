"""What `--help` prints comes at once: nothing heavy is imported for it."""

import pytest

from tests.conftest import ROOT, run_afresh

SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for pattern in (
        "*.py",
        "jigsaw/[Jj]igsaw_*.py",
        "*/main.py",
        "jigsaw/to_hdf5.py",
        "jigsaw/maximal_hamming.py",
    )
    for path in ROOT.glob(pattern)
)
HELP = """
import os, runpy, sys
sys.argv = [sys.argv[1], "--help"]
sys.path[0] = os.path.dirname(sys.argv[0])  # as `python SCRIPT` has it
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    assert end.code in (0, None)
print("imported:", {"tensorflow", "keras", "jax", "matplotlib"} & set(sys.modules))
"""


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_imports_nothing_heavy(script):
    result = run_afresh("-c", HELP, script, cwd=ROOT)

    assert "usage:" in result.stdout, result.stderr
    assert result.stdout.endswith("imported: set()\n")
