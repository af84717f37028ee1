"""`infer.py` as a user runs it: pictures that are there, and those that come."""

import json
import select
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT, run_script


def test_captions_a_folder_and_names_what_is_no_picture(pipeline):
    (pipeline.data.images / "broken.png").write_bytes(b"text")
    result = run_script(
        "infer.py", "--image-path", pipeline.data.images,
        "--model-path", "checkpoints/best_model.keras", "--min-length", 7, "--no-repeat-ngram", 1,
        cwd=pipeline.work,
    )  # fmt: skip
    (pipeline.data.images / "broken.png").unlink()
    assert result.returncode == 2
    captions = dict(line.rsplit(" (", 1)[0].split(": ") for line in result.stdout.splitlines())
    assert len(captions) == 12
    words = set((pipeline.work / "descriptions.txt").read_text().split())
    assert all(set(caption.split()) <= words for caption in captions.values())
    assert {len(set(caption.split())) for caption in captions.values()} == {7}
    assert "1 of 13 pictures failed" in result.stderr and "broken.png" in result.stderr


@pytest.fixture
def staying(pipeline, request):
    """infer.py as a process that stays, with these arguments; `watched` is an empty folder."""
    (pipeline.work / "watched").mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, ROOT / "infer.py", *request.param], cwd=pipeline.work,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # In the background of a shell the tests, and their children, would ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("staying", [["--stdin"]], indirect=True)
def test_answers_each_name_on_standard_input_until_it_is_stopped(staying, pipeline):
    picture = str(pipeline.data.images / pipeline.data.names[0])
    answers = []
    for name in (picture, "nowhere.jpg", "captions\0", str(pipeline.data.captions), picture):
        staying.stdin.write(name + "\n")
        staying.stdin.flush()
        answers.append(json.loads(staying.stdout.readline()))
    staying.send_signal(signal.SIGINT)
    assert staying.wait(timeout=60) == 0
    assert staying.stderr.read() == ""
    first, *wrong, last = answers
    assert first == last and set(first) == {"file", "caption", "log_probability", "confidence"}
    assert [set(answer) for answer in wrong] == [{"file", "error"}] * 3
    assert "No such file" in wrong[0]["error"] and "not a picture" in wrong[2]["error"]


@pytest.mark.parametrize("staying", [["--watch", "watched"]], indirect=True)
def test_captions_what_appears_in_a_folder_until_that_vanishes(staying, pipeline):
    watched = pipeline.work / "watched"
    picture = (pipeline.data.images / pipeline.data.names[0]).read_bytes()
    deadline = time.monotonic() + 120
    while not select.select([staying.stdout], [], [], 3)[0]:  # before the first look it is not new
        assert time.monotonic() < deadline
        (watched / "new.jpg").write_bytes(picture)
    answer = json.loads(staying.stdout.readline())
    assert answer["file"] == "watched/new.jpg" and answer["caption"]
    shutil.rmtree(watched)
    assert staying.wait(timeout=60) == 2
    assert staying.stderr.read() == "infer.py: watched: is no folder, or not any more\n"
