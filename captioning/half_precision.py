"""Weights in half precision, for files that ship: half the size, and the same captions.

python -m captioning.half_precision checkpoints/best_model.keras Pre-trained/model.keras
"""

import io
import zipfile
from pathlib import Path

import h5py

from captioning.cli import ArgumentParser, import_keras, run
from captioning.files import atomic_path, existing_file

_WEIGHTS = "model.weights.h5"  # inside a .keras file


def halve_model(source: str | Path, target: str | Path) -> None:
    """Copy a `.keras` file with its weights in half precision; Keras loads them as float32."""
    from captioning.encoders.weights import half_copy  # which imports Keras

    with (
        atomic_path(target) as temporary,
        zipfile.ZipFile(source) as whole,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as halved,
    ):
        for name in whole.namelist():
            content = whole.read(name)
            if name == _WEIGHTS:
                buffer = io.BytesIO()
                with h5py.File(io.BytesIO(content)) as full, h5py.File(buffer, "w") as half:
                    half_copy(full, half)
                content = buffer.getvalue()
            halved.writestr(name, content)


def main() -> None:
    parser = ArgumentParser("Copy a model with its weights in half precision.")
    parser.add_argument("source", help="a .keras file")
    parser.add_argument("target", help="the .keras file to write")
    args = parser.parse_args()
    import_keras()
    from captioning.captioners.loading import load_captioner

    load_captioner(existing_file(args.source, "model"))  # which refuses what is no decoder of ours
    halve_model(args.source, args.target)


if __name__ == "__main__":
    run(main)
