"""BLEU under the project's two protocols, which are never mixed, and the constant-caption row."""

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

from captioning.ptb import ptb_tokenize
from captioning.text import END, START, clean

_WEIGHTS = {
    # The original pipeline's: the third sum to 0.9, which makes its BLEU-3 look higher.
    "original": ((1.0, 0, 0, 0), (0.5, 0.5, 0, 0), (0.3, 0.3, 0.3, 0), (0.25,) * 4),
    "coco": tuple((1 / n,) * n for n in (1, 2, 3, 4)),
}
PROTOCOLS = tuple(_WEIGHTS)


def bleu(
    references: Mapping[str, Sequence[Sequence[str]]],
    hypotheses: Mapping[str, Sequence[str]],
    protocol: str,
) -> list[float]:
    """BLEU-1 to 4 of a corpus of tokenised captions, by nltk's `corpus_bleu`, unsmoothed.

    Papineni et al., "BLEU: a method for automatic evaluation of machine translation" (2002). The
    `coco` figures equal the COCO caption toolkit's, except that nltk counts one n-gram in a caption
    of fewer than n words, and so puts a corpus with such captions a little lower.
    """
    from nltk.translate.bleu_score import corpus_bleu

    all_references = [references[image_id] for image_id in hypotheses]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nltk advises smoothing where an n-gram never matches
        return corpus_bleu(all_references, list(hypotheses.values()), weights=_WEIGHTS[protocol])


def tokenize(caption: str, protocol: str) -> list[str]:
    """Words of a caption as the protocol scores them.

    `original`: the original pipeline's cleaning, wrapped in the start and end words, which count.
    `coco`: lower case, Penn Treebank tokens without punctuation.
    """
    if protocol == "original":
        return [START, *clean(caption, "original"), END]
    return ptb_tokenize(caption)


def tokenize_all(
    captions: Mapping[str, Sequence[str]], protocol: str
) -> dict[str, list[list[str]]]:
    """`tokenize` for every caption of every image."""
    return {name: [tokenize(text, protocol) for text in texts] for name, texts in captions.items()}


def constant_caption(references: Mapping[str, Sequence[Sequence[str]]]) -> list[str]:
    """The caption that says most about all these images at once, as a floor for BLEU.

    Chosen among the references themselves: the one whose words and pairs of words occur with the
    most images, on average over the caption's length. Call it with images outside the split
    that is scored, so that the floor has not seen the answers.
    """
    images_with: Counter = Counter()
    for texts in references.values():
        images_with.update({gram for words in texts for gram in (*words, *pairwise(words))})

    lengths = sorted(len(words) for texts in references.values() for words in texts)
    usual = lengths[len(lengths) // 2]  # a shorter caption would pay BLEU's brevity penalty
    candidates = (words for texts in references.values() for words in texts if len(words) == usual)
    return max(candidates, key=lambda text: sum(images_with[g] for g in {*text, *pairwise(text)}))
