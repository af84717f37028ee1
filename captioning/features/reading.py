"""Image features by `image_id`, from one file or from a folder of shards."""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from captioning.cli import UserError, first_ten, report_skipped
from captioning.features.files import is_hdf5, read_file
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

    def __contains__(self, image_id: object) -> bool:
        return image_id in self.row  # a Mapping's own would read the features

    def __iter__(self) -> Iterator[str]:
        return iter(self.row)

    def __len__(self) -> int:
        return len(self.row)

    @property
    def shape(self) -> tuple[int, ...]:
        """(D,) where an image has a vector, (L, D) where it has a grid of L vectors."""
        return self.matrix.shape[1:]

    @property
    def origin(self) -> dict[str, Any]:
        """Shape, encoder, weights and preprocessing: what features for one model have in common."""
        known = ("encoder", "weights_sha256", "preprocessing")
        return {"shape": list(self.shape), **{name: self.info.get(name) for name in known}}

    def of(self, image_ids: Iterable[str]) -> "Rows":
        """The features of these images, in this order."""
        return Rows(self.matrix, np.array([self.row[image_id] for image_id in image_ids], np.int32))


class Rows:
    """Some rows of a matrix, which are read when they are sliced."""

    def __init__(self, matrix: Matrix, numbers: np.ndarray) -> None:
        self.matrix, self.numbers = matrix, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, part: slice) -> np.ndarray:
        return self.matrix[self.numbers[part]]


def read_features(path: str | Path, command: str | None = None) -> Features:
    """Read features, ours or the original pipeline's: a `.pkl` or `.h5` file, or all its shards.

    `command` is told where there is no such file; see `extraction_command`.

    Raises:
        UserError: no such file, a hostile or damaged one, rows of different widths, or shards that
            are missing or do not belong together.
    """
    path = Path(path)
    if path.is_dir():
        return _read_shards(path)
    command = command or extraction_command({}, grid=is_hdf5(path))
    return Features(*read_file(existing_file(path, "features file", f"make it with: {command}")))


def find_features(grid: bool) -> Path:
    """The features file here, else in `Pre-trained/`, for a model that takes grids, or vectors.

    Grids are only in `.h5` files, vectors in either kind.
    """
    names = ("features.h5", "features.pkl") if grid else ("features.pkl", "features.h5")
    return find_artifact(names[0]) or find_artifact(names[1]) or Path(names[0])


def extraction_command(encoder: Mapping[str, Any], *, grid: bool) -> str:
    """The command of stage 1 that makes features by the encoder that a record names.

    A record may come from a stranger: what it holds is quoted.
    """
    options = ["--grid"] if grid else []
    if encoder.get("encoder"):
        options += ["--encoder", encoder["encoder"]]
    weights = str(encoder.get("weights") or "")
    if seeded := re.fullmatch(r"random, seed (\d+)", weights):
        options += ["--seed", seeded[1]]
    elif weights and weights != "supervised":
        name = Path(weights).name
        options += ["--weights", encoder.get("weights_name") or find_artifact(name) or name]
    if "partial_seed" in encoder:
        options += ["--partial-weights", "--seed", encoder["partial_seed"]]
    if encoder.get("preprocessing"):
        options += ["--preprocessing", encoder["preprocessing"]]
    return f"python 1_data_preprocessor.py --only features {shlex.join(map(str, options))}".strip()


def shard_path(folder: str | Path, number: int, count: int) -> Path:
    """Where shard `number` (from 1) of `count` of the features in `folder` lies."""
    return Path(folder) / f"shard-{number:05d}-of-{count:05d}.h5"


def _read_shards(folder: Path) -> Features:
    paths = sorted(folder.glob("shard-*.h5"))
    count = len(paths)
    if not paths or paths != [shard_path(folder, n, count) for n in range(1, count + 1)]:
        raise UserError(
            f"{folder}: does not hold all shards of one collection, but "
            f"{first_ten([path.name for path in paths]) or 'none'}; make them with "
            "1_data_preprocessor.py --shard 1/N to N/N"
        )
    ids_of_shards, matrices, infos = zip(*map(read_file, paths), strict=True)
    for path, matrix, info in zip(paths, matrices, infos, strict=True):
        if info != infos[0] or matrix.shape[1:] != matrices[0].shape[1:]:
            raise UserError(f"{path}: was made by another encoder than {paths[0]}")
    ids = list(chain.from_iterable(ids_of_shards))
    if len(set(ids)) < len(ids):
        raise UserError(f"{folder}: some image is in several shards; extract the features again")
    return Features(ids, JoinedRows(matrices), infos[0])


def read_views(paths: Sequence[str | Path], features: Features, main: str | Path) -> list[Features]:
    """Views of the pictures of `features`, which are from the file `main`.

    Raises:
        UserError: a file holds no view, or one of other pictures or by another encoder.
    """
    command = f"{extraction_command(features.info, grid=len(features.shape) == 2)} --view 1"
    views = []
    for path in paths:
        view = read_features(path, command)
        if view.origin != features.origin:
            raise UserError(
                f"{path}: was made by another encoder, or in another way, than {main}; make it "
                f"with: {command}"
            )
        if not view.info.get("view"):
            raise UserError(f"{path}: holds features of whole pictures; make it with: {command}")
        lacking = [image_id for image_id in features if image_id not in view]
        if len(lacking) == len(features):
            raise UserError(f"{path}: holds none of the pictures of {main}")
        report_skipped(f"pictures that {path} lacks, which are seen whole", lacking)
        views.append(view)
    return views


def check_kind(
    features: Features,
    path: str | Path,
    *,
    grid: bool,
    reader: str,
    encoder: Mapping[str, Any] | None = None,
) -> None:
    """Raise a `UserError` for features that `reader`, a model or decoder, does not take.

    That is vectors where it looks at grids (`grid`), grids where not, or a view of the pictures.
    `encoder` is what a model records of its own.
    """
    if features.info.get("view"):
        raise UserError(
            f"{path}: holds features of parts of the pictures (--view), which only training takes, "
            "beside those of whole pictures: with --views"
        )
    if grid != (len(features.shape) == 2):
        kinds = ("a grid of vectors", "one vector")
        raise UserError(
            f"{path}: holds {kinds[grid]} a picture, but {reader} takes {kinds[not grid]}; make "
            f"that with: {extraction_command(encoder or features.info, grid=grid)}"
        )
