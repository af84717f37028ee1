"""The settings of search as a value, and as arguments of the scripts that caption."""

import inspect
import runpy
import sys
from dataclasses import replace

import pytest

from captioning.cli import ArgumentParser, UserError
from captioning.decoders import search_settings
from captioning.decoders.search_settings import BEST, GREEDY, Search
from tests.conftest import ROOT


def parsed(*arguments: str, beam_width: int | None = 1) -> Search:
    parser = ArgumentParser("")
    search_settings.add_arguments(parser, beam_width=beam_width)
    return search_settings.from_arguments(parser.parse_args(arguments))


def test_without_arguments_they_are_the_defaults():
    assert parsed() == GREEDY


def test_every_setting_is_an_argument():
    found = parsed(
        "--beam-width",
        "5",
        "--length-penalty",
        "0.5",
        "--min-length",
        "4",
        "--no-repeat-ngram",
        "0",
        "--mbr-samples",
        "9",
    )
    assert found == Search(5, length_penalty=0.5, min_length=4, no_repeat_ngram=0, mbr_samples=9)


@pytest.mark.parametrize(
    ("arguments", "search"),
    [
        ("", Search(6, no_repeat_ngram=2, mbr_samples=24)),
        ("--fast", Search(3)),
        ("--beam-width 5", Search(5)),
        ("--mbr-samples 9 --no-repeat-ngram 0", Search(6, no_repeat_ngram=0, mbr_samples=9)),
        ("--beam-width 20 --mbr-samples 60", Search(20, mbr_samples=60)),
    ],
)
def test_a_script_without_a_width_of_its_own_searches_by_minimum_bayes_risk(arguments, search):
    assert parsed(*arguments.split(), beam_width=None) == search


def test_fast_and_a_width_at_once_are_refused():
    with pytest.raises(UserError, match="--fast is a plain beam of 3"):
        parsed("--fast", "--beam-width", "5", beam_width=None)


@pytest.mark.parametrize(
    ("script", "more", "default"),
    [
        ("3_BLEU.py", (), Search(1)),
        ("captioning/caption_script.py", ("a.jpg",), BEST),
        ("evaluate.py", (), Search(3)),
    ],
)
def test_scripts_that_caption_take_them_and_have_a_default_of_their_own(
    script, more, default, monkeypatch
):
    parse_arguments = runpy.run_path(str(ROOT / script))["parse_arguments"]
    monkeypatch.setattr(sys, "argv", [script, *more, "--min-length", "2"])
    description = ("",) if inspect.signature(parse_arguments).parameters else ()
    args = parse_arguments(*description)
    assert search_settings.from_arguments(args) == replace(default, min_length=2)
