"""The features file: HDF5, whose rows are read when asked for, or the original's pickle."""

import json
import pickle
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from captioning.cli import UserError, in_file
from captioning.features.stored_rows import StoredRows
from captioning.files import atomic_path, plain_entries
from captioning.untrusted.pickles import load_pickles

Parts = Iterable[tuple[Sequence[str], np.ndarray]]  # ids and their rows (n, ...)
BLOCK = 4096  # vectors that are looked at together


def write_features(path: str | Path, parts: Parts, info: dict[str, Any], *, rows: int) -> None:
    """Write features given in parts, which have `rows` rows together.

    `.pkl` is the original pipeline's format, `dict[image_id, float32 (1, D)]`. `.h5` holds the
    datasets `image_id` and `features`, of vectors or grids, written part by part. The record of
    their origin, `info`, is inside either, so that none is without, and a copy has it, too.
    """
    with atomic_path(path) as temporary:
        if is_hdf5(path):
            _write_h5(temporary, parts, info, rows)
        else:
            _write_pickle(temporary, parts, info)


def is_hdf5(path: str | Path) -> bool:
    """Whether the name of a features file says HDF5."""
    return Path(path).suffix in (".h5", ".hdf5")


def _write_pickle(path: Path, parts: Parts, info: dict[str, Any]) -> None:
    """The record is a second pickle behind the first, which is all that the original reads."""
    vectors = {}
    for ids, matrix in parts:
        vectors.update(zip(ids, matrix.astype(np.float32)[:, None, :], strict=True))
    with open(path, "wb") as file:
        pickle.dump(vectors, file, protocol=4)
        pickle.dump(info, file, protocol=4)


def _write_h5(path: Path, parts: Parts, info: dict[str, Any], rows: int) -> None:
    """One dataset in one piece of the file, so that rows can be read from where they lie."""
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["info"] = json.dumps(info)
        names: list[bytes] = []
        for ids, matrix in parts:
            data = file.require_dataset("features", (rows, *matrix.shape[1:]), matrix.dtype)
            data[len(names) : len(names) + len(ids)] = matrix
            names += [image_id.encode() for image_id in ids]
        # Of one length: the library stumbles over damage in strings that each have their own.
        length = max(map(len, names), default=1)
        file.create_dataset("image_id", data=names, dtype=h5py.string_dtype("utf-8", length))


def read_file(path: Path) -> tuple[list[str], np.ndarray | StoredRows, dict[str, Any]]:
    """Image ids, features and the record of their origin, from a file of either format.

    Raises:
        UserError: a hostile or damaged file, none in it, or rows of different widths.
    """
    ids, matrix, info = _read_h5(path) if is_hdf5(path) else _read_pickle(path)
    if not ids:
        raise UserError(f"{path}: holds no features")
    blocks = range(0, len(matrix), BLOCK) if matrix.ndim == 2 else ()
    if not all(np.isfinite(matrix[first : first + BLOCK]).all() for first in blocks):
        raise UserError(f"{path}: holds numbers that are not finite; extract the features again")
    return ids, matrix, plain_entries(info)


def _read_pickle(path: Path) -> tuple[list[str], np.ndarray, Any]:
    rows, *records = load_pickles(path, most=2)
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
    return list(rows), np.array(vectors, dtype=np.float32), records[0] if records else {}


def _read_h5(path: Path) -> tuple[list[str], np.ndarray | StoredRows, Any]:
    from captioning.untrusted.hdf5 import open_hdf5

    what = "not a features file (HDF5 with 'image_id' and 'features'), or damaged"
    with open_hdf5(path) as file, in_file(path, what):
        ids = _read_ids(file["image_id"], path.stat().st_size)
        data, info = file["features"], json.loads(file.attrs.get("info", "{}"))
        if data.ndim not in (2, 3) or len(data) != len(ids) or data.dtype.kind != "f":
            raise UserError("'features' is not a vector, or a grid of vectors, for each 'image_id'")
        dtype = np.float32 if data.ndim == 2 else data.dtype
        offset = data.id.get_offset()
        if ids and offset is not None:
            return ids, StoredRows(path, offset, data.shape, data.dtype, dtype), info
        if data.ndim == 2:  # compressed or in chunks: somebody else's
            return ids, data[:].astype(dtype), info
        raise UserError(
            "its grids are empty, compressed or in chunks, and cannot be read one by one; make it "
            "with 1_data_preprocessor.py --grid"
        )


def _read_ids(names, most: int) -> list[str]:
    """All ids, a few at a time: strings of variable length can share their bytes without bound."""
    ids: list[str] = []
    for first in range(0, len(names), 64):
        part = names[first : first + 64].tolist()
        most -= sum(map(len, part))
        if most < 0:
            raise ValueError("more ids than the file has bytes")
        ids += [image_id.decode() for image_id in part]
    return ids
