"""A run in a folder: resumed bit for bit, what it leaves, and what may change on its way."""

import shutil
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest

from captioning.encoders.weights import read_recipe
from contrastive.data import batches
from contrastive.presets import build_method, settings_for, views_for
from contrastive.training import PretextRun
from tests.conftest import history_of
from tests.pretext_tools import patterns, tiny_encoder, weights_of

pytestmark = pytest.mark.slow

GIVEN = {"optimizer": "adamw", "learning_rate": 0.01, "momentum": 0.9, "queue_size": 16}
WEIGHTS = "tiny-simclr.weights.h5"


def make_run(output: Path, method="simclr", steps=15, size=16, options=None, **given):
    """A new run of a tiny encoder: 40 pictures, 5 batches of 8 a pass, 3 passes unless changed."""
    output.mkdir(parents=True, exist_ok=True)
    given = {"method": method, **GIVEN, **given}
    run = {"encoder": "tiny", "batch_size": 8, "steps": steps, "seed": 4, "image_size": size}
    run["pictures"] = 40
    settings = settings_for(given, batch_size=8, images=40, epochs=3) | run
    model = build_method(settings, tiny_encoder(), views_for(method, size))
    recipe = {"encoder": "tiny", "image_size": 24}
    stream = partial(batches, patterns(40), seed=4)
    return PretextRun(model, stream, output, settings, recipe, **(options or {}))


@pytest.mark.parametrize(("method", "step"), [("simclr", 3), ("moco", 3), ("byol", 10)])
def test_resumed_run_equals_an_uninterrupted_one(method, step, tmp_path, monkeypatch):
    """From what a kill after a step would leave of a run that saves at every one."""
    whole = make_run(tmp_path / "whole", method)
    saved, whole.save_seconds = whole.save_state, 0

    def save_state() -> None:
        saved()
        if whole.step == step:
            shutil.copytree(whole.output, tmp_path / "killed")

    monkeypatch.setattr(whole, "save_state", save_state)
    whole.train()

    again = make_run(tmp_path / "killed", method)
    again.start(resume=True)
    assert again.step == step
    again.train()

    with np.load(whole.state_path) as a, np.load(again.state_path) as b:
        for name in set(a.files) - {"record"}:
            np.testing.assert_array_equal(a[name], b[name])
    losses = [[row["loss"] for row in run.history] for run in (again, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_results_of_a_run(tmp_path):
    run = make_run(tmp_path)
    run.probe, run.probe_every = (lambda encoder: 0.25), 2
    run.train()
    rows = history_of(tmp_path)
    assert [row["pictures_seen"] for row in rows] == ["40", "80", "120"]
    assert [row["probe"] for row in rows] == ["", "0.25", "0.25"]
    assert (tmp_path / "history.png").stat().st_size > 1000
    assert read_recipe(tmp_path / WEIGHTS)["pictures_seen"] == 120
    assert not list(tmp_path.glob(".*"))

    # Batch statistics are of whole pictures, here of the features' size already, not of crops.
    encoder = tiny_encoder(seed=1)
    encoder.load_weights(tmp_path / WEIGHTS)
    rescaling, convolution, norm = encoder.layers[1:4]
    mean, variance = keras.ops.moments(convolution(rescaling(patterns(40))), (0, 1, 2))
    np.testing.assert_allclose(norm.moving_mean, mean, atol=2e-3)
    np.testing.assert_allclose(norm.moving_variance, variance, rtol=2e-3)


def test_what_a_run_that_stopped_in_a_row_says_of_itself_is_of_all_its_steps(tmp_path, monkeypatch):
    """The second row's first step, which took an hour."""
    run = make_run(tmp_path)
    after_step = run.after_step

    def stop_after_six(*arguments) -> bool:
        after_step(*arguments)
        if run.step == 6:
            run.part |= {"seconds": 3600.0, "loss": 12.5}
            run.stop_at = 0.0
        return run.step == 6

    monkeypatch.setattr(run, "after_step", stop_after_six)
    run.train()

    recipe = read_recipe(tmp_path / WEIGHTS)
    assert (recipe["pictures_seen"], recipe["loss"]) == (48, 12.5)
    assert recipe["hours"] == pytest.approx(1, abs=0.1)


def test_a_run_on_its_way_may_be_made_shorter_and_its_views_larger(tmp_path):
    """Weights go on as they were, and the learning rate follows the new length, to 0 at its end.

    BYOL's momentum goes by the length, too.
    """
    run = make_run(tmp_path, "byol", momentum=0.97, options={"stop_minutes": 1e-9})
    run.train()
    changed = make_run(tmp_path, "byol", momentum=0.99, steps=9, size=24)
    changed.start(resume=True)
    for before, after in zip(weights_of(run.model), weights_of(changed.model), strict=True):
        np.testing.assert_array_equal(before, after)
    changed.train()
    assert (changed.step, changed.history[-1]["pictures_seen"]) == (9, 72)
    assert float(changed.model.optimizer.learning_rate) == pytest.approx(0, abs=1e-9)
    assert changed.model.momentum == 0.99
