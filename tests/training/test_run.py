"""What every run of training shares: its state, and what it refuses."""

import csv
from pathlib import Path

import keras
import numpy as np
import pytest

from captioning.cli import UserError
from captioning.training.run import Run, best_row

PIXELS, TARGETS = np.eye(4, dtype="f4"), np.arange(4, dtype="f4")[:, None]


def make_run(folder: Path, settings=None, learning_rate=0.1, units=1, **options) -> Run:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(units), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(learning_rate), "mse", jit_compile=False)
    return Run(model, folder, settings or {"seed": 1}, columns=("row", "loss"), **options)


def train_rows(run: Run, rows: int) -> None:
    """Rows of two steps, of two pictures each."""
    while len(run.history) < rows:
        run.begin_row("row", steps=2, total=4, done=2 * run.part["steps"])
        run.model.reset_metrics()
        for number in range(run.part["steps"], 2):
            part = slice(2 * number, 2 * number + 2)
            logs = run.model.train_on_batch(PIXELS[part], TARGETS[part], return_dict=True)
            run.after_step(number + 1 - run.before["steps"], logs, 2)
        run.end_row({"row": len(run.history) + 1, "loss": run.part["loss"]})


def test_a_resumed_run_equals_an_unbroken_one(tmp_path):
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = make_run(tmp_path / "whole")
    train_rows(whole, 4)
    train_rows(make_run(tmp_path / "parts"), 2)
    resumed = make_run(tmp_path / "parts")
    resumed.start(resume=True)
    assert (resumed.step, len(resumed.history)) == (4, 2)
    train_rows(resumed, 4)
    for one, other in zip(whole.model.get_weights(), resumed.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    with open(tmp_path / "parts" / "history.csv", newline="") as file:
        assert [row["row"] for row in csv.DictReader(file)] == ["1", "2", "3", "4"]


def test_without_resume_an_earlier_state_is_forgotten(tmp_path):
    train_rows(make_run(tmp_path), 1)
    run = make_run(tmp_path)
    run.start(resume=False)
    assert run.history == []
    assert not run.state_path.exists()


def test_a_row_saved_half_way_goes_on_there(tmp_path):
    run = make_run(tmp_path, save_minutes=1e-9)
    run.begin_row("row", steps=2, total=4)
    logs = run.model.train_on_batch(PIXELS[:2], TARGETS[:2], return_dict=True)
    run.after_step(1, logs, 2)
    resumed = make_run(tmp_path)
    resumed.start(resume=True)
    assert resumed.part["steps"] == 1
    assert resumed.part["loss"] == pytest.approx(float(logs["loss"]))


def test_the_mean_of_a_row_counts_both_of_its_parts(tmp_path):
    run = make_run(tmp_path)
    run.part = {"loss": 3.0, "steps": 2, "seconds": 5.0}
    run.begin_row("row", steps=5, total=5)
    run.after_step(1, {"loss": 9.0}, 1)
    run.after_step(2, {"loss": 8.0}, 1)  # of both steps since then
    assert run.part["loss"] == pytest.approx((3 * 2 + 8 * 2) / 4)
    assert run.part["seconds"] >= 5


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_run(loss, tmp_path):
    run = make_run(tmp_path)
    run.begin_row("row", steps=2, total=4)
    with pytest.raises(UserError, match="after 1 steps; lower --learning-rate"):
        run.after_step(1, {"loss": loss}, 2)


def test_an_error_in_a_row_ends_its_bar(tmp_path):
    run = make_run(tmp_path)
    with pytest.raises(UserError), run.row("row", steps=2, total=4):
        raise UserError("the disk is full")
    assert run.bar.disable  # as tqdm marks one that is closed


def test_weights_that_grow_without_bound_are_not_kept(tmp_path):
    run = make_run(tmp_path)
    run.save_state()
    before = run.state_path.read_bytes()
    run.model.layers[0].kernel.assign(np.full((4, 1), 1e13))
    with pytest.raises(UserError, match="grow without bound"):
        run.save_state()
    assert run.state_path.read_bytes() == before


def test_other_settings_are_refused_but_for_those_that_may_change(tmp_path):
    make_run(tmp_path, {"seed": 1, "steps": 5}).save_state()
    make_run(tmp_path, {"seed": 1, "steps": 9}, may_change=("steps",)).resume()
    with pytest.raises(UserError, match=r"state\.npz: seed was 1, not 2; give the same"):
        make_run(tmp_path, {"seed": 2, "steps": 5}).resume()


def test_digests_are_named_and_not_shown(tmp_path):
    make_run(tmp_path, {"pictures_sha256": "0a1b"}).save_state()
    with pytest.raises(UserError, match="it had other pictures; give") as refused:
        make_run(tmp_path, {"pictures_sha256": "2c3d"}).resume()
    assert "0a1b" not in str(refused.value)


def test_a_run_of_a_version_that_knew_fewer_settings_is_refused(tmp_path):
    make_run(tmp_path, {"seed": 1}).save_state()
    with pytest.raises(UserError, match="was left by an older version"):
        make_run(tmp_path, {"seed": 1, "views": 2}).resume()


def test_the_state_of_another_model_is_refused(tmp_path):
    make_run(tmp_path).save_state()
    with pytest.raises(UserError, match="belongs to another model"):
        make_run(tmp_path, units=2).resume()


@pytest.mark.parametrize("content", [b"", b"no state at all", b"PK\x03\x04 cut off"])
def test_a_damaged_state_is_refused(content, tmp_path):
    run = make_run(tmp_path)
    run.state_path.write_bytes(content)
    with pytest.raises(UserError, match="not the state of a run, or damaged"):
        run.resume()


@pytest.mark.parametrize(("sign", "kept"), [(1, [1, 2]), (-1, [1, 4])])
def test_what_the_best_row_is_of_is_kept_and_nothing_after_it(tmp_path, sign, kept):
    run = make_run(tmp_path, by="loss", sign=sign)
    found = []
    for number, loss in enumerate((1.0, 0.5, 0.9, 1.2, 0.5), start=1):
        run.begin_row("row", steps=1, total=1)
        run.end_row({"row": number, "loss": loss}, keep=lambda number=number: found.append(number))
    assert found == kept
    assert run.best["row"] == kept[-1]


def test_best_row():
    history = [{"epoch": n, "val_loss": v} for n, v in enumerate([3.0, 1.0, 2.0, 1.0])]
    assert best_row(history) is history[1]
    assert best_row(history, sign=-1) is history[0]
    assert best_row([]) is None
