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
EVERY += " --expected-words 0.5"
FIVE = Search(5, 0.5, min_length=4, no_repeat_ngram=0, mbr_samples=9, expected_words=0.5)


@pytest.mark.parametrize(
    ("beam_width", "arguments", "search"),
    [
        (1, "", GREEDY),
        (1, EVERY, FIVE),
        # Without a width of its own, a script ranks by expected words, else by samples.
        (None, "", Search(10, no_repeat_ngram=2, mbr_samples=24, expected_words=20)),
        (None, "--fast", Search(3, no_repeat_ngram=2, expected_words=20)),
        (None, "--beam-width 5", Search(5)),
        # Which of both is asked for goes without the other.
        (None, "--mbr-samples 9 --no-repeat-ngram 0", Search(10, no_repeat_ngram=0, mbr_samples=9)),
        (None, "--expected-words 5", Search(10, no_repeat_ngram=2, expected_words=5)),
        (None, "--beam-width 20 --mbr-samples 60", Search(20, mbr_samples=60)),
    ],
)
def test_every_setting_is_an_argument(beam_width, arguments, search):
    assert parsed(*arguments.split(), beam_width=beam_width) == search


@pytest.mark.parametrize("more", ["--beam-width", "--mbr-samples", "--expected-words"])
def test_fast_and_another_search_at_once_are_refused(more):
    with pytest.raises(UserError, match="--fast is a beam of 3"):
        parsed("--fast", more, "5", beam_width=None)
