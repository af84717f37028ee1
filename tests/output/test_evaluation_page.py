"""The page of an evaluation; what it looks like, only a person with a browser can say."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from captioning.output.evaluation_page import write_page
from tests.evaluation.test_figures import row

HOSTILE = '</p><script>alert("x")</script><img src=x onerror=alert(1)> \ud800 & "quoted"'


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
        row("one <model>", ["a dog", HOSTILE, ""], [0.2, 0.6, 0.0], HOSTILE),
        row("another", ["a cat"] * 3, [0.59, 0.19, 3.0]),
        row("constant caption", ["it"] * 3, [0.0] * 3),
    ]
    images = {name: tmp_path / f"{name}.jpg" for name in "ab"}
    write_page(tmp_path / "page.html", "protocol coco", rows, rows[:2], images)
    return Elements((tmp_path / "page.html").read_text())


def test_pictures_stand_in_the_order_of_the_first_model_s_scores(page):
    scores = [one["data-scores"] for one in page.all("article")]
    assert scores == ["0.600000 0.190000", "0.200000 0.590000", "0.000000 3.000000"]


def test_every_caption_has_its_score_and_colour(page):
    captions = re.findall(r'<p class="(\w+)"><b>([\d.]+)</b> <bdi>', page.source)
    expected = "good 0.60 poor 0.19 fair 0.20 fair 0.59 poor 0.00 good 3.00"
    assert " ".join(map(" ".join, captions)) == expected


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
