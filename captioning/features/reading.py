"""Image features by `image_id`, from one file or from a folder of shards."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from captioning.cli import UserError, report_skipped
from captioning.features.files import read_file
from captioning.features.stored_rows import JoinedRows, StoredRows
from captioning.files import existing_file, find_artifact

Matrix = np.ndarray | StoredRows | JoinedRows


class Features(Mapping[str, np.ndarray]):
    """Image features by `image_id`, and what is known of their origin.

    `matrix` holds a float32 vector an image, (N, D), or a float16 grid of L vectors, (N, L, D). It
    is an array, or stays in its file or files: only what it is indexed with is read.
    """

    def __init__(self, ids: Sequence[str], matrix: Matrix, info: dict[str, Any]) -> None:
        self.matrix = matrix
        self.info = info
        self.row = {image_id: number for number, image_id in enumerate(ids)}

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

    @property
    def origin(self) -> dict[str, Any]:
        """Shape, encoder, weights and preprocessing: what features for one model have in common."""
        known = ("encoder", "weights_sha256", "preprocessing")
        return {"shape": list(self.shape), **{name: self.info.get(name) for name in known}}

    def rows(self, image_ids: Iterable[str]) -> np.ndarray:
        """Row numbers of these images in `matrix`, int32."""
        return np.array([self.row[image_id] for image_id in image_ids], dtype=np.int32)

    def of(self, image_ids: Iterable[str]) -> "Rows":
        """The features of these images, in this order, read when they are sliced."""
        return Rows(self.matrix, self.rows(image_ids))


class Rows:
    """Some rows of a matrix; a slice of them is an array, which is read from the matrix then."""

    def __init__(self, matrix: Matrix, numbers: np.ndarray) -> None:
        self.matrix, self.numbers = matrix, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, part: slice) -> np.ndarray:
        return self.matrix[self.numbers[part]]


def read_features(path: str | Path) -> Features:
    """Read features, ours or the original pipeline's: a `.pkl` or `.h5` file, or all its shards.

    Raises:
        UserError: no such file, a hostile or damaged one, rows of different widths, or shards that
            are missing or do not belong together.
    """
    if Path(path).is_dir():
        return _read_shards(Path(path))
    path = existing_file(path, "features file", "make it with 1_data_preprocessor.py")
    return Features(*read_file(path))


def find_features(grid: bool) -> Path:
    """The features file here, else in `Pre-trained/`, for a model that takes grids, or vectors.

    Grids are only in `.h5` files, vectors in either kind.
    """
    names = ("features.h5", "features.pkl") if grid else ("features.pkl", "features.h5")
    return find_artifact(names[0]) or find_artifact(names[1]) or Path(names[0])


def shard_path(folder: str | Path, number: int, count: int) -> Path:
    """Where shard `number` (from 1) of `count` of the features in `folder` lies."""
    return Path(folder) / f"shard-{number:05d}-of-{count:05d}.h5"


def _read_shards(folder: Path) -> Features:
    found = sorted(folder.glob("shard-*-of-*.h5"))
    counts = {int(number) for path in found for number in re.findall(r"-of-(\d+)\.h5$", path.name)}
    if len(counts) != 1:
        raise UserError(
            f"{folder}: holds shards of features split in different ways; keep those of one"
            if counts
            else f"{folder}: holds no shards of features; make them with "
            "1_data_preprocessor.py --shard"
        )
    [count] = counts
    paths = [shard_path(folder, number, count) for number in range(1, len(found) + 1)]
    if count != len(found) or paths != found:
        there = set(found)
        missing = next((path.name for path in paths if path not in there), "the last ones")
        raise UserError(f"{folder}: of {count} shards there are {len(found)}; missing: {missing}")
    ids: list[str] = []
    parts, infos = [], []
    for path in paths:
        more, matrix, info = read_file(path)
        ids += more
        parts.append(matrix)
        infos.append(info)
        if info != infos[0] or matrix.shape[1:] != parts[0].shape[1:]:
            raise UserError(f"{path}: was made by another encoder than {paths[0]}")
    if len(set(ids)) < len(ids):
        raise UserError(f"{folder}: some image is in several shards; extract the features again")
    return Features(ids, JoinedRows(parts), infos[0])


def read_views(paths: Sequence[str | Path], features: Features, main: str | Path) -> list[Features]:
    """Views of the pictures of `features`, which are from the file `main`.

    Raises:
        UserError: a file holds no view, or one of other pictures or by another encoder.
    """
    known = ["encoder", "weights_sha256"]
    if "preprocessing" in features.info:
        known.append("preprocessing")
    views = []
    for path in paths:
        view = read_features(path)
        if view.shape != features.shape or any(
            view.info.get(name) != features.info.get(name) for name in known
        ):
            raise UserError(f"{path}: was made by another encoder, or in another way, than {main}")
        if not view.info.get("view"):
            raise UserError(
                f"{path}: holds features of whole pictures; make a view of them with "
                "1_data_preprocessor.py --view 1"
            )
        lacking = [image_id for image_id in features if image_id not in view]
        if len(lacking) == len(features):
            raise UserError(f"{path}: holds none of the pictures of {main}")
        report_skipped(f"pictures that {path} lacks, which are seen whole", lacking)
        views.append(view)
    return views


def check_replaceable(path: str | Path, view: int) -> None:
    """Refuse to write a `view` of the pictures where the features of whole ones lie.

    Raises:
        UserError: it is so.
    """
    if view and Path(path).is_file() and not read_features(path).info.get("view"):
        raise UserError(
            f"{path}: holds features of whole pictures, which a view should not replace; give "
            "another name with --features"
        )


def check_kind(features: Features, path: str | Path, *, grid: bool, reader: str) -> None:
    """Refuse vectors where `reader`, a model or decoder, looks at grids, and the other way round.

    A view of the pictures is refused in either case.

    Raises:
        UserError: it is so; the message says which file to make.
    """
    if features.info.get("view"):
        raise UserError(
            f"{path}: holds features of parts of the pictures (--view), which only training takes, "
            "beside those of whole pictures: with --views"
        )
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
