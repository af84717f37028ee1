"""Trained captioners from their files, ours (`.keras`) and the original pipeline's (`.h5`)."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from captioning.captioners.original import load_original
from captioning.cli import UserError
from captioning.decoders.base import Decoder
from captioning.decoders.ensemble import Ensemble
from captioning.decoders.table import DECODERS, decoder_class
from captioning.encoders.encoder import Encoder
from captioning.encoders.loading import load_encoder
from captioning.encoders.public import recorded
from captioning.features.reading import Features, check_kind, extraction_command
from captioning.files import PRETRAINED, SHIPPED, existing_file, find_artifact
from captioning.untrusted.keras_files import load_keras_file


def find_captioner() -> Path:
    """The model that stage 2 left in the working folder, else the one in `Pre-trained/`.

    There a model that somebody has added goes before the one that ships.

    Raises:
        UserError: there is none in either place, or several that have been added.
    """
    trained = Path("checkpoints/best_model.keras")
    if trained.is_file():
        return trained
    paths = [*PRETRAINED.glob("model-*.keras"), *PRETRAINED.glob("model-ep*.h5")]
    paths = [path for path in paths if path != SHIPPED] or paths
    if len(paths) != 1:
        raise UserError(
            f"{trained} does not exist, and {PRETRAINED.name}/ holds {len(paths)} models; train "
            "one with 2_train_IC_model.py, or say which with --model"
        )
    return paths[0]


def load_captioner(path: str | Path, tokenizer: str | Path | None = None) -> keras.Model:
    """Load a decoder. Nothing from the file is executed.

    Args:
        tokenizer: the vocabulary of an `.h5` model; by default `tokenizer.pkl` here or in
            `Pre-trained/`. A `.keras` model carries its own.

    Raises:
        UserError: no such file, damaged, not a decoder of this project, or another vocabulary.
    """
    path = existing_file(path, "model", "train one with 2_train_IC_model.py")
    if path.suffix in (".h5", ".hdf5"):
        tokenizer = tokenizer or find_artifact("tokenizer.pkl")
        if tokenizer is None:
            raise UserError(f"{path}: an .h5 model has no vocabulary of its own; give --tokenizer")
        return load_original(path, tokenizer)
    known = {f"captioning>{each.__name__}" for each in (Ensemble, *map(decoder_class, DECODERS))}
    return load_keras_file(path, known=known, kind="caption decoder")


def load_trained(path: str | Path, output: Path) -> Decoder:
    """A decoder of stage 2, of an ensemble the first, to be trained on into `output`/checkpoints.

    Raises:
        UserError: as `load_captioner`; or another file than `.keras`, or overwritten.
    """
    if Path(path).resolve() == (output / "checkpoints" / "best_model.keras").resolve():
        raise UserError(f"{path}: would be overwritten; give another --output-dir")
    if Path(path).suffix != ".keras":
        raise UserError(f"{path}: give a .keras file; one that stage 2 has trained")
    model = load_captioner(path)
    if isinstance(model, Ensemble):
        model = model.first_member()
        print(f"{path}: an ensemble; its first member is trained, an {type(model).__name__}")
    return model


def check_features(model: keras.Model, model_path: Path, features: Features, path: Path) -> None:
    """Raise a `UserError` where the model was trained on other features, as far as records tell.

    That is vectors for grids or the other way round, another size, another encoder, or the same
    encoder with other weights or another preprocessing.
    """
    check_kind(features, path, grid=model.grid, reader=str(model_path), encoder=model.encoder)
    remedy = f"make the right ones with: {extraction_command(model.encoder, grid=model.grid)}"
    if features.shape != model.feature_shape:
        raise UserError(
            f"{path}: features {features.shape}, but {model_path} takes {model.feature_shape}; "
            f"{remedy}"
        )
    if model.encoder.get("encoder") and not features.info.get("encoder"):
        print(
            f"WARNING: {path}: does not say which encoder made it, and {model_path} was trained on "
            f"{_described(model.encoder)}; if the captions make no sense, {remedy}",
            file=sys.stderr,
        )
    check_encoder(model.encoder, model_path, features.info, path, remedy)


def check_encoder(
    trained: Mapping[str, Any],
    model_path: Path,
    used: Mapping[str, Any],
    path: str | Path,
    remedy: str = "extract features with that",
) -> None:
    """Raise a `UserError` where two records are of different encoders, if both are known."""
    for key in ("encoder", "weights_sha256", "preprocessing"):
        if trained.get(key) and used.get(key) and trained[key] != used[key]:
            raise UserError(
                f"{path}: made by {_described(used)}, but {model_path} was trained on "
                f"{_described(trained)}; {remedy}"
            )


def _described(encoder: Mapping[str, Any]) -> str:
    digest = str(encoder.get("weights_sha256") or "none")[:12]
    return (
        f"{encoder.get('encoder')} (weights {encoder.get('weights')}, sha256 {digest}, "
        f"--preprocessing '{encoder.get('preprocessing')}')"
    )


def encoder_of(
    model: keras.Model,
    model_path: Path,
    name: str | None = None,
    weights: str | None = None,
    *,
    dtype: str = "float32",
) -> Encoder:
    """The encoder that made the features `model` was trained on.

    `name` and `weights` stand in for what the model does not record. A weights file that it
    records is looked for beside the model, in the working folder and in `Pre-trained/`; then, if
    it is a public checkpoint of our table, in the cache, and if need be it is fetched.

    Raises:
        UserError: the encoder is not known, its weights are not to be found, or are others.
    """
    record = model.encoder
    name = name or record.get("encoder")
    if name is None:
        raise UserError(
            f"{model_path}: does not record its encoder; give --encoder and --weights "
            f"(its image vectors have {model.feature_size} numbers)"
        )
    file = str(record.get("weights") or "")
    seeded = re.fullmatch(r"random, seed (\d+)", file)
    seed, partial = int(seeded[1]) if seeded else 0, "partial_seed" in record
    if partial and not isinstance(seed := record["partial_seed"], int):  # a stranger's record
        raise UserError(f"{model_path}: its 'partial_seed' is no number")
    if weights is None and record.get("weights_sha256") and file != "supervised" and not seeded:
        beside = model_path.with_name(Path(file).name or "no name")  # a stranger's record
        weights = beside if beside.is_file() else find_artifact(beside.name)
        weights = weights or recorded(record, name)
        if weights is None:
            raise UserError(
                f"{model_path}: was trained on {name} with {file}, which is neither beside it, "
                "nor here, nor in Pre-trained/; give --weights"
            )
    wanted = record.get("preprocessing")
    wanted = None if wanted is None else str(wanted)
    options = {"seed": seed, "partial": partial, "dtype": dtype, "preprocessing": wanted}
    encoder = load_encoder(name, weights, **options)
    check_encoder(record, model_path, encoder.info, weights or name)
    if encoder.width != model.feature_size:
        raise UserError(
            f"{name} gives {encoder.width} numbers a picture, but {model_path} takes "
            f"{model.feature_size}; give the --encoder that it was trained on"
        )
    return encoder
