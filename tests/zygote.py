"""A process that has imported what most scripts import, and forks to run one.

Importing TensorFlow takes seconds, and the tests run scripts by the hundred. What is forked is a
process of its own all the same: its arguments, folder, exit status and what it prints are those of
a user's run. What an environment does, and kills, are tested with processes from the start.

The module is both ends: `run` for the tests, and as a program the process that forks.
"""

import atexit
import contextlib
import gc
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TIMEOUT = 300.0  # seconds of a script
# What scripts import besides TensorFlow.
IMPORTED = "PIL.Image h5py html matplotlib.pyplot multiprocessing.pool tqdm"
IMPORTED += " nltk.translate.bleu_score"


def run(arguments: Sequence[str], cwd: str | Path) -> subprocess.CompletedProcess:
    """Run `python ARGUMENTS`, of which the first is a script's path, in a folder.

    Raises:
        RuntimeError: the process that forks has ended, or hangs.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        streams = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (out, err)]
        task = {"arguments": [*arguments], "cwd": str(cwd), "streams": streams}
        status = _answer(task, TIMEOUT + 120)  # which begins with the import of TensorFlow
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read())
    return subprocess.CompletedProcess([sys.executable, *arguments], status, *texts)


def _answer(task: dict, timeout: float) -> int:
    """The exit status of a task."""
    zygote = _zygote()
    with contextlib.suppress(BrokenPipeError):  # it has ended, and says so below
        zygote.stdin.write(json.dumps(task) + "\n")
        zygote.stdin.flush()
    answer = ""
    if select.select([zygote.stdout], [], [], timeout)[0]:
        answer = zygote.stdout.readline()
    if not answer:
        zygote.kill()
        _zygote.cache_clear()
        raise RuntimeError(f"{__file__} hung, or ended with status {zygote.wait()}: see stderr")
    return json.loads(answer)


@cache
def _zygote() -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    zygote = subprocess.Popen([sys.executable, __file__], cwd=ROOT, env=environment, **pipes)
    atexit.register(zygote.kill)
    return zygote


# ---- the process that forks ------------------------------------------------------------------


def serve() -> None:
    """Fork for every task on standard input; answer with its exit status."""
    from captioning.cli import import_keras

    import_keras()
    for module in IMPORTED.split():
        import_module(module)
    gc.freeze()  # the collector of a process that is forked need not walk over all that

    for line in sys.stdin:
        task = json.loads(line)
        child = os.fork()
        if child == 0:
            become(task)
        print(json.dumps(wait(child)), flush=True)


def wait(child: int) -> int:
    """The exit status of a process, which is killed when time is up."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.005)


def become(task: dict) -> None:
    """Run a script as `python` would, and end."""
    for stream, path in enumerate(task["streams"], start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    os.chdir(task["cwd"])
    script, status = task["arguments"][0], 0
    try:
        # Without the root, which a script has to find itself.
        sys.path[:] = [position for position in sys.path if position != str(ROOT)]
        sys.path[0], sys.argv = str(Path(script).parent), task["arguments"]
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        status = 1
    with contextlib.suppress(Exception):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    serve()
