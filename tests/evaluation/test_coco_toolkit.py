"""The COCO toolkit's scores, beside the toolkit run as it ships, and with Java that misbehaves."""

import os
import random
import shutil
import sys
import time

import pytest

from captioning.cli import UserError
from captioning.evaluation.bleu import bleu, tokenize, tokenize_all
from captioning.evaluation.coco_toolkit import FIGURES, CocoToolkit, Scores

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


@pytest.fixture
def no_java(monkeypatch):
    monkeypatch.setenv("PATH", "")


@pytest.fixture
def fake_java(monkeypatch, tmp_path):
    """Put a `java` first on the path that runs a shell script instead."""

    def fake(script: str) -> None:
        program = tmp_path / "java"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    return fake


def some_images() -> tuple[dict[str, list[str]], dict[str, str]]:
    """Invented captions of 40 images, the edge cases among references and candidates alike."""
    chance = random.Random(7)
    words = (
        "a a the dog dogs man men's boy girl red is runs sitting on grass, in water . and".split()
    )

    def caption() -> str:
        return " ".join(chance.choices(words, k=chance.randint(1, 14)))

    ids = [f"image_{number}" for number in range(40)]
    references = {one: [caption() for _ in range(5)] for one in ids}
    captions = {one: caption() for one in ids}
    for number, text in enumerate(EDGE_CASES):
        references[ids[number]][number % 5] = text
        captions[ids[number]] = EDGE_CASES[-number - 1]
        captions[ids[20 + number]] = text
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
@pytest.mark.skipif(
    shutil.which("java") is None, reason="no java on the path to run the toolkit's programs"
)
def test_every_figure_is_the_toolkit_s_own(monkeypatch):
    monkeypatch.setenv("LC_ALL", "C.UTF-8")  # the toolkit's METEOR reads in the user's locale
    references, captions = some_images()
    some = tuple(dict(list(texts.items())[:10]) for texts in (references, captions))
    expected, expected_cider = toolkit_as_it_ships(references, captions)
    toolkit = CocoToolkit()
    before = sorted(toolkit.folder.rglob("*"))

    _, scores = toolkit.score([some, (references, captions)])

    assert toolkit.without_java is toolkit.without_meteor is None
    figures = {name: scores.figures[name] for name in expected}
    assert figures == pytest.approx(expected, abs=1e-9)
    assert list(scores.cider.values()) == pytest.approx(expected_cider, abs=1e-9)
    after = sorted(toolkit.folder.rglob("*"))
    assert [one for one in after if one not in before and "__pycache__" not in one.parts] == []


def score(references, captions) -> Scores:
    [scores] = CocoToolkit().score([(references, captions)])
    return scores


@pytest.mark.usefixtures("no_java")
def test_bleu_is_that_of_stage_3_if_no_caption_is_too_short():
    captions = {**CAPTIONS, "2": "two men sit on the bench"}
    scores = score(REFERENCES, captions)
    tokens = {one: tokenize(text, "coco") for one, text in captions.items()}
    expected = bleu(tokenize_all(REFERENCES, "coco"), tokens, "coco")
    assert [scores.figures[f"BLEU-{n}"] for n in (1, 2, 3, 4)] == pytest.approx(expected, abs=1e-6)


@pytest.mark.usefixtures("no_java")
def test_one_image_has_no_cider_because_it_would_be_0_for_a_perfect_caption():
    scores = score({"1": ["a dog runs over grass"]}, {"1": "a dog runs over grass"})
    assert scores.figures["CIDEr-D"] is None and scores.cider == {"1": None}
    assert scores.figures["ROUGE-L"] == pytest.approx(1)


def test_a_line_break_in_a_caption_shifts_nothing(fake_java):
    fake_java('case "$*" in *PTBTokenizer*) exec cat;; esac; exit 1')
    broken = {one: text.replace(" ", "\r\n\u2028", 1) for one, text in CAPTIONS.items()}
    assert score(REFERENCES, broken) == score(REFERENCES, CAPTIONS)


@pytest.mark.usefixtures("no_java")
def test_half_a_surrogate_pair_is_no_word_that_crashes():
    assert score(REFERENCES, {**CAPTIONS, "1": "a \ud800 dog"}).cider["1"] >= 0


@pytest.mark.usefixtures("no_java")
def test_references_without_a_word_are_refused():
    with pytest.raises(UserError, match="holds a word"):
        score({"1": ["..."]}, {"1": "a dog"})


def test_missing_toolkit_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycocoevalcap", None)
    with pytest.raises(UserError, match=r"pip install -r requirements-evaluate\.txt"):
        CocoToolkit()


# ---- Java that is missing, dies or hangs -----------------------------------------------------


def lacking(scores: Scores) -> list[str]:
    return [name for name, figure in scores.figures.items() if figure is None]


@pytest.mark.parametrize(
    ("java", "reason"),
    [
        (None, "needs Java"),
        ("sleep 60", "Java gave no answer in 0.5 s"),  # and is not waited for
        ("sed 1d", "Java failed: it said nothing"),  # a tokenizer that loses a line
    ],
)
def test_without_java_only_meteor_is_missing(fake_java, monkeypatch, java, reason):
    fake_java(java) if java else monkeypatch.setenv("PATH", "")
    toolkit, began = CocoToolkit(patience=0.5), time.monotonic()

    [scores] = toolkit.score([(REFERENCES, CAPTIONS)])

    assert toolkit.without_java == toolkit.without_meteor == reason
    assert lacking(scores) == ["METEOR"]
    assert scores.figures["BLEU-1"] > 0.5
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("meteor", "reason"),
    [
        ("exec sleep 60", "no answer in"),
        ("echo 'Error: no room for the heap' >&2; exit 1", "Java failed: Error: no room"),
        ("read line; echo 1.0; exit 0", "Java failed: it said nothing"),
        ('sed "s/EVAL.*/1.0\\n1.0\\n1.0\\nnonsense/"', "nonsense"),
    ],
)
def test_meteor_that_fails_takes_no_other_figure_along(fake_java, meteor, reason):
    fake_java(f'case "$*" in *PTBTokenizer*) exec tr a-z b-za;; esac\n{meteor}')
    toolkit = CocoToolkit(patience=2.0)

    first, second = toolkit.score([(REFERENCES, CAPTIONS)] * 2)

    assert reason in toolkit.without_meteor
    assert lacking(first) == ["METEOR"]
    assert first == second  # both in the tokens of Java
    assert toolkit.without_java is None
