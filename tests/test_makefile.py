"""The first commands of a new user."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT


def make(*arguments) -> subprocess.CompletedProcess:
    command = ["make", "--silent", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_demo_is_of_the_shipped_captioners_also_after_a_training_of_ones_own():
    words = make("--dry-run", "demo").stdout.split()
    for option in ("--model", "--beside"):
        assert (ROOT / words[words.index(option) + 1]).is_file()


@pytest.mark.parametrize("version", [(3, 9), (3, 14)])
def test_a_python_that_the_requirements_do_not_know_is_told(version, tmp_path):
    python = tmp_path / "python"
    python.write_text(f"""#!/bin/sh
exec {sys.executable} -c "import sys; sys.version_info = {(*version, 0)}; $2"
""")
    python.chmod(0o755)

    result = make(f"VENV={tmp_path}/venv", f"PYTHON={python}", f"{tmp_path}/venv/bin/python")

    assert result.returncode == 2
    assert f"Python 3.10 to 3.13 is needed, and this is 3.{version[1]}" in result.stderr
    assert not (tmp_path / "venv").exists()


def test_an_environment_that_could_not_be_made_is_made_again(tmp_path):
    """As on a Debian without python3-venv, which leaves a Python that has no pip."""
    python = tmp_path / "python"
    python.write_text("""#!/bin/sh
if [ "$2" = venv ]; then mkdir -p "$3/bin"; touch "$3/bin/python"; exit 1; fi
""")
    python.chmod(0o755)

    result = make(f"VENV={tmp_path}/venv", f"PYTHON={python}", f"{tmp_path}/venv/bin/python")

    assert result.returncode == 2
    assert not (tmp_path / "venv" / "bin" / "python").exists()
