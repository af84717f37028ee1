"""Stage 1: pictures through the encoder into the features file, in pieces that survive a kill."""

import contextlib
import hashlib
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from captioning.cli import check_most_read
from captioning.encoders.encoder import Encoder
from captioning.features.files import write_features
from captioning.files import atomic_path, read_record, write_json
from captioning.images.reading import decode_batches
from captioning.images.views import view as square_of


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

    The features are vectors, or with `grid` grids in half precision; see `Encoder.encode`. They are
    of the whole pictures, or of another `view` of them; see `captioning.images.views`.

    Finished batches lie in `<output>.parts/` until the file is complete. With `resume` those of a
    killed run are kept, if it was of the same pictures (by path, size and time of each) and of the
    same encoder; it is said if not.

    Returns:
        The `image_id`s of what was unreadable, with the reasons.

    Raises:
        UserError: more pictures were unreadable than read; or as `Encoder.encode`.
    """
    info = {**encoder.info, "view": view} if view else encoder.info
    plan = {**info, "grid": grid, "batch_size": batch_size, "pictures_sha256": _digest(images)}
    plan["form"] = 2  # of the parts
    preprocessing, jobs = encoder.preprocessing, sorted(images.items())
    parts = Path(f"{output}.parts")
    _begin(parts, plan, resume)
    batches = {
        parts / f"{first:09d}.npz": jobs[first : first + batch_size]
        for first in range(0, len(jobs), batch_size)
    }
    # A machine that stops at once may leave a file empty.
    todo = {file: batch for file, batch in batches.items() if not zipfile.is_zipfile(file)}
    waiting = [job for batch in todo.values() for job in batch]
    # One stream of pictures over all batches: those that decode them never wait for one.
    stream = decode_batches(
        waiting,
        preprocessing.size,
        batch_size,
        workers,
        square_of=lambda path: square_of(view, path.name, preprocessing.square),
    )
    done, name = len(jobs) - len(waiting), encoder.info["encoder"]
    with tqdm(total=len(jobs), initial=done, unit="image", desc=name) as bar:
        for file, (ids, pixels, errors) in zip(todo, stream, strict=True):
            features = encoder.encode(pixels, min(batch_size, len(jobs)), grid=grid) if ids else []
            lost = np.array([(error.key, str(error)) for error in errors], str).reshape(-1, 2)
            with atomic_path(file) as temporary:
                np.savez(temporary, ids=np.array(ids, str), features=features, lost=lost)
            bar.update(len(todo[file]))

    unreadable: dict[str, str] = {}
    for file in batches:
        unreadable |= np.load(file)["lost"].tolist()
    if 2 * len(unreadable) > len(jobs):
        for file, batch in batches.items():  # so that --resume reads them again
            if any(image_id in unreadable for image_id, _ in batch):
                file.unlink()
        check_most_read([*unreadable.values()], len(jobs))
    loaded = map(np.load, batches)
    rows = ((part["ids"].tolist(), part["features"]) for part in loaded if part["ids"].size)
    write_features(output, rows, info, rows=len(jobs) - len(unreadable))
    shutil.rmtree(parts)
    return unreadable


def _begin(parts: Path, plan: dict[str, Any], resume: bool) -> None:
    """A folder for the parts: a killed run's, if it is to be resumed and had this plan, or anew."""
    before = read_record(parts / "plan.json") if resume else {}
    if before != plan:
        if before:
            changed = ", ".join(name for name in plan if before.get(name) != plan[name])
            print(f"{parts}: is of a run with other {changed}; starts again")
        shutil.rmtree(parts, ignore_errors=True)
        parts.mkdir()
        write_json(parts / "plan.json", plan)


def _digest(images: Mapping[str, Path]) -> str:
    """What tells other pictures, or changed ones, from these."""
    digest = hashlib.sha256()
    for image_id, path in sorted(images.items()):
        line = [image_id, os.path.realpath(path)]
        with contextlib.suppress(OSError):  # a picture that is not there will be named later
            status = os.stat(path)
            line += [str(status.st_size), str(status.st_mtime_ns)]
        digest.update("\0".join([*line, "\n"]).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
