"""The tokenizer: which words a model knows, as a hand-off file of plain data."""

import pickle
from pathlib import Path

from captioning.cli import UserError, in_file
from captioning.files import atomic_path, existing_file
from captioning.text import TEXT_RULES, Vocabulary
from captioning.untrusted.pickles import load_pickle


def write_tokenizer(path: str | Path, vocabulary: Vocabulary) -> None:
    """Pickle the vocabulary as plain data: `word_index`, `max_length`, `text_rules`."""
    plain = {name: getattr(vocabulary, name) for name in ("word_index", "max_length", "text_rules")}
    with atomic_path(path) as temporary:
        temporary.write_bytes(pickle.dumps(plain, protocol=4))


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
    index = state.get("word_index") if isinstance(state, dict) else None
    if not isinstance(index, dict) or not index:
        raise UserError(f"{path}: holds no word index; make it again with 4_tokenizer.py")
    try:
        by_number = {number: word for word, number in index.items() if isinstance(word, str)}
        words = [by_number[number] for number in range(1, len(index) + 1)]
    except (KeyError, TypeError) as error:  # TypeError: of numbers that are lists, say
        raise UserError(f"{path}: its words are not numbered 1 to {len(index)}") from error
    if outputs is not None and state.get("num_words") == outputs < len(words) + 1:
        words = words[: outputs - 1]
    rules = state.get("text_rules")
    if not (isinstance(rules, str) and rules in TEXT_RULES):
        rules = "original"
    with in_file(path):
        return Vocabulary(tuple(words), state.get("max_length", max_length), rules)
