"""`.keras` files and weights that were tampered with: refused before Keras builds anything."""

from collections.abc import Callable
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras.src.backend.common import global_state

from captioning.captioners.loading import load_captioner
from captioning.cli import UserError
from captioning.decoders.merge import MergeDecoder
from tests.decoder_tools import tiny
from tests.keras_files import WEIGHTS, tampered

WORDS = ["startseq", "endseq", "dog"]


@pytest.fixture(scope="module")
def model_file(tmp_path_factory) -> Path:
    """A decoder of 3 words, compiled as Keras saves it in the middle of a training."""
    path = tmp_path_factory.mktemp("model") / "model.keras"
    model = MergeDecoder(4, WORDS, 5, "ptb", {"encoder": "x"}, units=8)
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


@pytest.fixture
def described(model_file, tmp_path) -> Callable[..., Path]:
    """A copy of the decoder's file with other arguments in its description."""
    evil = tmp_path / "evil.keras"
    return lambda **changes: tampered(
        model_file, evil, config=lambda config: config["config"].update(changes)
    )


def test_an_untampered_copy_loads(described):
    assert load_captioner(described()).vocabulary.words == tuple(WORDS)


# What the advisories are about; the right column is what a file would have to name for it.
def named(module: str, class_name: str, config: object, **more) -> dict:
    return {"module": module, "class_name": class_name, "config": config, **more}


LAMBDA = named("", "__lambda__", {"code": "", "defaults": None, "closure": None})
OURS, KERAS = {"registered_name": "captioning>Nothing"}, "keras.layers"
FOREIGN = {
    "CVE-2025-1550": named("os", "system", {"command": "true"}),
    "CVE-2025-8747": named("keras.utils", "get_file", {"origin": "x"}),
    "CVE-2025-9906": named("keras.config", "function", "enable_unsafe_deserialization"),
    "CVE-2025-49655": named(KERAS, "TorchModuleWrapper", {}),
    "CVE-2025-12058": named(KERAS, "StringLookup", {"vocabulary": "/x"}, registered_name=None),
    "CVE-2026-1462": named(KERAS, "TFSMLayer", {"filepath": "saved_model"}),
    "CVE-2026-12481": named(KERAS, "Lambda", {"function": LAMBDA}),
    "an optimizer": named("keras.optimizers", "AdamW", {}),
    "another's class under a name of ours": named("keras.utils", "get_file", {}, **OURS),
    "a lambda alone": {"class_name": "__lambda__", "config": {"value": ""}},
    "a type of TensorFlow": named("tensorflow", "__typespec__", [], spec_name="TensorSpec"),
    "data types in the name of ours": named("keras", "DTypePolicy", {}, **OURS),
}


@pytest.mark.parametrize("advisory", FOREIGN)
def test_a_name_of_foreign_code_is_refused(advisory, described, no_keras):
    with pytest.raises(UserError, match=r"evil\.keras: refused, because it names '"):
        load_captioner(described(dtype=FOREIGN[advisory]))


EVIL = FOREIGN["CVE-2025-1550"]
HIDDEN = named("keras", "DTypePolicy", {"name": EVIL}, registered_name=None)


@pytest.mark.parametrize(
    "changes", [{"encoder": {"encoder": EVIL}}, {"words": [[EVIL]]}, {"dtype": HIDDEN}]
)
def test_foreign_code_is_found_anywhere_in_the_description(changes, described, no_keras):
    with pytest.raises(UserError, match=r"evil\.keras: refused, because it names 'os.system'"):
        load_captioner(described(**changes))


def test_how_a_model_was_compiled_is_not_looked_at(model_file, tmp_path):
    evil = tmp_path / "evil.keras"
    tampered(model_file, evil, config=lambda config: config.update(compile_config=EVIL))
    assert not load_captioner(evil).compiled


@pytest.mark.parametrize("change", [{"class_name": "__numpy__"}, {"registered_name": None}])
def test_what_is_not_called_a_decoder_is_refused(change, model_file, tmp_path, no_keras):
    path = tmp_path / "evil.keras"
    tampered(model_file, path, config=lambda config: config.update(change))
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


@pytest.fixture(scope="module", params=["attention", "transformer"])
def grid_file(request, tmp_path_factory) -> Path:
    """A decoder that looks at a grid."""
    path = tmp_path_factory.mktemp("grid") / "grid.keras"
    tiny(request.param, WORDS, 5, tied=True).save(path)
    assert load_captioner(path).feature_shape == (4, 5)
    return path


@pytest.mark.parametrize(
    "change", [{"units": 10**9}, {"width": 10**5}, {"feature_size": 10**9}, {"depth": 10**9}]
)
def test_a_grid_decoder_larger_than_its_weights_is_refused(grid_file, change, tmp_path):
    path = tmp_path / "evil.keras"
    tampered(grid_file, path, config=lambda config: config["config"].update(change))
    with pytest.raises(UserError, match=r"evil\.keras: (refused, because|not the file of)"):
        load_captioner(path)


EXTERNAL = {"shape": (8,), "external": [("/etc/hostname", 0, 32)]}  # CVE-2026-1669
CLAIMING = {"shape": (2**50,), "chunks": (1024,)}  # CVE-2026-0897


@pytest.mark.parametrize("how, reason", [(EXTERNAL, "lie in other files"), (CLAIMING, "claims")])
def test_weights_that_point_out_of_the_file_are_refused(
    how, reason, model_file, tmp_path, no_keras
):
    def change(file: h5py.File) -> None:
        del file["image_dense/vars/1"]
        file.create_dataset("image_dense/vars/1", dtype="f4", **how)

    path = tampered(model_file, tmp_path / "evil.keras", weights=change)
    with pytest.raises(UserError, match=rf"evil\.keras: refused, because .*{reason}"):
        load_captioner(path)


@pytest.mark.parametrize("changes", [{"units": 100_000}, {"feature_size": 10**12}, {"units": 9}])
def test_a_network_larger_than_its_weights_is_refused(changes, described, no_keras):
    with pytest.raises(UserError, match=r"its network has \d+ numbers and it holds \d+"):
        load_captioner(described(**changes))
    # Keras gives values to all variables that wait for them, here 320 GB, when it next may.
    assert not global_state.get_global_attribute("uninitialized_variables")


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"max_length": 10**9}, "max_length is 1000000000"),
        ({"max_length": "5"}, "max_length is '5'"),
        ({"words": ["dog"]}, "vocabulary lacks"),
        ({"units": "eight"}, "not the file of a caption decoder"),
        ({"surprise": 1}, "not the file of a caption decoder"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(changes, reason, described, no_keras):
    with pytest.raises(UserError, match=rf"evil\.keras: .*{reason}"):
        load_captioner(described(**changes))


@pytest.mark.parametrize(
    "record, kept", [({"weights": ["a"], "encoder": "x"}, {"encoder": "x"}), (7, {})]
)
def test_of_the_record_of_the_encoder_text_and_numbers_are_kept(record, kept, described):
    assert load_captioner(described(encoder=record)).encoder == kept


def test_a_decoder_whose_weights_are_not_finite_is_refused(model_file, tmp_path):
    def spoil(file: h5py.File) -> None:
        file["image_dense/vars/0"][0, 0] = np.nan

    path = tampered(model_file, tmp_path / "diverged.keras", weights=spoil)
    with pytest.raises(UserError, match=r"diverged\.keras: its weights are not finite"):
        load_captioner(path)
