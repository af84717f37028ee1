"""How captions are searched for: the settings as a value, and as the arguments of a script.

Nothing here imports Keras, so that help texts come at once.
"""

import argparse
import math
import os
from dataclasses import dataclass, field, fields

from captioning.arguments import number
from captioning.cli import UserError
from captioning.text import Vocabulary

WIDEST = 1000  # beam; a caption of the other beams would not be read


def _setting(default, help: str, least: int = 0, most: float = math.inf):
    return field(default=default, metadata=dict(help=help, least=least, most=most))


@dataclass(frozen=True)
class Search:
    """Settings of greedy and of beam search; the search itself is in `search.py`.

    The length penalty is Wu et al.'s (arXiv 1609.08144, section 7, in its simple form); the end
    word counts as one of the length. 0 ranks by probability alone, which favours short captions.
    "White and white and white" is a known failure of search in a model that is sure of itself,
    therefore the rule against repeats. It, and the minimum length, hold for the beam and not for
    what is drawn (`minimum_bayes_risk.py`), where the length penalty says what gets into the beam.

    Expected words go before samples, which are for older models, which have none.

    Raises:
        UserError: a setting that no search can have.
    """

    beam_width: int = _setting(1, "beam width; 1: greedy search", 1, WIDEST)
    length_penalty: float = _setting(1.0, "rank captions by log-probability / length ** N", most=10)
    min_length: int = _setting(0, "minimum words per caption")
    no_repeat_ngram: int | None = _setting(None, "no N-gram twice; 0: allow all; 5_test.py: 2")
    mbr_samples: int = _setting(0, "minimum Bayes risk by N sampled captions; 0: off", most=WIDEST)
    expected_words: float = _setting(0.0, "rank by expected words, weight N; 0: off; 5_test.py: 20")

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            least, most = setting.metadata["least"], setting.metadata["most"]
            if value is not None and not least <= value <= most:
                raise UserError(f"{setting.name} {value}: it must be from {least} to {most}")
        if (self.mbr_samples or self.expected_words) and self.beam_width == 1:
            raise UserError("greedy search leaves nothing to choose from; give a wider beam")

    def check_ranking(self, model, path: str | os.PathLike) -> None:
        """Raise a `UserError` where the `model` from `path` has no expected words to rank by."""
        if self.expected_words and not model.expected_words:
            raise UserError(
                f"{path}: has no expected words, being of an older version; fit them with "
                "tools/export_model.py --features, or rank by --mbr-samples in their place"
            )

    def check_length(self, vocabulary: Vocabulary) -> None:
        """Raise a `UserError` for a minimum length that no caption of the vocabulary can have."""
        most = vocabulary.max_length - 2
        if self.min_length > most:
            raise UserError(f"min_length {self.min_length}: this model's captions have 0 to {most}")


GREEDY = Search()
# Measured in docs/decoders.md.
FAST = Search(beam_width=3, no_repeat_ngram=2, expected_words=20.0)
BEST = Search(beam_width=10, no_repeat_ngram=2, mbr_samples=24, expected_words=20.0)


def add_arguments(parser: argparse.ArgumentParser, *, beam_width: int | None) -> None:
    """Add an argument a setting.

    Args:
        beam_width: its default. None: the default is the search `BEST`, and `--fast` is `FAST`.
    """
    defaults = {"beam_width": beam_width}
    if beam_width is None:
        defaults |= {"mbr_samples": None, "expected_words": None}
        what = f"beam of {FAST.beam_width}; without it or --beam-width: {BEST.beam_width}, slower"
        parser.add_argument("--fast", action="store_true", help=what)
    for setting in fields(Search):
        parser.add_argument(
            "--" + setting.name.replace("_", "-"),
            type=number(float if setting.type is float else int, least=setting.metadata["least"]),
            default=defaults.get(setting.name, setting.default),
            metavar="N",
            help=setting.metadata["help"],
        )


def from_arguments(args: argparse.Namespace) -> Search:
    """The settings that a script with `add_arguments` was given.

    Raises:
        UserError: a setting that no search can have.
    """
    settings = {setting.name: getattr(args, setting.name) for setting in fields(Search)}
    ranking = ("mbr_samples", "expected_words")
    base = FAST if getattr(args, "fast", False) else BEST
    if base is FAST and (settings["beam_width"] or any(settings[name] for name in ranking)):
        raise UserError("--fast is a beam of 3: leave out --beam-width and what ranks it")
    if settings["beam_width"] or any(settings[name] is not None for name in ranking):
        settings |= {name: settings[name] or 0 for name in ranking}  # one goes without the other
    if settings["beam_width"] is None:
        unset = [name for name, value in settings.items() if value is None]
        settings |= {name: getattr(base, name) for name in unset}
    return Search(**settings)
