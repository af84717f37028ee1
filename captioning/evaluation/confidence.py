"""Sure or not: how confident a captioner is of a caption, and how often it is right then."""

import math
from collections.abc import Sequence

# Captions below are shown paler. It is the lowest threshold in the table from which on more than
# half of the captions are good, for the captioner that ships, chosen on the odd lines of Flickr8k's
# development split (59.2%, and 31.6% of the others); on the even lines 64.4% and 27.4%. Another
# captioner needs another; choose by this, with features of its encoder and the search of 5_test.py:
#   python evaluate.py --calibrate --features features-fine.h5 --beam-width 10 \
#       --expected-words 20 --no-repeat-ngram 2
CONFIDENT = 0.45


def confidence(caption: str, log_probability: float) -> float:
    """The geometric mean of the probabilities of a caption's words, its end included; 0 to 1.

    It is rounded to two decimals, as it is shown, stored and compared.
    """
    return round(math.exp(log_probability / (len(caption.split()) + 1)), 2)


def reliability(
    confidences: Sequence[float], scores: Sequence[float], good: float
) -> tuple[list[float], list[float]]:
    """The middle of each twentieth of confidence, and which share of its captions scores above
    `good`. Those with fewer than a fiftieth of the captions are left out."""
    bins: dict[int, list[bool]] = {}
    for value, score in zip(confidences, scores, strict=True):
        bins.setdefault(min(19, int(20 * value + 1e-9)), []).append(score > good)
    shown = {number: hits for number, hits in bins.items() if len(hits) >= len(scores) / 50}
    middles = [round((number + 0.5) / 20, 3) for number in sorted(shown)]
    return middles, [sum(shown[number]) / len(shown[number]) for number in sorted(shown)]


def calibration(confidences: Sequence[float], scores: Sequence[float], good: float) -> str:
    """A table of thresholds: how many captions each marks, and which share scores above `good`."""
    pairs = list(zip(confidences, [score > good for score in scores], strict=True))
    lines = [f"confident from  captions  CIDEr-D above {good}  of the others"]
    for step in range(20):
        threshold = step / 20
        marked = [is_good for value, is_good in pairs if value >= threshold]
        others = [is_good for value, is_good in pairs if value < threshold]
        # Of those that mark nearly all or nearly none nothing is learned; the first marks all.
        if step == 0 or min(len(marked), len(others)) >= len(pairs) / 50:
            shares = [f"{sum(part) / len(part):.1%}" if part else "" for part in (marked, others)]
            lines.append(f"{threshold:14.2f}  {len(marked):8}  {shares[0]:>17}  {shares[1]:>13}")
    return "\n".join(lines)
