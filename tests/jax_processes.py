"""Processes under JAX, one alone or two that train together."""

import importlib.util
import os
import socket
import subprocess
import sys

import pytest

from tests.conftest import ROOT

# The environment of a process under JAX, in which there is no TensorFlow.
JAX = {"KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT / "tests" / "without_tensorflow")}
# Compiles a decoder in a quarter of the time: the same formulas. Not for convolutions, which then
# take longer to run than they save.
PLAIN = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="jax is not installed"
)


def start(*arguments, cwd=ROOT, **environment) -> subprocess.Popen:
    """Python with these arguments; keyword arguments become environment variables."""
    command, environment = [sys.executable, *map(str, arguments)], {**JAX, **environment}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=cwd, env={**os.environ, **environment}, **pipes)


def start_two(*arguments, cwd=ROOT, **environment) -> list[subprocess.Popen]:
    """The same twice, as two processes of one job."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    environment |= {"KERAS_DISTRIBUTION_JOB_ADDRESSES": address}
    environment |= {"KERAS_DISTRIBUTION_NUM_PROCESSES": "2"}
    return [
        start(*arguments, cwd=cwd, KERAS_DISTRIBUTION_PROCESS_ID=str(number), **environment)
        for number in (0, 1)
    ]


def finish(*processes: subprocess.Popen) -> None:
    """Wait for them; each must end well."""
    try:
        for process in processes:
            output, _ = process.communicate(timeout=300)
            assert process.returncode == 0, output
    finally:
        for process in processes:
            process.kill()  # one that waits for another that has failed
