"""The COCO toolkit's scores, beside the toolkit run as it ships, and with Java that misbehaves."""

import os
import random
import shutil
import sys
import time

import pytest

from captioning.cli import UserError
from captioning.evaluation.bleu import bleu, tokenise, tokenise_all
from captioning.evaluation.coco_toolkit import FIGURES, CocoToolkit

needs_java = pytest.mark.skipif(
    shutil.which("java") is None, reason="no java on the path to run the toolkit's programs"
)
pytest.importorskip("pycocoevalcap.bleu.bleu", reason="pycocoevalcap, the toolkit, is missing")

REFERENCES = {
    "1": ["A brown dog runs over the grass .", "The dog's fast ."],
    "2": ["Two men sit on a bench in the park .", "Men , on a bench"],
    "3": ["A girl climbs the stairs .", "A child in a pink dress ."],
}
CAPTIONS = {"1": "a dog runs over the grass", "2": "two men sit", "3": "a boy climbs a tree"}
EDGE_CASES = [
    *("", " ", "dog", "A", ". , ! ?", "...", "a ||| b", "naïve café", "犬 が 走る", "привет, мир"),
    *("\U0001f600 a dog", "a dog -- runs (fast)", "the 3 1/2 year-old's dog can't", "½ ’s"),
]


def without_java(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def fake_java(monkeypatch, tmp_path, script: str) -> None:
    """Put a `java` first on the path that runs a shell script instead."""
    program = tmp_path / "java"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")


def some_images() -> tuple[dict[str, list[str]], dict[str, str]]:
    """Invented captions of 300 images, the edge cases among references and candidates alike."""
    chance = random.Random(7)
    words = (
        "a a the dog dogs man men's boy girl red is runs sitting on grass, in water . and".split()
    )

    def caption() -> str:
        return " ".join(chance.choices(words, k=chance.randint(1, 14)))

    ids = [f"image_{number}" for number in range(300)]
    references = {one: [caption() for _ in range(5)] for one in ids}
    captions = {one: caption() for one in ids}
    for number, text in enumerate(EDGE_CASES):
        references[ids[number]][number % 5] = text
        captions[ids[number]] = EDGE_CASES[-number - 1]
        captions[ids[100 + number]] = text
    captions[ids[-1]] = ""  # the last line of the tokenizer's input
    return references, captions


def toolkit_as_it_ships(references, captions) -> tuple[dict[str, float], list[float]]:
    """What `COCOEvalCap.evaluate` does, without its annotation files and SPICE."""
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.meteor.meteor import Meteor
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    tokenizer = PTBTokenizer()
    gts = tokenizer.tokenize(
        {one: [{"caption": text} for text in texts] for one, texts in references.items()}
    )
    res = tokenizer.tokenize({one: [{"caption": text}] for one, text in captions.items()})
    figures = [*Bleu(4).compute_score(gts, res, verbose=0)[0]]
    figures += [scorer.compute_score(gts, res)[0] for scorer in (Meteor(), Rouge())]
    cider, each = Cider().compute_score(gts, res)
    return dict(zip(FIGURES, [*figures, cider], strict=True)), list(each)


@pytest.mark.slow
@needs_java
def test_every_figure_is_the_toolkit_s_own(monkeypatch):
    monkeypatch.setenv("LC_ALL", "C.UTF-8")  # the toolkit's METEOR reads in the user's locale
    references, captions = some_images()
    some = [dict(list(texts.items())[:50]) for texts in (references, captions)]
    expected, expected_cider = toolkit_as_it_ships(references, captions)

    with CocoToolkit() as toolkit:
        before = sorted(toolkit.folder.rglob("*"))
        scores = toolkit.score(references, captions)
        first, again = (toolkit.score(*some) for _ in range(2))  # by the same running METEOR
        after = sorted(toolkit.folder.rglob("*"))

    assert toolkit.without_java is None
    assert scores.figures == pytest.approx(expected, abs=1e-9)
    assert list(scores.cider.values()) == pytest.approx(expected_cider, abs=1e-9)
    assert again == first
    assert [one for one in after if one not in before and "__pycache__" not in one.parts] == []


def test_captions_equal_to_their_references_get_the_highest_scores(monkeypatch, tmp_path):
    without_java(monkeypatch, tmp_path)
    captions = {"1": "a dog runs over grass", "2": "two men sit down here"}
    with CocoToolkit() as toolkit:
        scores = toolkit.score({one: [text] for one, text in captions.items()}, captions)
    for name in ("BLEU-1", "BLEU-4", "ROUGE-L"):
        assert scores.figures[name] == pytest.approx(1, abs=1e-8)
    assert scores.cider == pytest.approx({"1": 10, "2": 10})


def test_bleu_is_that_of_stage_3_if_no_caption_is_too_short(monkeypatch, tmp_path):
    without_java(monkeypatch, tmp_path)
    captions = {**CAPTIONS, "2": "two men sit on the bench"}
    with CocoToolkit() as toolkit:
        scores = toolkit.score(REFERENCES, captions)
    tokens = {one: tokenise(text, "coco") for one, text in captions.items()}
    expected = bleu(tokenise_all(REFERENCES, "coco"), tokens, "coco")
    assert [scores.figures[f"BLEU-{n}"] for n in (1, 2, 3, 4)] == pytest.approx(expected, abs=1e-6)


def test_a_line_break_in_a_caption_shifts_nothing(monkeypatch, tmp_path):
    fake_java(monkeypatch, tmp_path, 'case "$*" in *PTBTokenizer*) exec cat;; esac; exit 1')
    broken = {one: text.replace(" ", "\r\n\u2028", 1) for one, text in CAPTIONS.items()}
    found = []
    for captions in (CAPTIONS, broken):
        with CocoToolkit() as toolkit:  # a new one, because the first loses its Java to METEOR
            found.append(toolkit.score(REFERENCES, captions))
    assert found[0] == found[1]


def test_half_a_surrogate_pair_is_no_word_that_crashes(monkeypatch, tmp_path):
    without_java(monkeypatch, tmp_path)
    with CocoToolkit() as toolkit:
        scores = toolkit.score(REFERENCES, {"1": "a \ud800 dog"})
    assert scores.cider["1"] >= 0


def test_references_without_a_word_are_refused(monkeypatch, tmp_path):
    without_java(monkeypatch, tmp_path)
    with CocoToolkit() as toolkit, pytest.raises(UserError, match="holds a word"):
        toolkit.score({"1": ["..."]}, {"1": "a dog"})


def test_missing_toolkit_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocoevalcap", None)
    with pytest.raises(UserError, match=r"pip install -r requirements-evaluate\.txt"):
        CocoToolkit()


# ---- Java that is missing, dies or hangs -----------------------------------------------------


def score_with(monkeypatch, tmp_path, script: str, patience=60.0):
    fake_java(monkeypatch, tmp_path, script)
    with CocoToolkit(patience) as toolkit:
        return toolkit.score(REFERENCES, CAPTIONS), toolkit.without_meteor


def test_without_java_only_meteor_is_missing(monkeypatch, tmp_path):
    without_java(monkeypatch, tmp_path)
    with CocoToolkit() as toolkit:
        scores = toolkit.score(REFERENCES, CAPTIONS)
    assert toolkit.without_java == toolkit.without_meteor == "needs Java"
    assert [name for name, figure in scores.figures.items() if figure is None] == ["METEOR"]


@needs_java
def test_ordinary_captions_score_alike_without_java(monkeypatch, tmp_path):
    java = shutil.which("java")
    tokenizer_only = f'case "$*" in *PTBTokenizer*) exec {java} "$@";; esac; exit 1'
    by_java, _ = score_with(monkeypatch, tmp_path, tokenizer_only)
    (tmp_path / "java").unlink()
    without_java(monkeypatch, tmp_path)
    with CocoToolkit() as toolkit:
        assert toolkit.score(REFERENCES, CAPTIONS) == by_java


def test_java_that_hangs_is_killed_with_its_children(monkeypatch, tmp_path):
    began = time.monotonic()
    _, why = score_with(monkeypatch, tmp_path, f"sleep 60 & echo $! > {tmp_path}/child; wait", 0.5)
    assert why == "Java gave no answer in 0.5 s"
    assert time.monotonic() - began < 20
    child = int((tmp_path / "child").read_text())
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{child}") and time.monotonic() < deadline:
        time.sleep(0.05)  # until whoever inherits the orphan has reaped it
    assert not os.path.exists(f"/proc/{child}")


@pytest.mark.parametrize(
    ("meteor", "reason"),
    [
        ("exec sleep 60", "no answer in"),
        ("echo 'Error: no room for the heap' >&2; exit 1", "Java failed: Error: no room"),
        ("read line; echo 1.0; exit 0", "Java failed: it said nothing"),
        ("exec yes nonsense", "METEOR answered 'nonsense'"),
    ],
)
def test_meteor_that_fails_takes_no_other_figure_along(monkeypatch, tmp_path, meteor, reason):
    script = f'case "$*" in *PTBTokenizer*) exec cat;; esac\n{meteor}'
    scores, why = score_with(monkeypatch, tmp_path, script, patience=2.0)
    assert reason in why
    assert [name for name, figure in scores.figures.items() if figure is None] == ["METEOR"]


def test_rows_after_meteor_has_failed_are_tokenised_as_the_one_before(monkeypatch, tmp_path):
    fake_java(monkeypatch, tmp_path, 'case "$*" in *PTBTokenizer*) exec tr a-z b-za;; esac; exit 1')

    with CocoToolkit() as toolkit:
        first, second = (toolkit.score(REFERENCES, CAPTIONS) for _ in range(2))

    assert first == second
    assert toolkit.without_java is None


def test_a_tokenizer_that_loses_a_line_is_not_believed(monkeypatch, tmp_path):
    scores, why = score_with(monkeypatch, tmp_path, "sed 1d")
    assert "Java failed" in why
    assert scores.figures["BLEU-1"] > 0.5
