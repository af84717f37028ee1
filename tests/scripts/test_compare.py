"""`benchmarks/compare.py`: its steps, with stubs in the place of the scripts that it calls.

A stub leaves the files that its script would leave, and writes down how it was called.
"""

import json
import re
import runpy
import shlex
import shutil
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT, assert_refused, run_script, succeed
from tests.pretext_tools import write_images

pytest.importorskip("pycocoevalcap", reason="the COCO toolkit is not installed")

STUB = """
import json, os, signal, sys
from pathlib import Path

with open("calls.jsonl", "a") as log:
    log.write(json.dumps(sys.argv) + "\\n")
if os.path.exists("kill") and open("kill").read() in " ".join(sys.argv):
    os.kill(os.getpid(), signal.SIGKILL)
given = dict(zip(sys.argv, sys.argv[1:]))
evaluated = "evaluate" in sys.argv[0]
if "--output-dir" in given:
    left = [given["--output-dir"] + "/checkpoints/best_model.keras"]
elif "--method" in given:
    left = [given["--output"] + "/resnet18-" + given["--method"] + ".weights.h5"]
else:
    kind = {"captions": "--descriptions", "features": "--features"}
    left = [given[kind.get(given.get("--only"), "--output")]]
for file in map(Path, left):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("made")
    if evaluated:
        def row(name, cider):
            figures = {"BLEU-1": 0.5, "BLEU-4": 0.1, "CIDEr-D": cider, "distinct": 7}
            return {"name": name, **figures, "cider_by_image": {"a": cider + 0.1, "b": cider}}
        cider = 0.2 + 0.1 * ("-1/" in given["--output"] or "-1/" in given["--model-path"])
        rows = [row("x", cider), row("constant caption", 0.1), row("human caption", 0.8)]
        about = {"protocol": "coco", "split": "dev.txt", "images": 5}
        file.write_text(json.dumps({**about, "rows": rows}))
"""
STUBS = "1_data_preprocessor 2_train_IC_model evaluate contrastive/main tools/fine_tuning"
STUBS += " tools/random_encoder"


def with_stubs(folder: Path) -> Path:
    """The folder, with the stubs and a development split in it."""
    splits = folder / "data" / "flickr8k" / "Flickr8k_text"
    splits.mkdir(parents=True)
    (splits / "Flickr_8k.devImages.txt").write_text("a.jpg\nb.jpg\n")
    for name in (folder / f"{stub}.py" for stub in STUBS.split()):
        name.parent.mkdir(exist_ok=True)
        (name.parent / "__init__.py").touch()
        name.write_text(STUB)
    return folder


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder with the stubs, and with pictures of which one is to be left out."""
    write_images(tmp_path / "pictures", 20)
    (tmp_path / "dev.txt").write_text("003.png\n")
    return with_stubs(tmp_path)


@pytest.fixture(scope="module")
def once(tmp_path_factory) -> Path:
    """A folder with the stubs and a comparison of two seeds that they have made."""
    folder = with_stubs(tmp_path_factory.mktemp("compared"))
    succeed(compare(folder, "--seeds", 0, 1, "--pictures-seen", 1000))
    return folder


@pytest.fixture
def finished(once: Path, tmp_path: Path) -> Path:
    """The same for one test alone."""
    return shutil.copytree(once, tmp_path / "work")


def compare(work: Path, *arguments):
    """Run the comparison of random weights, SimCLR and labels, if not of others."""
    settings = ["--pretext", "random", "simclr", "supervised", "--seeds", 0, "--output", "out"]
    return run_script("benchmarks/compare.py", *settings, *arguments, cwd=work)


def calls(work: Path) -> list[list[str]]:
    """How the stubs were called since the last time, in order."""
    log = work / "calls.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return [json.loads(line) for line in lines]


def test_a_row_is_made_in_order(finished):
    made = [call for call in map(" ".join, calls(finished)) if "out/simclr-0" in call]

    features = ("whole.h5", "view1.h5", "view2.h5")
    frozen = ("contrastive/main.py", *features, "-dir out/simclr-0/first", "2_train", "frozen.json")
    whole = (*frozen, "fine_tuning.py", "fine-tuned.h5", "fine-tuned.json")
    assert all(part in call for part, call in zip(whole, made, strict=True))
    assert "--pictures-seen 1000" in made[0]
    assert all("--dev-split out/odd.txt" in made[number] for number in (4, 5, 7))
    assert ("--epochs 5" in made[4], "--epochs 10" in made[5], "first" in made[7]) == (True,) * 3


def test_the_table_has_means_deviations_and_what_they_are_read_by(finished):
    lines = (finished / "out" / "comparison.md").read_text().splitlines()
    rows = json.loads((finished / "out" / "comparison.json").read_text())["rows"]

    mean = "0.500 ± 0.000 | 0.100 ± 0.000 | 0.250 ± 0.071 | 0.250 ± 0.071 | 7 ± 0"
    same = "+0.000 to +0.000"
    assert f"| random | resnet18 | 0 | 0.00 | frozen | 2 | {mean} |  |" in lines
    assert f"| simclr | resnet18 | 1000 | 0.00 | fine-tuned | 2 | {mean} | {same} |" in lines
    assert f"| supervised | efficientnet_lite0 |  |  | frozen | 2 | {mean} | {same} |" in lines
    assert f"| random | resnet18 | 0 | 0.00 | fine-tuned | 2 | {mean} |  |" in lines
    assert "| constant caption |  |  |  |  | 1 | 0.500 | 0.100 | 0.100 | 0.100 | 7 |  |" in lines
    assert (finished / "out" / "odd.txt").read_text() == "a\n"
    assert rows[-1]["pretext"] == "human caption"
    assert rows[0]["seeds"]["1"]["CIDEr-D"] == pytest.approx(0.3)
    assert (finished / "out" / "comparison.png").stat().st_size > 0


def test_what_is_done_is_not_done_again_even_without_its_features(finished):
    calls(finished)
    shutil.rmtree(finished / "out" / "supervised")

    succeed(compare(finished, "--seeds", 0, 1, "--pictures-seen", 1000))

    assert calls(finished) == []


def test_a_killed_comparison_has_the_rows_before_and_goes_on_where_it_was(work):
    steps = len(compare(work, "--dry-run").stdout.splitlines())
    (work / "kill").write_text("contrastive/main.py")
    killed = compare(work)
    *before, begun = calls(work)
    (work / "kill").unlink()
    table = (work / "out" / "comparison.md").read_text()

    succeed(compare(work))

    assert_refused(killed, "ended with status -9", "goes on from there")
    assert "| random |" in table and "simclr" not in table
    first, *others = calls(work)
    assert first == [*begun, "--resume"]
    assert len(before) + 1 + len(others) == steps
    assert not any("--resume" in call for call in others)


def test_a_folder_of_other_settings_is_refused(finished):
    calls(finished)
    before = (finished / "out" / "steps.json").read_bytes()

    result = compare(finished, "--pictures-seen", 1000, "--fine-tuning-epochs", 3)

    assert_refused(result, "was made with", "not 8", "--output")
    assert (finished / "out" / "steps.json").read_bytes() == before
    assert calls(finished) == []


def parse(program: str, *words: str, monkeypatch) -> None:
    """Take the arguments as the script or module would."""
    if program == "-m":
        name, *words = words
        functions = vars(import_module(name))
    else:
        name, functions = program, runpy.run_path(str(ROOT / program))
    monkeypatch.setattr(sys, "argv", [name, *words])
    functions["parse_arguments"]()


def test_every_command_has_arguments_that_its_script_takes(work, monkeypatch):
    every = ("random", "simclr", "simclr-small-crops", "moco", "byol", "jigsaw", "supervised")
    data = ("--images", work / "pictures", "--exclude", work / "dev.txt", "--limit", 16)

    printed = succeed(compare(work, "--pretext", *every, *data, "--dry-run"))

    for line in printed.splitlines():
        _, program, *words = shlex.split(line)
        parse(program, *words, monkeypatch=monkeypatch)


def test_each_seed_has_its_own_and_what_judges_is_never_learned_from(work):
    """As many puzzles are seen as views, by an encoder that can solve them."""
    given = ("--seeds", 0, 1, "--images", "pictures", "--exclude", "dev.txt", "--dry-run")
    given += ("--pretext", "simclr", "jigsaw", "--encoder", "vit_small", "--pictures-seen", 160)
    lines = compare(work, *given).stdout.splitlines()

    shown = [line for line in lines if "--images pictures" in line]
    assert len(shown) == 3  # SimCLR twice, and once the file of puzzles
    assert all("--exclude dev.txt" in line for line in shown)
    trains = "contrastive/main|jigsaw/main|2_train|fine_tuning.py --model"
    trained = [line for line in lines if re.search(trains, line)]
    assert len(trained) == 2 * (4 + 4)
    for line in trained:
        [seed] = re.findall(r"--output(?:-dir)? out/\w+-(\d)", line)
        assert f"--seed {seed}" in line
    solvers = [line for line in lines if "jigsaw/main.py" in line]
    assert all("--epochs 10 --encoder resnet18" in line for line in solvers)
    assert not (work / "out").exists()


def test_a_pretext_stage_that_was_killed_is_not_made_shorter(work):
    (work / "kill").write_text("contrastive/main.py")
    compare(work, "--pictures-seen", 1000)
    assert_refused(compare(work, "--pictures-seen", 500), "was made with 1000, not 500")


@pytest.mark.parametrize(
    ("content", "message"), [(None, "no steps.json"), ("{", "steps.json: is damaged")]
)
def test_a_folder_without_a_whole_record_is_refused(finished, content, message):
    record = finished / "out" / "steps.json"
    record.unlink() if content is None else record.write_text(content)
    assert_refused(compare(finished, "--pictures-seen", 1000), message, "--output")


@pytest.mark.parametrize(
    ("name", "message"),
    [("rotation", "rotation: is none of random"), ("no.weights.h5", "no.weights.h5: the weights")],
)
def test_a_row_that_cannot_be_is_refused_before_any_work(work, name, message):
    assert_refused(compare(work, "--pretext", "random", name), message)
    assert calls(work) == []


def test_a_file_of_weights_is_a_row_with_the_pictures_that_it_has_seen(work):
    weights = ROOT / "Pre-trained" / "simclr" / "resnet18-simclr-1m.weights.h5"

    succeed(compare(work, "--pretext", weights, "--encoder", "resnet50"))

    found = json.loads((work / "out" / "comparison.json").read_text())["rows"][0]
    assert found["pretext"].startswith("resnet18-simclr-1m-")
    assert (found["encoder"], found["pictures seen"]) == ("resnet18", 1_000_192)


def test_of_each_training_the_best_row_comes_first(tmp_path):
    """So that an interval is of neighbours."""
    results = []
    for name, cider in {"low": 0.1, "high": 0.3, "middle": 0.2}.items():
        for training in ("frozen", "fine-tuned"):
            row = {"name": name, "BLEU-1": 0.5, "BLEU-4": 0.1, "CIDEr-D": cider, "distinct": 7}
            row["cider_by_image"] = {"a": cider, "b": cider}
            file = tmp_path / name / f"{training}.json"
            file.parent.mkdir(exist_ok=True)
            about = {"protocol": "coco", "split": "x", "images": 2, "rows": [row]}
            file.write_text(json.dumps(about))
            results.append(((name, "resnet18", 9, None), 0, file))

    table = runpy.run_path(str(ROOT / "benchmarks" / "comparison_table.py"))
    table["write_results"](tmp_path, results, "float32", {"a"})

    rows = json.loads((tmp_path / "comparison.json").read_text())["rows"]
    found = [(row["training"], row["pretext"]) for row in rows]
    ranked = ("high", "middle", "low")
    assert found == [(training, of) for training in ("frozen", "fine-tuned") for of in ranked]
    assert rows[1][table["AGAINST"]] == pytest.approx((-0.1, -0.1))


def test_the_interval_of_a_difference_is_that_of_resampled_images():
    functions = runpy.run_path(str(ROOT / "benchmarks" / "comparison_table.py"))
    random = np.random.default_rng(3)
    theirs = {str(n): value for n, value in enumerate(random.random(400))}
    ours = {name: value + random.normal(0.1, 0.2) for name, value in theirs.items()}

    low, high = functions["interval"](ours, theirs)

    differences = [ours[name] - theirs[name] for name in ours]
    error = np.std(differences, ddof=1) / np.sqrt(len(differences))  # the central limit theorem
    assert low == pytest.approx(np.mean(differences) - 1.96 * error, abs=error / 5)
    assert high == pytest.approx(np.mean(differences) + 1.96 * error, abs=error / 5)
