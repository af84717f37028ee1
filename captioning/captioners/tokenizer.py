"""The tokenizer: which words a model knows, as a hand-off file of plain data."""

import pickle
from pathlib import Path

from captioning.cli import UserError
from captioning.files import atomic_path, existing_file
from captioning.text import TEXT_RULES, Vocabulary
from captioning.untrusted.pickles import load_pickle


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
    rules = state.get("text_rules")
    known = isinstance(rules, str) and rules in TEXT_RULES
    longest = state.get("max_length", max_length)
    try:
        return Vocabulary(tuple(words), longest, rules if known else "original")
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
