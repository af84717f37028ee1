"""The settings of search as a value, and as arguments of the scripts that caption."""

import inspect
import runpy
import sys

import pytest

from captioning.cli import ArgumentParser
from captioning.decoders import search_settings
from captioning.decoders.search_settings import GREEDY, Search
from tests.conftest import ROOT


def parsed(*arguments: str, beam_width: int = 1) -> Search:
    parser = ArgumentParser("")
    search_settings.add_arguments(parser, beam_width=beam_width)
    return search_settings.from_arguments(parser.parse_args(arguments))


def test_without_arguments_they_are_the_defaults():
    assert parsed() == GREEDY


def test_every_setting_is_an_argument():
    found = parsed("--beam-width", "5", "--length-penalty", "0.5", "--min-length", "4",
                   "--no-repeat-ngram", "0", "--mbr-samples", "9")  # fmt: skip
    assert found == Search(5, length_penalty=0.5, min_length=4, no_repeat_ngram=0, mbr_samples=9)


@pytest.mark.parametrize(
    ("script", "more", "default"),
    [
        ("3_BLEU.py", (), {"beam_width": 1}),
        ("captioning/caption_script.py", ("a.jpg",), {"beam_width": 3}),
        ("evaluate.py", (), {"beam_width": 3}),
    ],
)
def test_scripts_that_caption_take_them_and_have_a_default_of_their_own(
    script, more, default, monkeypatch
):
    parse_arguments = runpy.run_path(str(ROOT / script))["parse_arguments"]
    monkeypatch.setattr(sys, "argv", [script, *more, "--min-length", "2"])
    description = ("",) if inspect.signature(parse_arguments).parameters else ()
    args = parse_arguments(*description)
    assert search_settings.from_arguments(args) == Search(**default, min_length=2)
