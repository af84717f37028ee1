"""`.keras` files that were tampered with."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py

WEIGHTS = "model.weights.h5"


def tampered(
    source: Path,
    target: Path,
    *,
    config: Callable[[dict], None] = lambda _: None,
    weights: Callable[[h5py.File], None] | None = None,
    extra: dict[str, bytes] | None = None,
) -> Path:
    """A copy of a `.keras` file with its description, its weights or its members changed."""
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    described = json.loads(members["config.json"])
    config(described)
    members["config.json"] = json.dumps(described).encode()
    if weights is not None:
        buffer = io.BytesIO(members[WEIGHTS])
        with h5py.File(buffer, "r+") as file:
            weights(file)
        members[WEIGHTS] = buffer.getvalue()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (members | (extra or {})).items():
            archive.writestr(name, content)
    return target
