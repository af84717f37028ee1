"""The settings of search as a value, and as arguments of the scripts that caption."""

import pytest

from captioning.cli import ArgumentParser, UserError
from captioning.decoders import search_settings
from captioning.decoders.search_settings import GREEDY, Search


def parsed(*arguments: str, beam_width: int | None) -> Search:
    parser = ArgumentParser("")
    search_settings.add_arguments(parser, beam_width=beam_width)
    return search_settings.from_arguments(parser.parse_args(arguments))


EVERY = "--beam-width 5 --length-penalty 0.5 --min-length 4 --no-repeat-ngram 0 --mbr-samples 9"


@pytest.mark.parametrize(
    ("beam_width", "arguments", "search"),
    [
        (1, "", GREEDY),
        (1, EVERY, Search(5, length_penalty=0.5, min_length=4, no_repeat_ngram=0, mbr_samples=9)),
        # Without a width of its own, a script searches by minimum Bayes risk.
        (None, "", Search(6, no_repeat_ngram=2, mbr_samples=24)),
        (None, "--fast", Search(3)),
        (None, "--beam-width 5", Search(5)),
        (None, "--mbr-samples 9 --no-repeat-ngram 0", Search(6, no_repeat_ngram=0, mbr_samples=9)),
        (None, "--beam-width 20 --mbr-samples 60", Search(20, mbr_samples=60)),
    ],
)
def test_every_setting_is_an_argument(beam_width, arguments, search):
    assert parsed(*arguments.split(), beam_width=beam_width) == search


def test_fast_and_a_width_at_once_are_refused():
    with pytest.raises(UserError, match="--fast is a plain beam of 3"):
        parsed("--fast", "--beam-width", "5", beam_width=None)
