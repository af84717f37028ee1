"""Captions as words: cleaning rules and the vocabulary."""

import string
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from captioning.cli import UserError
from captioning.ptb import ptb_tokenize

START, END = "startseq", "endseq"
TEXT_RULES = ("seed", "ptb")

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
# The toolkit's tokenizer spells brackets this way; nobody wants to read one in a caption.
_BRACKETS = {"-lrb-", "-rrb-", "-lsb-", "-rsb-", "-lcb-", "-rcb-"}


def clean(caption: str, rules: str) -> list[str]:
    """Split a caption into words.

    `seed` is the original pipeline's cleaning: lower case, punctuation stripped, words of one
    letter or with a non-letter dropped. `ptb` is the COCO toolkit's: lower case, Penn Treebank
    tokens without punctuation, so that "a" stays and "man's" becomes "man 's".
    """
    if rules == "seed":
        words = (word.translate(_NO_PUNCTUATION) for word in caption.lower().split())
        return [word for word in words if len(word) > 1 and word.isalpha()]
    if rules == "ptb":
        return [word for word in ptb_tokenize(caption) if word not in _BRACKETS]
    raise ValueError(f"unknown text rules '{rules}', expected one of {TEXT_RULES}")


@dataclass(frozen=True)
class Vocabulary:
    """The words that a model knows, by falling frequency, and how long its captions get.

    `words[i]` has the index `i + 1`; index 0 is no word (it pads). `max_length` counts the start
    and end words, as the original pipeline does.
    """

    words: tuple[str, ...]
    max_length: int
    text_rules: str = "seed"

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", tuple(self.words))
        missing = {START, END} - set(self.words)
        if missing:
            raise UserError(
                f"the vocabulary lacks {' and '.join(sorted(missing))}, which begin and end every "
                "caption; it was not made from wrapped captions"
            )

    def __len__(self) -> int:
        return len(self.words)

    @cached_property
    def word_index(self) -> dict[str, int]:
        """Word to index, counted from 1."""
        return {word: index for index, word in enumerate(self.words, start=1)}

    @property
    def start(self) -> int:
        """Index of the word that begins every caption."""
        return self.word_index[START]

    @property
    def end(self) -> int:
        """Index of the word that ends every caption."""
        return self.word_index[END]

    def encode(self, caption: str, keep_unknown: bool = False) -> list[int]:
        """Indices of a cleaned caption, wrapped; words outside the vocabulary are dropped.

        Dropping is what Keras 2's `Tokenizer` does, so losses compare with the original's. With
        `keep_unknown` they are 0, so that what follows them does not seem to follow what precedes.
        """
        index = self.word_index
        words = [index.get(word, 0) for word in caption.split()]
        return [self.start, *(word for word in words if word or keep_unknown), self.end]

    def decode(self, indices: Iterable[int]) -> str:
        """Words of a sequence of indices, up to the end word, without the start word."""
        words = []
        for index in indices:
            if index == self.end:
                break
            if index not in (0, self.start):
                words.append(self.words[index - 1])
        return " ".join(words)


def build_vocabulary(
    descriptions: Mapping[str, Sequence[str]],
    image_ids: Iterable[str],
    text_rules: str,
    min_count: int = 1,
) -> Vocabulary:
    """The vocabulary of the captions of `image_ids`: training and the tokenizer both use this.

    Words are numbered by falling frequency, ties in order of first appearance, start and end
    words counted once a caption: the order of Keras 2's `Tokenizer`. Words that come fewer than
    `min_count` times are left out.

    Raises:
        UserError: none of the images has a caption.
    """
    counts: Counter[str] = Counter()
    longest = 0
    for image_id in image_ids:
        for caption in descriptions.get(image_id, ()):
            words = [START, *caption.split(), END]
            counts.update(words)
            longest = max(longest, len(words))
    if not counts:
        raise UserError("no image of the training split has a caption in the descriptions file")
    # However few the captions, each begins and ends.
    words = (w for w, n in counts.most_common() if n >= min_count or w in (START, END))
    return Vocabulary(tuple(words), longest, text_rules)
