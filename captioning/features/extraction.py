"""Stage 1: pictures through the encoder into the features file, in pieces that survive a kill."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from tqdm import tqdm

from captioning.cli import UserError
from captioning.encoders.encoder import Encoder, NotFinite
from captioning.features.files import write_features
from captioning.files import atomic_path, sole_writer, write_json
from captioning.images.reading import UnreadableImage, decode_batches
from captioning.images.views import view as square_of

GROUP = 4  # batches in a part file: what a killed run loses at most


def extract(
    encoder: Encoder,
    images: Mapping[str, Path],
    output: Path,
    *,
    batch_size: int,
    resume: bool,
    grid: bool = False,
    view: int = 0,
    workers: int | None = None,
) -> dict[str, str]:
    """Write the features of `images` (by `image_id`) to `output`.

    Returns the `image_id`s of what was unreadable, with the reasons.

    The features are vectors, or with `grid` grids in half precision; see `Encoder.encode`. They are
    of the whole pictures, or of another `view` of them; see `captioning.images.views`.

    Finished groups of batches lie in `<output>.parts/` until the file is complete. With `resume`
    those of a killed run are kept, if it was of the same pictures (by path, size and time of each)
    and of the same encoder; it is said if not.

    Raises:
        UserError: more pictures were unreadable than read, or another run writes `output`.
    """
    with sole_writer(output):
        return _extract(encoder, images, output, batch_size, resume, grid, view, workers)


def _extract(
    encoder: Encoder, images: Mapping[str, Path], output: Path,
    batch_size: int, resume: bool, grid: bool, view: int, workers: int | None,
) -> dict[str, str]:  # fmt: skip
    parts = Path(f"{output}.parts")
    info = {**encoder.info, "view": view} if view else encoder.info
    plan = {
        **info, "grid": grid, "batch_size": batch_size, "images": sorted(images),
        "pictures_sha256": _digest(images),
    }  # fmt: skip
    before = _read_plan(parts) if resume else {}
    if before != plan:
        if before:
            changed = ", ".join(name for name in plan if before.get(name) != plan[name])
            print(f"{parts}: is of a run with other {changed}; starts again")
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir()
        write_json(parts / "plan.json", plan)

    paths = [images[image_id] for image_id in plan["images"]]
    owner = {path: image_id for image_id, path in images.items()}
    group_size = GROUP * batch_size
    groups = [paths[i : i + group_size] for i in range(0, len(paths), group_size)]
    files = [parts / f"{number:06d}.npz" for number in range(len(groups))]
    # One stream of pictures over all groups still to do: the decoders never wait for a group.
    todo = [number for number, file in enumerate(files) if not file.exists()]
    todo_paths = [path for number in todo for path in groups[number]]
    stream = decode_batches(
        todo_paths, encoder.preprocessing.size, batch_size, workers,
        square_of=lambda path: square_of(view, path.name, encoder.preprocessing.square),
    )  # fmt: skip
    done = len(paths) - sum(len(groups[number]) for number in todo)
    with tqdm(total=len(paths), initial=done, unit="image", desc=encoder.info["encoder"]) as bar:
        size = min(batch_size, len(paths))
        for number in todo:
            count = len(groups[number])
            _extract_group(encoder, stream, owner, files[number], count, size, grid, bar)

    unreadable = {}
    for file in files:
        part = np.load(file)
        unreadable |= zip(part["lost"].tolist(), part["reasons"].tolist(), strict=True)
    if 2 * len(unreadable) > len(paths):
        for file in files:  # so that --resume reads them again, once they can be read
            if len(np.load(file)["lost"]):
                file.unlink()
        raise UserError(
            f"{len(unreadable)} of {len(paths)} pictures could not be read, "
            f"the first: {next(iter(unreadable.values()))}"
        )
    rows = len(paths) - len(unreadable)
    write_features(output, _parts(files), info, rows=rows)
    shutil.rmtree(parts)
    return unreadable


def _digest(images: Mapping[str, Path]) -> str:
    """What tells other pictures, or changed ones, from these."""
    digest = hashlib.sha256()
    for image_id in sorted(images):
        line = [image_id, os.path.realpath(images[image_id])]
        with contextlib.suppress(OSError):  # a picture that is not there will be named later
            status = os.stat(images[image_id])
            line += [str(status.st_size), str(status.st_mtime_ns)]
        digest.update("\0".join([*line, "\n"]).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _extract_group(
    encoder,
    stream,
    owner: Mapping[Path, str],
    file: Path,
    count: int,
    batch_size: int,
    grid: bool,
    bar: tqdm,
) -> None:
    ids: list[str] = []
    rows: list[np.ndarray] = []
    unreadable: list[UnreadableImage] = []
    while count > 0:
        paths, pixels, errors = next(stream)
        if paths:
            try:
                rows.append(encoder.encode(pixels, batch_size, grid=grid))
            except NotFinite as error:
                raise UserError(f"{paths[error.row]}: {error}") from error
        ids += [owner[path] for path in paths]
        unreadable += errors
        count -= len(paths) + len(errors)
        bar.update(len(paths) + len(errors))
    with atomic_path(file) as temporary:
        np.savez(
            temporary,
            ids=np.array(ids, str),
            features=np.concatenate(rows or [np.empty(0)]),
            lost=np.array([owner[error.path] for error in unreadable], str),
            reasons=np.array([str(error) for error in unreadable], str),
        )


def _parts(files: list[Path]) -> Iterator[tuple[list[str], np.ndarray]]:
    for file in files:
        part = np.load(file)
        if len(part["ids"]):
            yield part["ids"].tolist(), part["features"]


def _read_plan(parts: Path) -> dict:
    try:
        return json.loads((parts / "plan.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
