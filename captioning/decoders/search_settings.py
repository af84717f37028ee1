"""How captions are searched for: the settings as a value, and as the arguments of a script.

Nothing here imports Keras, so that help texts come at once.
"""

import argparse
import math
from dataclasses import dataclass, fields

from captioning.arguments import natural, not_negative, positive_int
from captioning.cli import UserError
from captioning.text import Vocabulary

WIDEST = 1000  # beam; a caption of the other beams would not be read


@dataclass(frozen=True)
class Search:
    """Settings of greedy and of beam search; the search itself is in `search.py`.

    Args:
        beam_width: 1 is greedy search. A wider beam keeps so many of the most probable beginnings.
        length_penalty: captions are ranked by their log-probability divided by length to the power
            of this; the end word counts (Wu et al., arXiv 1609.08144, section 7, in its simple
            form). 0 ranks by probability alone, which favours short captions.
        min_length: words that a caption has at least.
        no_repeat_ngram: None: no caption has a word of two letters or more three times, or a pair
            of such words twice: "white and white and white" is a known failure of search in a model
            that is sure of itself. A number: no sequence of so many words, of whatever length,
            comes twice; 0 lets everything repeat.
        mbr_samples: 0: the best caption is the most probable, as above. A number: so many captions
            are drawn from the model, and of the beam's the best is the one most like them
            (`minimum_bayes_risk.py`). What is said above holds for the beam, not for what is drawn;
            the length penalty says only what gets into the beam.

    Raises:
        UserError: a setting that no search can have.
    """

    beam_width: int = 1
    length_penalty: float = 1.0
    min_length: int = 0
    no_repeat_ngram: int | None = None
    mbr_samples: int = 0

    def __post_init__(self) -> None:
        for name, setting, least, most in (
            ("beam width", self.beam_width, 1, WIDEST),
            ("length penalty", self.length_penalty, 0, 10),
            ("minimum length", self.min_length, 0, math.inf),
            ("length of sequences that may not repeat", self.no_repeat_ngram or 0, 0, math.inf),
            ("number of drawn captions", self.mbr_samples, 0, WIDEST),
        ):
            if not least <= setting <= most:
                raise UserError(f"a {name} of {setting}: it must be from {least} to {most}")
        if self.mbr_samples and self.beam_width == 1:
            raise UserError(
                "greedy search leaves nothing to choose from; give a beam width of 2 or more"
            )

    def check_length(self, vocabulary: Vocabulary) -> None:
        """Refuse a minimum length that no caption of the model with this vocabulary can have.

        Raises:
            UserError: it is so.
        """
        most = vocabulary.max_length - 2
        if self.min_length > most:
            raise UserError(
                f"a minimum length of {self.min_length}: this model's captions have 0 to {most}"
            )


GREEDY = Search()


def add_arguments(parser: argparse.ArgumentParser, *, beam_width: int) -> None:
    """Add an argument a setting; `beam_width` is its default."""
    for flag, kind, default, text in (
        ("--beam-width", positive_int, beam_width, "1 is greedy search, and fastest"),
        (
            "--length-penalty",
            not_negative,
            GREEDY.length_penalty,
            "0 to 10: captions are ranked by log-probability / length ** this; lower it for "
            "shorter captions",
        ),
        ("--min-length", natural, GREEDY.min_length, "words that a caption has at least"),
        (
            "--no-repeat-ngram",
            natural,
            None,
            "no sequence of N words comes twice in a caption, 0 lets everything repeat; default: "
            "no word of two letters or more comes three times, and no pair of such words twice",
        ),
        (
            "--mbr-samples",
            natural,
            GREEDY.mbr_samples,
            "draw N captions from the model, and choose of the beam's the one most like them "
            "(minimum Bayes risk); slower and better with a wide beam, as 60 with a width of 20",
        ),
    ):
        parser.add_argument(flag, type=kind, default=default, metavar="N", help=text)


def from_arguments(args: argparse.Namespace) -> Search:
    """The settings that a script with `add_arguments` was given.

    Raises:
        UserError: a setting that no search can have.
    """
    return Search(**{one.name: getattr(args, one.name) for one in fields(Search)})
