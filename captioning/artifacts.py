"""The hand-off files between the stages: features, descriptions and the tokenizer."""

import json
import pickle
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from captioning.cli import UserError
from captioning.datasets import read_text
from captioning.files import (
    atomic_path,
    existing_file,
    plain_entries,
    read_info,
    write_info,
    write_text,
)
from captioning.safe_pickle import KerasTokenizer, load_pickle
from captioning.text import END, START, TEXT_RULES, Vocabulary

LONGEST_CAPTION = 10_000  # words that a model or a tokenizer may claim

# ---- features --------------------------------------------------------------------------------


class Features(Mapping[str, np.ndarray]):
    """Image features by `image_id`, and what is known of their origin.

    `matrix` holds a float32 vector an image, (N, D), or a float16 grid of L vectors, (N, L, D).
    Grids lie in their file, and only what is taken of them is read.
    """

    def __init__(self, ids: Sequence[str], matrix: np.ndarray, info: dict[str, Any]) -> None:
        self.matrix = matrix
        self.info = info
        self.row = {one: number for number, one in enumerate(ids)}

    def __getitem__(self, image_id: str) -> np.ndarray:
        return self.matrix[self.row[image_id]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.row)

    def __len__(self) -> int:
        return len(self.row)

    @property
    def width(self) -> int:
        """Length D of a feature vector."""
        return self.matrix.shape[-1]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of an image's features: (D,) for a vector, (L, D) for a grid of L vectors."""
        return self.matrix.shape[1:]

    def rows(self, image_ids: Iterable[str]) -> np.ndarray:
        """Row numbers of these images in `matrix`, int32."""
        return np.array([self.row[one] for one in image_ids], dtype=np.int32)

    def of(self, image_ids: Iterable[str]) -> "Rows":
        """The features of these images, in this order, read when they are sliced."""
        return Rows(self.matrix, self.rows(image_ids))


class Rows:
    """Some rows of a matrix; a slice of them is an array, which is read from the matrix then."""

    def __init__(self, matrix: np.ndarray, numbers: np.ndarray) -> None:
        self.matrix, self.numbers = matrix, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, part: slice) -> np.ndarray:
        return self.matrix[self.numbers[part]]


def write_features(
    path: str | Path,
    parts: Iterable[tuple[Sequence[str], np.ndarray]],
    info: dict[str, Any],
    *,
    rows: int,
) -> None:
    """Write features given as parts of (ids, array (n, ...)), which have `rows` rows together.

    `.pkl` is the original pipeline's format, `dict[image_id, float32 (1, D)]`. `.h5` holds the
    datasets `image_id` and `features`, of vectors or grids, written part by part.
    """
    hdf5 = _is_hdf5(path)
    with atomic_path(path) as temporary:
        if hdf5:
            _write_h5(temporary, parts, info, rows)
        else:
            _write_pickle(temporary, parts)
    if not hdf5:
        write_info(path, info)


def _is_hdf5(path: str | Path) -> bool:
    return Path(path).suffix in (".h5", ".hdf5")


def _write_pickle(path: Path, parts: Iterable[tuple[Sequence[str], np.ndarray]]) -> None:
    rows = {}
    for ids, matrix in parts:
        rows.update(zip(ids, matrix.astype(np.float32)[:, None, :], strict=True))
    with open(path, "wb") as file:
        pickle.dump(rows, file, protocol=4)


def _write_h5(path: Path, parts, info: dict[str, Any], rows: int) -> None:
    """One dataset in one piece of the file, so that it can be mapped into memory as it lies.

    The record of the origin is inside: a file of gigabytes is not read whole for its digest.
    """
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["info"] = json.dumps(info)
        names: list[bytes] = []
        data = None
        for ids, matrix in parts:
            if data is None:
                data = file.create_dataset("features", (rows, *matrix.shape[1:]), matrix.dtype)
            data[len(names) : len(names) + len(ids)] = matrix
            names += [one.encode() for one in ids]
        # Of one length: the library stumbles over damage in strings that each have their own.
        length = max(map(len, names), default=1)
        file.create_dataset("image_id", data=names, dtype=h5py.string_dtype("utf-8", length))


def read_features(path: str | Path) -> Features:
    """Read pooled features, ours or the original pipeline's, `.pkl` or `.h5`, or open a grid's.

    Raises:
        UserError: no such file, a hostile or damaged one, or rows of different widths.
    """
    path = existing_file(path, "features file", "make it with 1_data_preprocessor.py")
    if _is_hdf5(path):
        ids, matrix, info = _read_h5(path)
    else:
        ids, matrix = _read_pickle(path)
        info = read_info(path)
    if not ids:
        raise UserError(f"{path}: holds no features")
    if matrix.ndim == 2 and not np.isfinite(matrix).all():
        raise UserError(f"{path}: holds numbers that are not finite; extract the features again")
    return Features(ids, matrix, info)


def _read_pickle(path: Path) -> tuple[list[str], np.ndarray]:
    rows = load_pickle(path)
    if not isinstance(rows, dict):
        raise UserError(f"{path}: holds a {type(rows).__name__}, not a dictionary of features")
    vectors = []
    for key, value in rows.items():
        good = isinstance(key, str) and isinstance(value, np.ndarray) and value.dtype.kind == "f"
        if not good or value.size == 0 or value.shape not in ((value.size,), (1, value.size)):
            raise UserError(f"{path}: entry {key!r:.60} is not a feature vector of shape (1, D)")
        vectors.append(value.reshape(-1))
    if len({vector.size for vector in vectors}) > 1:
        raise UserError(f"{path}: holds feature vectors of different widths")
    # Entries may share one array in the file, a million of them one of a million numbers.
    if 4 * sum(vector.size for vector in vectors) > max(4 * path.stat().st_size, 1 << 26):
        raise UserError(f"{path}: its vectors repeat their numbers without bound")
    return list(rows), np.array(vectors, dtype=np.float32)


def _read_h5(path: Path) -> tuple[list[str], np.ndarray, dict[str, Any]]:
    import h5py

    from captioning.hdf5 import check_hdf5

    try:
        with h5py.File(path, "r") as file:
            check_hdf5(file)
            ids = _read_ids(file["image_id"], path.stat().st_size)
            data = file["features"]
            if data.ndim not in (2, 3) or len(data) != len(ids) or data.dtype.kind != "f":
                raise UserError(
                    f"{path}: 'features' is not one vector, or one grid of vectors, for each "
                    "'image_id'"
                )
            if "info" in file.attrs:
                info = plain_entries(json.loads(file.attrs["info"]))
            else:
                info = read_info(path)
            if data.ndim == 2:
                return ids, data[:].astype(np.float32), info
            if not ids or data.id.get_offset() is None:
                raise UserError(
                    f"{path}: its grids are empty, compressed or in chunks, and cannot be mapped "
                    "into memory; make it with 1_data_preprocessor.py --grid"
                )
            place, shape, kind = data.id.get_offset(), data.shape, data.dtype
        # The system reads what is asked for and keeps it while there is room for it.
        return ids, np.asarray(np.memmap(path, kind, "r", place, shape)), info
    except UserError as error:
        raise UserError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
    except Exception as error:  # h5py raises by where in the file it stumbles
        raise UserError(
            f"{path}: not a features file (HDF5 with 'image_id' and 'features')"
        ) from error


def _read_ids(names, most: int) -> list[str]:
    """All ids, a few at a time: strings of variable length can share their bytes without bound.

    Raises:
        ValueError: they have more than `most` bytes.
    """
    ids: list[str] = []
    for first in range(0, len(names), 64):
        part = names[first : first + 64].tolist()
        most -= sum(map(len, part))
        if most < 0:
            raise ValueError
        ids += [one.decode() for one in part]
    return ids


def check_kind(features: Features, path: str | Path, *, grid: bool, reader: str) -> None:
    """Refuse vectors where `reader`, a model or decoder, looks at grids, and the other way round.

    Raises:
        UserError: it is so; the message says which file to make.
    """
    if grid and len(features.shape) == 1:
        raise UserError(
            f"{path}: holds one vector a picture, but {reader} looks at a grid of them; make "
            "features.h5 with 1_data_preprocessor.py --grid, and give it with --features"
        )
    if not grid and len(features.shape) == 2:
        raise UserError(
            f"{path}: holds grids of vectors, but {reader} takes one vector a picture; make "
            "features.pkl with 1_data_preprocessor.py without --grid, and give it with --features"
        )


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
    for line in read_text(path, "descriptions file").split("\n"):
        one, _, caption = line.strip().partition(" ")
        words = [word for word in caption.split() if word not in (START, END)]
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


def read_tokenizer(path: str | Path, max_length: int | None = None) -> Vocabulary:
    """Read `tokenizer.pkl`: ours, or one that pickles Keras 2's `Tokenizer` object.

    The latter does not know the longest caption; `max_length` (the model's) fills it in.

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
    longest = state.get("max_length", max_length)
    if not isinstance(longest, int) or not 2 <= longest <= LONGEST_CAPTION:
        raise UserError(f"{path}: does not say how long a caption gets (max_length)")
    rules = state.get("text_rules")
    known = isinstance(rules, str) and rules in TEXT_RULES
    return Vocabulary(tuple(words), longest, rules if known else "seed")
