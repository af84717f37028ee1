"""`infer.py` and `5_test.py`, one script of two names: pictures that are there or that come."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from captioning.evaluation.confidence import CONFIDENT
from tests.conftest import ROOT, run_script, succeed


def test_every_option_is_taken_and_the_model_has_its_own_words(pipeline, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    shutil.copy(pipeline.work / "checkpoints/best_model.keras", tmp_path / "checkpoints")
    (tmp_path / "tokenizer.pkl").write_bytes(b"of a run before, and of no use to this model")
    given = (pipeline.data.image, "--output", "page.html", "--embed", "copies")
    printed = succeed(run_script("infer.py", *given, cwd=tmp_path))
    assert printed.startswith("model checkpoints/best_model.keras; for another: --model FILE\n")
    assert (tmp_path / "page.html").is_file()
    assert (tmp_path / "copies" / pipeline.data.names[0]).is_file()


def test_alternatives_are_printed_and_written_and_the_unsure_get_no_copy(pipeline, tmp_path):
    images = [pipeline.data.images / name for name in pipeline.data.names[:2]]
    model = pipeline.work / "checkpoints/best_model.keras"
    options = ("--captions", "3", "--output", "a.csv", "a.json", "--only-confident", "--embed", "c")
    printed = succeed(run_script("5_test.py", *images, "--model", model, *options, cwd=tmp_path))
    entries = json.loads((tmp_path / "a.json").read_text())
    assert [len(entry["alternatives"]) for entry in entries] == [2, 2]
    assert all(f"    {entry['alternatives'][1]['caption']} (" in printed for entry in entries)
    assert (tmp_path / "a.csv").read_text().splitlines()[0].endswith(",confidence 3")
    confident = {Path(entry["file"]).name for entry in entries if entry["confidence"] >= CONFIDENT}
    assert {path.name for path in (tmp_path / "c").iterdir()} == confident


@pytest.fixture
def watching(pipeline, request):
    """infer.py as a process that stays, with these arguments; `watched` is an empty folder."""
    (pipeline.work / "watched").mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, ROOT / "infer.py", *request.param],
        cwd=pipeline.work,
        **dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE),
        text=True,
        # In the background of a shell the tests, and their children, would ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("watching", [["--stdin"]], indirect=True)
def test_answers_each_name_on_standard_input_until_it_is_stopped(watching, pipeline):
    image = str(pipeline.data.image)
    answers = []
    for name in (image, "nowhere.jpg", "captions\0", str(pipeline.data.captions), image):
        watching.stdin.write(name + "\n")
        watching.stdin.flush()
        answers.append(json.loads(watching.stdout.readline()))
    watching.send_signal(signal.SIGINT)
    assert watching.wait(timeout=60) == 0
    assert watching.stderr.read().startswith("model checkpoints/best_model.keras; for another")
    first, *wrong, last = answers
    assert first == last and set(first) == {"file", "caption", "log_probability", "confidence"}
    assert [set(answer) for answer in wrong] == [{"file", "error"}] * 3
    assert "No such file" in wrong[0]["error"] and "not a picture" in wrong[2]["error"]


@pytest.mark.parametrize("watching", [["--watch", "watched"]], indirect=True)
def test_captions_what_lies_and_appears_in_a_folder_until_that_vanishes(watching, pipeline):
    watched = pipeline.work / "watched"
    shutil.copy(pipeline.data.image, watched / "old.jpg")
    answers = [json.loads(watching.stdout.readline())]
    shutil.copy(pipeline.data.image, watched / "new.jpg")
    answers.append(json.loads(watching.stdout.readline()))
    assert [one["file"] for one in answers] == ["watched/old.jpg", "watched/new.jpg"]
    assert answers[0]["caption"]
    shutil.rmtree(watched)
    assert watching.wait(timeout=60) == 2
    errors = watching.stderr.read().splitlines()
    assert errors[1].startswith("watching watched, ")
    assert errors[2:] == ["infer.py: watched: is no folder, or not any more"]
