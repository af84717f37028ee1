"""`.keras` files and weights that were tampered with: refused before Keras builds anything."""

import copy
import json
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from captioning.captioners.loading import load_captioner
from captioning.captioners.original import load_original
from captioning.captioners.saving import save_half
from captioning.cli import UserError
from captioning.decoders.attention import AttentionDecoder
from captioning.decoders.merge import MergeDecoder
from captioning.decoders.transformer import TransformerDecoder
from captioning.encoders.loading import load_encoder
from captioning.encoders.table import build_network
from captioning.encoders.weights import save_encoder
from tests.keras_files import WEIGHTS, tampered


@pytest.fixture(scope="module")
def model_file(tmp_path_factory) -> Path:
    """A decoder of 3 words, compiled as stage 2 compiles it."""
    path = tmp_path_factory.mktemp("model") / "model.keras"
    model = MergeDecoder(4, ["startseq", "endseq", "dog"], 5, "ptb", {"encoder": "x"}, units=8)
    schedule = keras.optimizers.schedules.CosineDecay(1e-3, 10)
    model.compile(optimizer=keras.optimizers.AdamW(schedule))
    model.save(path)
    return path


@pytest.fixture
def no_keras(monkeypatch):
    """Keras may not get to see the file."""

    def fail(*_, **__):
        raise AssertionError("the file was handed to Keras")

    monkeypatch.setattr(keras.Model, "load_weights", fail)


def test_untampered_files_load(model_file, tmp_path):
    assert load_captioner(model_file).vocabulary.words == ("startseq", "endseq", "dog")
    assert load_captioner(model_file).feature_size > 0
    save_half(load_captioner(model_file), tmp_path / "half.keras")
    load_captioner(tmp_path / "half.keras")
    load_captioner(tampered(model_file, tmp_path / "copy.keras"))


# What the advisories are about; the right column is what a file would have to name for it.
FOREIGN = {
    "CVE-2025-1550": {"module": "os", "class_name": "system", "config": {"command": "true"}},
    "CVE-2025-8747": {"module": "keras.utils", "class_name": "get_file", "config": {"origin": "x"}},
    "CVE-2025-9906": {"module": "keras.config", "class_name": "function",
                      "config": "enable_unsafe_deserialization", "registered_name": "function"},
    "CVE-2025-49655": {"module": "keras.layers", "class_name": "TorchModuleWrapper", "config": {}},
    "CVE-2025-12058": {"module": "keras.layers", "class_name": "StringLookup",
                       "config": {"vocabulary": "/etc/hostname"}, "registered_name": None},
    "CVE-2026-1462": {"module": "keras.layers", "class_name": "TFSMLayer",
                      "config": {"filepath": "saved_model"}},
    "CVE-2026-12481": {"module": "keras.layers", "class_name": "Lambda", "config": {"function": {
        "class_name": "__lambda__", "config": {"code": "", "defaults": None, "closure": None}}}},
    "a lambda in the name of Keras' optimizers": {
        "class_name": "__lambda__", "module": "keras.optimizers", "config": {"value": ""}},
    "a function there": {"class_name": "function", "module": "keras.optimizers", "config": "get"},
    "another's class under a name of ours": {
        "class_name": "get_file", "module": "keras.utils", "config": {"origin": "x"},
        "registered_name": "captioning>Nothing"},
    "an optimizer that Keras would take for another class": {
        "class_name": "AdamW", "module": "keras.optimizers", "config": {},
        "registered_name": "captioning>MergeDecoder"},
    "a lambda alone": {"class_name": "__lambda__", "config": {"value": ""}},
    "a type of TensorFlow": {"class_name": "__typespec__", "spec_name": "TensorSpec", "config": [],
                             "module": "tensorflow", "registered_name": None},
}  # fmt: skip
PLACES = {
    "in an argument": lambda config, evil: config["config"].update(dtype=evil),
    "in the record": lambda config, evil: config["config"]["encoder"].update(encoder=evil),
    "in a list": lambda config, evil: config["config"].update(words=[[evil]]),
    "in an optimizer": lambda config, evil: config["compile_config"]["optimizer"]["config"].update(
        learning_rate=evil),
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("advisory", FOREIGN)
def test_a_name_of_foreign_code_is_refused(advisory, place, model_file, tmp_path, no_keras):
    evil = copy.deepcopy(FOREIGN[advisory])
    path = tampered(
        model_file, tmp_path / "evil.keras", config=lambda config: PLACES[place](config, evil)
    )
    with pytest.raises(UserError, match=r"evil\.keras: refused, because it names '"):
        load_captioner(path)


@pytest.mark.parametrize("change", [{"class_name": "__numpy__"}, {"registered_name": None}])
def test_what_is_not_called_a_decoder_is_refused(change, model_file, tmp_path, no_keras):
    path = tampered(
        model_file, tmp_path / "evil.keras", config=lambda config: config.update(change)
    )
    with pytest.raises(UserError, match=r"evil\.keras: refused, .*not a caption"):
        load_captioner(path)


@pytest.mark.parametrize("name", ["assets/words.txt", "../../evil.txt", "model.weights.npz"])
def test_a_member_that_no_model_of_ours_has_is_refused(model_file, tmp_path, name, no_keras):
    path = tampered(model_file, tmp_path / "evil.keras", extra={name: b"x"})
    with pytest.raises(UserError, match=f"brings a file '{name}'"):
        load_captioner(path)


@pytest.mark.parametrize("name", ["config.json", WEIGHTS])
def test_a_member_that_unpacks_without_bound_is_refused(model_file, tmp_path, name, no_keras):
    path = tampered(model_file, tmp_path / "bomb.keras", extra={name: b" " * (1 << 25)})
    with pytest.raises(UserError, match=f"{name} in it is too large"):
        load_captioner(path)


GRID = {
    "attention": (AttentionDecoder, {"units": 8}),
    "transformer": (TransformerDecoder, {"depth": 2, "heads": 2, "tied": True}),
}


@pytest.fixture(params=GRID)
def grid_file(request, tmp_path) -> Path:
    """A decoder that looks at a grid, compiled as stage 2 compiles it."""
    decoder, sizes = GRID[request.param]
    model = decoder(4, ["startseq", "endseq", "dog"], 5, positions=4, width=8, **sizes)
    model.compile(optimizer=keras.optimizers.AdamW(1e-3, global_clipnorm=1.0))
    model.save(tmp_path / "grid.keras")
    return tmp_path / "grid.keras"


def test_grid_decoders_load(grid_file):
    assert load_captioner(grid_file).feature_shape == (4, 4)
    assert load_captioner(grid_file).grid


@pytest.mark.parametrize(
    "change", [{"positions": 10**12}, {"width": 10**5}, {"feature_size": 10**9}, {"depth": 10**9}]
)
def test_a_grid_decoder_larger_than_its_weights_is_refused(grid_file, change, tmp_path, no_keras):
    path = tampered(
        grid_file, tmp_path / "evil.keras", config=lambda config: config["config"].update(change)
    )
    with pytest.raises(UserError, match=r"evil\.keras: (refused, because|cannot be loaded)"):
        load_captioner(path)


def external(file: h5py.File) -> None:
    """CVE-2026-1669."""
    del file["image_dense/vars/1"]
    file.create_dataset("image_dense/vars/1", (8,), "f4", external=[("/etc/hostname", 0, 32)])


def linked(file: h5py.File) -> None:
    del file["image_dense/vars/1"]
    file["image_dense/vars/1"] = h5py.ExternalLink("/etc/hostname", "/x")


def claiming(file: h5py.File) -> None:
    """CVE-2026-0897."""
    del file["image_dense/vars/1"]
    file.create_dataset("image_dense/vars/1", (2**50,), "f4", chunks=(1024,))


@pytest.mark.parametrize(
    "change, reason",
    [(external, "lie in other files"), (linked, "link to somewhere else"), (claiming, "claims")],
)
def test_weights_that_point_out_of_the_file_are_refused(
    change, reason, model_file, tmp_path, no_keras
):
    path = tampered(model_file, tmp_path / "evil.keras", weights=change)
    with pytest.raises(UserError, match=rf"evil\.keras: refused, because .*{reason}"):
        load_captioner(path)


@pytest.mark.parametrize("changes", [{"units": 100_000}, {"feature_size": 10**12}, {"units": 9}])
def test_a_network_larger_than_its_weights_is_refused(changes, model_file, tmp_path, no_keras):
    path = tampered(
        model_file, tmp_path / "large.keras", config=lambda config: config["config"].update(changes)
    )
    with pytest.raises(UserError, match=r"its network has \d+ numbers and it holds \d+"):
        load_captioner(path)


def test_what_was_counted_of_a_refused_network_is_never_made(model_file, tmp_path):
    path = tampered(
        model_file, tmp_path / "large.keras",
        config=lambda config: config["config"].update(units=100_000),
    )  # fmt: skip
    with pytest.raises(UserError):
        load_captioner(path)
    # Keras gives values to all variables that wait for them, here 40 GB, when it next may.
    with keras.StatelessScope():
        pass


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"max_length": 10**9}, "1000000000 words long"),
        ({"max_length": "5"}, "'5' words long"),
        ({"encoder": {"weights": ["a"]}}, "record of the encoder"),
        ({"encoder": 7}, "damaged"),
        ({"words": []}, "carries no vocabulary"),
        ({"units": "eight"}, "cannot be loaded"),
        ({"surprise": 1}, "cannot be loaded"),
        ({"words": ["dog"]}, "vocabulary lacks"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(changes, reason, model_file, tmp_path, no_keras):
    path = tampered(
        model_file, tmp_path / "odd.keras", config=lambda config: config["config"].update(changes)
    )
    with pytest.raises(UserError, match=rf"odd\.keras: .*{reason}"):
        load_captioner(path)


# ---- weights of encoders, and the original's model -------------------------------------------


@pytest.fixture(scope="module")
def encoder_weights(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("encoder") / "resnet18.weights.h5"
    save_encoder(build_network("resnet18"), path, {"encoder": "resnet18", "image_size": 64})
    return path.read_bytes()


def test_encoder_weights_that_point_out_of_the_file_are_refused(encoder_weights, tmp_path):
    path = tmp_path / "evil.weights.h5"
    path.write_bytes(encoder_weights)
    with h5py.File(path, "r+") as file:
        first = next(name for name in file["layers"] if "batch" in name)
        del file[f"layers/{first}/vars/0"]
        file.create_dataset(
            f"layers/{first}/vars/0", (64,), "f4", external=[("/etc/hostname", 0, 256)]
        )
    with pytest.raises(UserError, match=r"evil\.weights\.h5: refused, because .*other files"):
        load_encoder("resnet18", path)


@pytest.mark.parametrize("size", [10**9, -1, "64", [64], None])
def test_a_recipe_for_pictures_that_cannot_be_is_refused(encoder_weights, tmp_path, size):
    path = tmp_path / "odd.weights.h5"
    path.write_bytes(encoder_weights)
    with h5py.File(path, "r+") as file:
        file.attrs["recipe"] = json.dumps({"encoder": "resnet18", "image_size": size})
    with pytest.raises(UserError, match="which cannot be"):
        load_encoder("resnet18", path)


def original_file(path: Path, units: int, kernel: tuple[int, int]) -> Path:
    """The `.h5` of a merge model that claims `units`, with an LSTM kernel of this shape."""
    layers = [
        ("image", "InputLayer", None, ()), ("prefix", "InputLayer", None, ()),
        ("dropout", "Dropout", "image", ()), ("image_dense", "Dense", "dropout", (4, units)),
        ("embedding", "Embedding", "prefix", (3, units)), ("lstm", "LSTM", "embedding", kernel),
        ("add", "Add", "lstm", ()), ("merge", "Dense", "add", (units, units)),
        ("out", "Dense", "merge", (units, 3)),
    ]  # fmt: skip
    config = [
        {"name": name, "class_name": kind, "config": {"batch_input_shape": [None, 5]},
         "inbound_nodes": [[[source, 0, 0, {}]]] if source else []}
        for name, kind, source, _ in layers
    ]  # fmt: skip
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps({"config": {"layers": config}})
        for name, _, _, shape in layers:
            group = file.create_group(f"model_weights/{name}")
            group.attrs["weight_names"] = ["w"] if shape else np.array([], "S1")
            if shape:
                group.create_dataset("w", shape, "f4", data=np.zeros(shape, np.float32))
    return path


def test_an_original_model_larger_than_its_weights_is_refused(tmp_path):
    """Small matrices can claim many units; the LSTM of so many would have to be in the file."""
    path = original_file(tmp_path / "model.h5", 100, (100, 7))
    with pytest.raises(UserError, match=r"not an \.h5 file of the original"):
        load_original(path, tmp_path / "tokenizer.pkl")
