"""The hand-off files of words: descriptions and the tokenizer. Features are in `features.py`."""

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

from captioning.cli import UserError
from captioning.datasets.form import text_lines
from captioning.files import (
    atomic_path,
    existing_file,
    read_info,
    write_info,
    write_text,
)
from captioning.safe_pickle import KerasTokenizer, load_pickle
from captioning.text import END, LONGEST_CAPTION, START, TEXT_RULES, Vocabulary

# ---- descriptions ----------------------------------------------------------------------------


def write_descriptions(
    path: str | Path, descriptions: Mapping[str, Sequence[str]], text_rules: str
) -> None:
    """Write a line per caption, `image_id word word ...`, and the rules that cleaned them."""
    lines = (f"{one} {text}\n" for one, texts in descriptions.items() for text in texts)
    write_text(path, "".join(lines))
    write_info(path, {"text_rules": text_rules})


def read_descriptions(path: str | Path) -> tuple[dict[str, list[str]], str]:
    """Cleaned captions by `image_id`, and the text rules that made them.

    A file without a record of its rules is taken for the original pipeline's (`seed`). Its own
    start and end words, which some versions wrote into the file, are taken off.

    Raises:
        UserError: no such file, not UTF-8, or no caption in it.
    """
    path = existing_file(path, "descriptions file", "make it with 1_data_preprocessor.py")
    descriptions: dict[str, list[str]] = {}
    for line in text_lines(path, "descriptions file"):
        one, *words = line.split() or [""]  # some write a tab after the id
        words = [word for word in words if word not in (START, END)]
        if words:
            descriptions.setdefault(one, []).append(" ".join(words))
    if not descriptions:
        raise UserError(f"{path}: holds no line of the form 'image_id word word ...'")
    rules = read_info(path).get("text_rules")
    return descriptions, rules if rules in TEXT_RULES else "seed"


# ---- tokenizer -------------------------------------------------------------------------------


def write_tokenizer(path: str | Path, vocabulary: Vocabulary) -> None:
    """Pickle the vocabulary as plain data: `word_index`, `max_length`, `text_rules`."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        plain = {
            "word_index": vocabulary.word_index,
            "max_length": vocabulary.max_length,
            "text_rules": vocabulary.text_rules,
        }
        pickle.dump(plain, file, protocol=4)


def read_tokenizer(
    path: str | Path, max_length: int | None = None, outputs: int | None = None
) -> Vocabulary:
    """Read `tokenizer.pkl`: ours, or one that pickles Keras 2's `Tokenizer` object.

    The latter does not know the longest caption; `max_length` (the model's) fills it in. And it
    may have been told to use its commonest words only (`num_words`): if that is as many as the
    model's `outputs`, the others are left out.

    Raises:
        UserError: no such file, a hostile or damaged one, or no consistent word index in it.
    """
    path = existing_file(path, "tokenizer", "make it with 4_tokenizer.py")
    state = load_pickle(path)
    if isinstance(state, KerasTokenizer):
        state = vars(state)
    index = state.get("word_index") if isinstance(state, dict) else None
    if not isinstance(index, dict) or not index:
        raise UserError(f"{path}: holds no word index; make it again with 4_tokenizer.py")
    try:
        words = sorted(index, key=index.__getitem__)
        if [index[word] for word in words] != list(range(1, len(words) + 1)):
            raise ValueError
        if not all(isinstance(word, str) for word in words):
            raise ValueError
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: its words are not numbered 1 to {len(index)}") from error
    if outputs is not None and state.get("num_words") == outputs < len(words) + 1:
        words = words[: outputs - 1]
    longest = state.get("max_length", max_length)
    if not isinstance(longest, int) or not 2 <= longest <= LONGEST_CAPTION:
        raise UserError(f"{path}: does not say how long a caption gets (max_length)")
    rules = state.get("text_rules")
    known = isinstance(rules, str) and rules in TEXT_RULES
    return Vocabulary(tuple(words), longest, rules if known else "seed")
