"""A run in a folder: resumed bit for bit, stopped at a NaN with its state kept."""

import csv
from pathlib import Path

import keras
import numpy as np
import pytest

from captioning.cli import UserError
from captioning.encoders import build_network, load_encoder, read_recipe, save_encoder
from contrastive.methods import build_method, settings_for
from contrastive.probe import CaptionProbe, ClassProbe
from contrastive.training import Run
from tests.pretext_tools import patterns, tiny_encoder, weights_of

GIVEN = {
    "optimizer": "adamw", "learning_rate": 0.01, "weight_decay": None, "temperature": None,
    "momentum": 0.9, "queue_size": 16,
}  # fmt: skip


def make_run(method: str, output: Path, **changes) -> Run:
    """A new run of a tiny encoder: 40 pictures, 5 batches of 8 an epoch, 3 epochs."""
    output.mkdir(exist_ok=True)
    chosen = settings_for(method, batch_size=8, pictures=40, **{**GIVEN, **changes})
    model = build_method(chosen, tiny_encoder(), 16, steps=15, seed=4)
    settings = {**chosen._asdict(), "batch_size": 8, "epochs": 3, "seed": 4, "encoder": "tiny"}
    return Run(model, patterns(40), output, settings, {"encoder": "tiny"}, "tiny.weights.h5")


class Killed(Exception):
    """What stands for a kill between two steps."""


def kill_at(run: Run, step: int, monkeypatch) -> None:
    """Make a run that saves at every step die right after one."""
    saved = run.save_state

    def save_state() -> None:
        saved()
        if run.step >= step:
            raise Killed

    monkeypatch.setattr(run, "save_state", save_state)
    with pytest.raises(Killed):
        run.train(save_minutes=1e-9)


@pytest.mark.parametrize(("method", "step"), [("simclr", 3), ("moco", 3), ("byol", 10)])
def test_resumed_run_equals_an_uninterrupted_one(method, step, tmp_path, monkeypatch):
    whole = make_run(method, tmp_path / "whole")
    whole.train(save_minutes=60)
    kill_at(make_run(method, tmp_path / "killed"), step, monkeypatch)
    resumed = make_run(method, tmp_path / "killed")
    resumed.resume()
    assert resumed.step == step
    resumed.train(save_minutes=60)
    with np.load(whole.state_path) as a, np.load(resumed.state_path) as b:
        for name in set(a.files) - {"record"}:
            np.testing.assert_array_equal(a[name], b[name])
    assert [row["loss"] for row in resumed.history] == pytest.approx(
        [row["loss"] for row in whole.history], rel=1e-5
    )


def test_results_of_a_run(tmp_path):
    run = make_run("simclr", tmp_path)
    run.probe, run.probe_every = (lambda encoder: 0.25), 2
    run.train(save_minutes=60)
    with open(tmp_path / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [row["probe"] for row in rows] == ["", "0.25", "0.25"]
    assert (tmp_path / "history.png").stat().st_size > 1000
    recipe = read_recipe(tmp_path / "tiny.weights.h5")
    assert (recipe["epochs_trained"], recipe["pictures_seen"]) == (3, 120)
    assert not list(tmp_path.glob(".*"))


def test_stop_minutes_stops_in_an_epoch_and_resumes(tmp_path):
    run = make_run("simclr", tmp_path)
    run.train(save_minutes=60, stop_minutes=1e-9)
    assert run.step == 1
    resumed = make_run("simclr", tmp_path)
    resumed.resume()
    resumed.train(save_minutes=60)
    assert resumed.step == 15
    assert len(resumed.history) == 3


def test_nan_stops_and_keeps_the_last_good_state(tmp_path):
    make_run("simclr", tmp_path).train(save_minutes=60, stop_minutes=1e-9)
    before = (tmp_path / "state.npz").read_bytes()
    diverging = make_run("simclr", tmp_path, learning_rate=1e38)
    diverging.resume()
    with pytest.raises(UserError, match="lower --learning-rate"):
        diverging.train(save_minutes=1e-9)
    assert (tmp_path / "state.npz").read_bytes() == before


@pytest.mark.parametrize(
    ("method", "changes", "part"),
    [
        ("moco", {}, "method was simclr, not moco"),
        ("simclr", {"optimizer": "sgd"}, "optimizer was adamw, not sgd"),
    ],
)
def test_another_run_is_not_resumed(method, changes, part, tmp_path):
    make_run("simclr", tmp_path).train(save_minutes=60, stop_minutes=1e-9)
    with pytest.raises(UserError, match=part):
        make_run(method, tmp_path, **changes).resume()


@pytest.mark.parametrize("content", [b"", b"no state at all", b"PK\x03\x04 cut off"])
def test_damaged_state_is_refused(content, tmp_path):
    run = make_run("simclr", tmp_path)
    run.state_path.write_bytes(content)
    with pytest.raises(UserError, match="not the state of a pretext run"):
        run.resume()


# ---- the encoder's weights file --------------------------------------------------------------


@pytest.mark.parametrize("half", [True, False])
def test_encoder_weights_carry_their_recipe(half, tmp_path):
    network = build_network("resnet18", seed=3)
    path = tmp_path / "r18.weights.h5"
    save_encoder(network, path, {"encoder": "resnet18", "image_size": 96}, half=half)
    encoder = load_encoder("resnet18", path)
    assert encoder.info["image_size"] == 96
    assert read_recipe(path) == {"encoder": "resnet18", "image_size": 96}
    assert (path.stat().st_size < 24e6) == half
    for got, expected in zip(weights_of(encoder.network), weights_of(network), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-3 if half else 0, atol=1e-7 * half)
    with pytest.raises(UserError, match="holds a resnet18, not a resnet50"):
        load_encoder("resnet50", path)


def test_vit_takes_other_sizes_than_its_own():
    network = build_network("vit_small")
    assert network.count_params() == 21_665_664
    for size, patches in ((64, 4), (96, 6)):
        out = network(patterns(2, size).astype("f4"))
        assert out["pooled"].shape == (2, 384)
        assert out["grid"].shape == (2, patches, patches, 384)
    again = keras.models.clone_model(network)  # MoCo and BYOL copy it
    again.set_weights(network.get_weights())
    pixels = patterns(1, 64).astype("f4")
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(again(pixels)["pooled"]),
        keras.ops.convert_to_numpy(network(pixels)["pooled"]), atol=1e-5,
    )  # fmt: skip


# ---- probes ----------------------------------------------------------------------------------


def colours_and_encoder():
    """Pictures of four colours, and an encoder that sees nothing but colour."""
    labels = np.arange(80) % 4
    shades = np.array([[200, 20, 20], [20, 200, 20], [20, 20, 200], [200, 200, 20]])
    noise = np.random.default_rng(0).integers(0, 20, (80, 8, 8, 3))
    pixels = (shades[labels][:, None, None] + noise).astype(np.uint8)
    inputs = keras.Input((None, None, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    return pixels, labels, keras.Model(inputs, {"pooled": pooled})


def test_class_probe():
    pixels, labels, encoder = colours_and_encoder()
    assert ClassProbe(pixels, labels)(encoder) == 1.0
    shuffled = np.random.default_rng(1).permutation(labels)
    assert ClassProbe(pixels, shuffled)(encoder) < 0.5


def test_caption_probe():
    pixels, labels, encoder = colours_and_encoder()
    words = np.array(["red", "green", "blue", "yellow"])
    captions = [[f"one {words[label]} thing"] for label in labels]
    assert CaptionProbe(pixels, captions)(encoder) == 1.0
    shuffled = [captions[row] for row in np.random.default_rng(1).permutation(80)]
    assert CaptionProbe(pixels, shuffled)(encoder) < 0.9
