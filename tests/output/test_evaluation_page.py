"""The page of an evaluation; what it looks like, only a person with a browser can say."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from captioning.cli import UserError
from captioning.evaluation.coco_toolkit import FIGURES, Scores
from captioning.evaluation.figures import Candidate, baselines, table
from captioning.output.evaluation_page import grade, pictures_of, write_page

HOSTILE = '</p><script>alert("x")</script><img src=x onerror=alert(1)> \ud800 & "quoted"'
VARIETY = {"distinct": 3, "mean_length": 5.25, "repeated_bigram": 0.5, "vocabulary": 9}


def row(name: str, captions: dict[str, str], cider: list[float]):
    references = {one: [f"reference of {one}", HOSTILE] for one in captions}
    figures = {**dict.fromkeys(FIGURES, 0.25), "METEOR": None}
    scores = Scores(figures, VARIETY, dict(zip(captions, cider, strict=True)))
    return Candidate(name, captions, references, {}), scores


class Elements(HTMLParser):
    """Every start tag with its attributes, and all text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def page(tmp_path):
    """Two models' captions of three images, of which one has no picture and one a broken one."""
    for name, content in (("a.jpg", None), ("b.jpg", b"broken")):
        if content is None:
            Image.new("RGB", (640, 480), "red").save(tmp_path / name)
        else:
            (tmp_path / name).write_bytes(content)
    rows = [
        row("one <model>", {"a": "a dog", "b": HOSTILE, "c": ""}, [0.2, 0.9, 0.0]),
        row("another", {"a": "a cat", "b": "a cat", "c": "a cat"}, [0.5, 0.1, 3.0]),
        row("constant caption", {"a": "it", "b": "it", "c": "it"}, [0.0, 0.0, 0.0]),
    ]
    pictures = pictures_of(tmp_path, ["a", "b", "c"], {})
    missing = write_page(tmp_path / "page.html", "protocol coco", rows, rows[:2], pictures)
    text = (tmp_path / "page.html").read_text()
    return text, Elements(text), missing


def test_pictures_stand_in_the_order_of_the_first_model_s_scores(page):
    _, elements, _ = page
    scores = [one["data-scores"] for one in elements.all("article")]
    assert scores == ["0.900000 0.100000", "0.200000 0.500000", "0.000000 3.000000"]


def test_every_caption_has_its_score_and_colour(page):
    text, _, _ = page
    captions = re.findall(r'<p class="caption (\w+)"><b>([\d.]+)</b> <bdi>(.*?)</bdi>', text)
    assert [(colour, score) for colour, score, _ in captions] == [
        ("good", "0.90"), ("poor", "0.10"), ("fair", "0.20"),
        ("fair", "0.50"), ("poor", "0.00"), ("good", "3.00"),
    ]  # fmt: skip


def test_what_a_caption_holds_is_only_text(page):
    _, elements, _ = page
    assert len(elements.all("script")) == 1
    assert all("onerror" not in one for one in elements.all("img"))
    assert elements.text.count('<script>alert("x")</script>') == 4  # a caption, three references


def test_no_script_but_the_page_s_own_would_run(page):
    text, elements, _ = page
    [script] = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    [policy] = [one["content"] for one in elements.all("meta") if "http-equiv" in one]
    assert policy.startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}'" in policy


def test_the_page_fetches_nothing(page):
    _, elements, _ = page
    addresses = [value for _, found in elements.tags for name, value in found.items()
                 if name in ("src", "href")]  # fmt: skip
    assert len(addresses) == 1
    assert addresses[0].startswith("data:image/jpeg;base64,")


def test_pictures_that_cannot_be_shown_are_named(page):
    text, _, missing = page
    assert text.count("no picture") == 2
    assert any("b.jpg" in one for one in missing) and any(one.startswith("c:") for one in missing)


def test_a_thumbnail_is_small(page):
    _, elements, _ = page
    [image] = elements.all("img")
    assert len(image["src"]) < 20_000


def test_a_folder_without_the_pictures_is_refused(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "other.jpg")
    with pytest.raises(UserError, match="none of the pictures"):
        pictures_of(tmp_path, ["a"], {})
    with pytest.raises(UserError, match="not a folder"):
        pictures_of(tmp_path / "nowhere", ["a"], {})


def test_pictures_lie_in_sub_folders_too(tmp_path):
    name = "COCO_val2014_000000000042.jpg"
    (tmp_path / "val2014").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "val2014" / name)
    assert pictures_of(tmp_path, ["42"], {"42": name}) == {"42": tmp_path / "val2014" / name}


@pytest.mark.parametrize(("score", "colour"), [(0.6, "good"), (0.59, "fair"), (0.19, "poor")])
def test_colours(score, colour):
    assert grade(score) == colour


# ---- the table -------------------------------------------------------------------------------


def test_table_shows_figures_variety_and_what_is_missing():
    lines = table([row("model", {"a": "a dog"}, [0.2])]).splitlines()
    assert lines[0].split()[:5] == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR"]
    assert lines[1].split() == ["model", *["0.2500"] * 4, "n/a", *["0.2500"] * 2, "3", "5.2",
                                "50.0%", "9"]  # fmt: skip
    assert len(lines[0]) == len(lines[1])


def test_human_row_is_the_first_caption_against_the_others():
    references = {"a": ["a dog", "a hound", "a beast"], "b": ["a cat", "a tiger"]}
    [human] = baselines(references, ["a", "b"], ["a", "b"])  # and nothing is left for a constant
    assert human.captions == {"a": "a dog", "b": "a cat"}
    assert human.references == {"a": ["a hound", "a beast"], "b": ["a tiger"]}


def test_constant_caption_has_not_seen_the_split():
    references = {"a": ["a dog"], "b": ["two cats", "..."], "c": ["two cats"]}
    [constant] = baselines(references, ["a"], ["a", "c"])  # and "a" has no second reference
    assert constant.captions == {"a": "two cats"}
    assert constant.references is references
