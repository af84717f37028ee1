"""A run in a folder: resumed bit for bit, stopped at a NaN with its state kept."""

import csv
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

from captioning.cli import UserError
from captioning.encoders.loading import load_encoder
from captioning.encoders.table import build_network
from captioning.encoders.weights import read_recipe, save_encoder
from contrastive.methods import build_method
from contrastive.presets import settings_for
from contrastive.probe import CaptionProbe, ClassProbe, ridge_share, word_shares
from contrastive.training import PretextRun
from tests.pretext_tools import patterns, tiny_encoder, views, weights_of

pytestmark = pytest.mark.slow

TIMES = ("save_minutes", "stop_minutes")
GIVEN = {
    "optimizer": "adamw", "learning_rate": 0.01, "weight_decay": None, "temperature": None,
    "momentum": 0.9, "queue_size": 16,
}  # fmt: skip


def make_run(method: str, output: Path, **changes) -> PretextRun:
    """A new run of a tiny encoder: 40 pictures, 5 batches of 8 a pass, 3 passes unless changed."""
    output.mkdir(exist_ok=True)
    options = {name: changes.pop(name) for name in TIMES if name in changes}
    steps, size = changes.pop("steps", 15), changes.pop("size", 16)
    chosen = settings_for(method, batch_size=8, pictures=40, epochs=3, **{**GIVEN, **changes})
    model = build_method(
        chosen, tiny_encoder(), views(size, method), steps=steps, batch_size=8, seed=4
    )
    settings = {**chosen._asdict(), "batch_size": 8, "steps": steps, "seed": 4, "encoder": "tiny",
                "image_size": size}  # fmt: skip
    recipe = {"encoder": "tiny"}
    return PretextRun(
        model, patterns(40), output, settings, recipe, "tiny.weights.h5", **options
    )  # fmt: skip


def copy_at(run: PretextRun, step: int, folder: Path, monkeypatch) -> None:
    """Train a run that saves at every step; `folder` gets what a kill after one would leave."""
    saved = run.save_state

    def save_state() -> None:
        saved()
        if run.step == step:
            shutil.copytree(run.output, folder)

    monkeypatch.setattr(run, "save_state", save_state)
    run.train()


@pytest.mark.parametrize(("method", "step"), [("simclr", 3), ("moco", 3), ("byol", 10)])
def test_resumed_run_equals_an_uninterrupted_one(method, step, tmp_path, monkeypatch):
    whole = make_run(method, tmp_path / "whole", save_minutes=1e-9)
    copy_at(whole, step, tmp_path / "killed", monkeypatch)
    resumed = make_run(method, tmp_path / "killed")
    resumed.resume()
    assert resumed.step == step
    resumed.train()
    with np.load(whole.state_path) as a, np.load(resumed.state_path) as b:
        for name in set(a.files) - {"record"}:
            np.testing.assert_array_equal(a[name], b[name])
    assert [row["loss"] for row in resumed.history] == pytest.approx(
        [row["loss"] for row in whole.history], rel=1e-5
    )


def test_results_of_a_run(tmp_path):
    run = make_run("simclr", tmp_path)
    run.probe, run.probe_every = (lambda encoder: 0.25), 2
    run.train()
    with open(tmp_path / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["pictures_seen"] for row in rows] == ["40", "80", "120"]
    assert [row["probe"] for row in rows] == ["", "0.25", "0.25"]
    assert (tmp_path / "history.png").stat().st_size > 1000
    recipe = read_recipe(tmp_path / "tiny.weights.h5")
    assert recipe["pictures_seen"] == 120
    assert not list(tmp_path.glob(".*"))


def test_stop_minutes_stops_in_an_epoch_and_resumes(tmp_path):
    run = make_run("simclr", tmp_path, stop_minutes=1e-9)
    run.train()
    assert run.step == 1
    resumed = make_run("simclr", tmp_path)
    resumed.resume()
    resumed.train()
    assert resumed.step == 15
    assert len(resumed.history) == 3


@pytest.mark.parametrize("steps", [9, 21])
def test_a_run_on_its_way_may_be_made_shorter_or_longer(steps, tmp_path):
    """The learning rate then follows the new length: at its end it is 0."""
    make_run("simclr", tmp_path, stop_minutes=1e-9).train()
    changed = make_run("simclr", tmp_path, steps=steps)
    changed.resume()
    changed.train()
    assert changed.step == steps
    assert changed.history[-1]["pictures_seen"] == 8 * steps
    assert float(changed.model.optimizer.learning_rate) == pytest.approx(0, abs=1e-9)


def test_byol_may_be_made_longer_though_its_momentum_goes_by_the_length(tmp_path):
    make_run("byol", tmp_path, momentum=0.97, stop_minutes=1e-9).train()

    longer = make_run("byol", tmp_path, momentum=0.99, steps=21)
    longer.resume()

    assert longer.step == 1
    assert longer.model.momentum == pytest.approx(0.99)


def test_views_may_grow_on_the_way(tmp_path):
    """Weights and optimizer go on as they were; nothing of them depends on the views' size."""
    make_run("simclr", tmp_path, stop_minutes=1e-9).train()
    grown = make_run("simclr", tmp_path, size=24)
    grown.resume()
    assert grown.step == 1
    grown.train()
    assert grown.step == 15


def test_nan_stops_and_keeps_the_last_good_state(tmp_path):
    make_run("simclr", tmp_path, stop_minutes=1e-9).train()
    before = (tmp_path / "state.npz").read_bytes()
    diverging = make_run("simclr", tmp_path, learning_rate=1e38, save_minutes=1e-9)
    diverging.resume()
    with pytest.raises(UserError, match="lower --learning-rate"):
        diverging.train()
    assert (tmp_path / "state.npz").read_bytes() == before


@pytest.mark.parametrize(
    ("method", "changes", "part"),
    [
        ("moco", {}, "method was simclr, not moco"),
        ("simclr", {"optimizer": "sgd"}, "optimizer was adamw, not sgd"),
    ],
)
def test_another_run_is_not_resumed(method, changes, part, tmp_path):
    make_run("simclr", tmp_path, stop_minutes=1e-9).train()
    with pytest.raises(UserError, match=part):
        make_run(method, tmp_path, **changes).resume()


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
    held_out = np.arange(80) >= 60
    assert CaptionProbe(pixels, captions, held_out)(encoder) > 0.9
    shuffled = [captions[row] for row in np.random.default_rng(1).permutation(80)]
    assert CaptionProbe(pixels, shuffled, held_out)(encoder) < 0.1


def test_ridge_share_equals_a_naive_regression():
    """Against the normal equations, with the strength that a naive search over them finds best."""
    random = np.random.default_rng(0)
    features = random.normal(3, 2, (50, 6))
    targets = features @ random.normal(size=(6, 4)) + random.normal(0, 3, (50, 4))
    x = (features - features[:40].mean(0)) / features[:40].std(0)
    y = targets - targets[:40].mean(0)
    found = []
    for strength in 10.0 ** np.arange(0, 7, 0.5):
        inverse = np.linalg.inv(x[:40].T @ x[:40] + strength * np.eye(6)) @ x[:40].T
        hat = x[:40] @ inverse
        error = np.square(y[:40] - hat @ y[:40]).sum() / (1 - np.trace(hat) / 40) ** 2
        left = np.square(y[40:] - x[40:] @ inverse @ y[:40]).sum()
        found.append((error, 1 - left / np.square(y[40:]).sum()))
    assert ridge_share(features, targets, 40) == pytest.approx(min(found)[1], abs=1e-6)


def test_ridge_share_leaves_dead_features_out():
    """One that moves on held-out pictures alone would weigh infinitely much."""
    random = np.random.default_rng(0)
    features, targets = random.normal(size=(50, 6)), random.normal(size=(50, 4))
    dead = np.concatenate([features, np.zeros((50, 1))], axis=1)
    dead[45:, 6] = 1.0
    assert ridge_share(dead, targets, 40) == ridge_share(features, targets, 40)


def test_word_shares():
    captions = [["A dog runs.", "The dog sits"], ["a cat"], ["two dogs run, dog!"]]
    shares = word_shares(captions, 2)
    # "dog" comes twice among the first two pictures, the others once; "a" is one letter.
    assert shares[0].tolist() == [1.0, 0.5, 0.5, 0.5, 0.0]
    assert shares[2].tolist() == [1.0, 0.0, 0.0, 0.0, 0.0]
