"""Captions on the page and the contact sheet: those that the captioner is not sure of are paler."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captioning.cli import UserError
from captioning.evaluation.confidence import CONFIDENT
from captioning.output.captions import LEGEND, Captioned, check_output, write_captions
from captioning.output.sheets import LINE
from tests.output.test_evaluation_page import Elements


def captioned(folder, name: str, confidence: float) -> Captioned:
    path = folder / name
    Image.new("RGB", (40, 30), "white").save(path)
    return Captioned(path, "a dog", 3 * math.log(confidence))


def test_the_page_shows_an_unsure_caption_paler_and_says_why(tmp_path):
    sure = captioned(tmp_path, "sure.png", CONFIDENT + 0.1)
    unsure = captioned(tmp_path, "unsure.png", CONFIDENT - 0.1)

    write_captions(tmp_path / "page.html", [sure, unsure])
    write_captions(tmp_path / "all_sure.html", [sure])

    page = (tmp_path / "page.html").read_text()
    first, second = page.split("<article ")[1:]
    assert '<p class="sure">a dog</p>' in first
    assert '<p class="unsure">a dog</p>' in second
    assert LEGEND in page and LEGEND not in (tmp_path / "all_sure.html").read_text()


def test_names_and_captions_on_the_page_are_text(tmp_path):
    """A file's name, a caption and a model's name may come from a stranger."""
    one = captioned(tmp_path, "<img src=x onerror=alert(1)>.png", CONFIDENT)
    one = one._replace(caption='"><script>', beside={"<u>": "<i onclick=x>"})

    write_captions(tmp_path / "page.html", [one])

    found = Elements((tmp_path / "page.html").read_text())
    assert [attributes["alt"] for attributes in found.all("img")] == ['"><script>']
    assert not {tag for tag, _ in found.tags} & {"u", "i"}
    assert len(found.all("script")) == 1  # the page's own
    assert not any("onerror" in about or "onclick" in about for _, about in found.tags)
    assert "<img src=x onerror=alert(1)>.png" in found.text


def test_a_picture_that_has_gone_since_is_left_out_and_its_caption_stays(tmp_path):
    gone, there = (captioned(tmp_path, f"{name}.png", CONFIDENT) for name in ("gone", "there"))
    gone.path.unlink()

    for name in ("page.html", "sheet.png"):
        write_captions(tmp_path / name, [gone, there])

    assert (tmp_path / "page.html").read_text().count("a dog</p>") == 2
    assert Image.open(tmp_path / "sheet.png").width > 2 * 320


@pytest.mark.parametrize(("off", "darkest"), [(0.1, 0), (-0.1, 0x76)])
def test_the_sheet_shows_an_unsure_caption_paler(tmp_path, off, darkest):
    write_captions(tmp_path / "sheet.png", [captioned(tmp_path, "one.png", CONFIDENT + off)])

    assert np.asarray(Image.open(tmp_path / "sheet.png")).min() == darkest


def test_other_captioners_have_lines_of_their_own_on_the_sheet(tmp_path):
    one = captioned(tmp_path, "one.png", CONFIDENT)
    heights = []
    for beside in ({}, {"other": "a cat"}, {"other": "a cat", "third": "a cow"}):
        write_captions(tmp_path / "sheet.png", [one._replace(beside=beside)])
        heights.append(Image.open(tmp_path / "sheet.png").height)

    assert np.diff(heights).tolist() == [LINE, LINE]


def test_a_second_model_that_is_called_caption_has_a_column_of_its_own(tmp_path):
    one = Captioned(Path("a.jpg"), "a dog", -2.0)._replace(beside={"caption": "a cat"})
    write_captions(tmp_path / "a.csv", [one])
    header, row = (tmp_path / "a.csv").read_text().splitlines()
    assert header == "file,caption,log_probability,caption,confidence"
    assert row == "a.jpg,a dog,-2.0000,a cat,0.51"


def test_a_sheet_is_written_over_a_sheet_and_over_nothing_else(tmp_path):
    one = captioned(tmp_path, "one.png", CONFIDENT)
    sheet, empty = tmp_path / "sheet.png", tmp_path / "empty.png"
    write_captions(sheet, [one])
    empty.touch()

    check_output(sheet, [one.path])

    for path in (one.path, empty):
        with pytest.raises(UserError, match=f"{path}: exists, and is no sheet"):
            check_output(path, [one.path])


@pytest.mark.parametrize(
    ("name", "images", "message"),
    [
        ("c.txt", ["a.jpg"], "unknown format; end"),
        ("photo.jpg", ["a.jpg"], "pictures go before --output"),
        ("c.json", ["in/a.jpg", "in/a.png"], "cannot be told apart"),
        ("c.png", [f"{number}.jpg" for number in range(601)], "holds 600 pictures, not 601"),
    ],
)
def test_what_cannot_be_written_is_said_before_the_work(name, images, message):
    with pytest.raises(UserError, match=message):
        check_output(Path(name), list(map(Path, images)))
