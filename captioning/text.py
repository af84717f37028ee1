"""Captions as words: cleaning rules and the vocabulary."""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from captioning.cli import UserError
from captioning.ptb import ptb_tokenize

START, END = "startseq", "endseq"
TEXT_RULES = ("original", "ptb")
LONGEST_CAPTION = 10_000  # words, with start and end, that a model or a tokenizer may claim

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
# Typographic quotes and dashes, as a keyboard has them; between words without spaces, too.
_KEYBOARD = str.maketrans("’‘‛′ʼ“”„‟″«»‐‑–—―…", "'" * 5 + '"' * 7 + "-" * 2 + " " * 4)
_JOINERS = "\u200c\u200d"  # inside words of Persian and of India's languages
# Thai, Lao, Burmese, Khmer, Japanese and Chinese.
_WITHOUT_SPACES = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff]"
)
# The toolkit's tokenizer spells brackets this way; nobody wants to read one in a caption.
_BRACKETS = {"-lrb-", "-rrb-", "-lsb-", "-rsb-", "-lcb-", "-rcb-"}


def clean(caption: str, rules: str) -> list[str]:
    """Split a caption into words.

    `original` is the original pipeline's cleaning: lower case, punctuation stripped, words of one
    letter or with a non-letter dropped. Typographic quotes count as those of a keyboard, other
    scripts' punctuation as punctuation, and the signs of their vowels as letters. `ptb` is the
    COCO toolkit's: lower case, Penn Treebank tokens without punctuation, so that "a" stays and
    "man's" becomes "man 's".
    """
    if rules == "original":
        words = map(_letters, caption.lower().translate(_KEYBOARD).split())
        return [word for word in words if len(word) > 1]
    return [word for word in ptb_tokenize(caption) if word not in _BRACKETS]


def _letters(word: str) -> str:
    """A word less punctuation of any script; empty if it has more than letters and their signs."""
    word = word.translate(_NO_PUNCTUATION)
    if word.isalpha():
        return word
    kinds = {sign: unicodedata.category(sign)[0] for sign in word}
    word = "".join(sign for sign in word if kinds[sign] != "P")
    rest = (s for s in word if not s.isalpha() and kinds[s] != "M" and s not in _JOINERS)
    return word if word[:1].isalpha() and not any(rest) else ""


def clean_all(
    captions: Mapping[str, Sequence[str]], rules: str, source: object
) -> tuple[dict[str, list[str]], list[str]]:
    """Cleaned captions by `image_id`, and the ids of those that were left out, one a caption.

    Left out are captions that cleaning empties, or of more words than any model takes.

    Raises:
        UserError: none is left, or they lack spaces between words; the message names the `source`.
    """
    cleaned: dict[str, list[str]] = {}
    left_out: list[str] = []
    for image_id, texts in captions.items():
        for text in texts:
            words = clean(text, rules)
            if 0 < len(words) <= LONGEST_CAPTION - 2:
                cleaned.setdefault(image_id, []).append(" ".join(words))
            else:
                left_out.append(image_id)
    hint = "put a space between two words (Japanese, Chinese and Thai are written without)"
    if not cleaned:
        raise UserError(f"{source}: the rules {rules} leave no word of any caption; {hint}")
    texts = [text for texts in cleaned.values() for text in texts]
    if 2 * sum(map(_lacks_spaces, texts)) > len(texts):
        raise UserError(f"{source}: most captions are one word without a space; {hint}")
    return cleaned, left_out


def _lacks_spaces(caption: str) -> bool:
    """Whether a cleaned caption is one word, of a script written without spaces."""
    words = [word for word in caption.split() if any(map(str.isalpha, word))]
    return len(words) == 1 and len(words[0]) > 3 and bool(_WITHOUT_SPACES.search(words[0]))


@dataclass(frozen=True)
class Vocabulary:
    """The words that a model knows, by falling frequency, and how long its captions get.

    `words[i]` has the index `i + 1`; index 0 is no word (it pads). `max_length` counts the start
    and end words, as the original pipeline does.
    """

    words: tuple[str, ...]
    max_length: int
    text_rules: str = "original"

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", tuple(self.words))
        if not isinstance(self.max_length, int) or not 2 <= self.max_length <= LONGEST_CAPTION:
            raise UserError(
                f"its max_length is {self.max_length!r:.20}: captions may have 2 to "
                f"{LONGEST_CAPTION} words, start and end among them"
            )
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
        UserError: none of the images has a caption, or one is longer than any model may say.
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
