"""The page of an evaluation; what it looks like, only a person with a browser can say."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from captioning.evaluation.coco_toolkit import FIGURES, Scores
from captioning.evaluation.figures import Candidate
from captioning.output.evaluation_page import grade, write_page

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
        self.source = page
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
def page(tmp_path) -> Elements:
    """Two models' captions of three images, of which one has no picture and one a broken one."""
    Image.new("RGB", (640, 480), "red").save(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes(b"broken")
    rows = [
        row("one <model>", {"a": "a dog", "b": HOSTILE, "c": ""}, [0.2, 0.9, 0.0]),
        row("another", {"a": "a cat", "b": "a cat", "c": "a cat"}, [0.5, 0.1, 3.0]),
        row("constant caption", {"a": "it", "b": "it", "c": "it"}, [0.0, 0.0, 0.0]),
    ]
    images = {name: tmp_path / f"{name}.jpg" for name in "ab"}
    write_page(tmp_path / "page.html", "protocol coco", rows, rows[:2], images)
    return Elements((tmp_path / "page.html").read_text())


def test_pictures_stand_in_the_order_of_the_first_model_s_scores(page):
    scores = [one["data-scores"] for one in page.all("article")]
    assert scores == ["0.900000 0.100000", "0.200000 0.500000", "0.000000 3.000000"]


def test_every_caption_has_its_score_and_colour(page):
    captions = re.findall(r'<p class="(\w+)"><b>([\d.]+)</b> <bdi>(.*?)</bdi>', page.source)
    assert [(colour, score) for colour, score, _ in captions] == [
        ("good", "0.90"),
        ("poor", "0.10"),
        ("fair", "0.20"),
        ("fair", "0.50"),
        ("poor", "0.00"),
        ("good", "3.00"),
    ]


def test_what_a_caption_holds_is_only_text(page):
    assert len(page.all("script")) == 1
    assert all("onerror" not in one for one in page.all("img"))
    assert page.text.count('<script>alert("x")</script>') == 4  # a caption, three references


def test_no_script_but_the_page_s_own_would_run(page):
    [script] = re.findall(r"<script>(.*?)</script>", page.source, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    [policy] = [one["content"] for one in page.all("meta") if "http-equiv" in one]
    assert policy.startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}'" in policy


def test_the_page_fetches_nothing_and_is_small(page):
    addresses = [
        value for _, found in page.tags for name, value in found.items() if name in ("src", "href")
    ]
    assert len(addresses) == 3  # of which two are grey: no picture
    assert all(one.startswith("data:image/jpeg;base64,") for one in addresses)
    assert max(map(len, addresses)) < 20_000


@pytest.mark.parametrize(("score", "colour"), [(0.6, "good"), (0.59, "fair"), (0.19, "poor")])
def test_colours(score, colour):
    assert grade(score) == colour
