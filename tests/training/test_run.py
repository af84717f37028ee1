"""What every run of training shares: its state, and what it refuses."""

from pathlib import Path

import keras
import numpy as np
import pytest

from captioning.cli import UserError
from captioning.training.run import Run
from tests.conftest import history_of

PIXELS, TARGETS = np.eye(4, dtype="f4"), np.arange(4, dtype="f4")[:, None]


def make_run(folder: Path, settings=None, learning_rate=0.1, units=1, **options) -> Run:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(units), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(learning_rate), "mse", jit_compile=False)
    options = {"columns": ("row", "loss"), **options}
    return Run(model, folder, settings or {"seed": 1}, **options)


def one_step(run: Run, loss: float = 1.0) -> None:
    """A row of one step that trains nothing."""
    with run.row("row", steps=1, total=1):
        run.after_step(1, {"loss": loss}, 1)


def train_rows(run: Run, rows: int) -> None:
    """Rows of two steps, of two pictures each."""
    while len(run.history) < rows:
        run.model.reset_metrics()
        with run.row("row", steps=2, total=4, done=2 * run.part["steps"]):
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
    assert [row["row"] for row in history_of(tmp_path / "parts")] == ["1", "2", "3", "4"]


def test_without_resume_an_earlier_state_is_forgotten(tmp_path):
    train_rows(make_run(tmp_path), 1)
    run = make_run(tmp_path)
    run.start(resume=False)
    assert run.history == []
    assert not run.state_path.exists()


def test_the_mean_of_a_row_counts_both_of_its_parts(tmp_path):
    run = make_run(tmp_path)
    run.part = {"loss": 3.0, "steps": 2, "seconds": 5.0}
    with run.row("row", steps=5, total=5):
        run.after_step(1, {"loss": 9.0}, 1)
        run.after_step(2, {"loss": 8.0}, 1)  # of both steps since then
    assert run.part["loss"] == pytest.approx((3 * 2 + 8 * 2) / 4)
    assert run.part["seconds"] >= 5


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_run(loss, tmp_path):
    run = make_run(tmp_path)
    with pytest.raises(UserError, match="after 1 steps; lower --learning-rate"):
        one_step(run, loss)
    assert run.bar.disable  # as tqdm marks one that is closed


@pytest.mark.parametrize(
    ("part", "value"), [("kernel", 65_600), ("kernel", np.nan), ("bias", 1e13), ("moment", np.inf)]
)
def test_weights_that_half_precision_cannot_hold_are_not_saved(tmp_path, part, value):
    run = make_run(tmp_path)
    train_rows(run, 1)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    [moment] = [v for v in run.model.optimizer.variables if "kernel_momentum" in v.path][:1]
    variable = moment if part == "moment" else getattr(run.model.layers[0], part)
    variable.assign(np.full(variable.shape, value))

    message = "weights are not finite, or grow without bound; .* what was saved before stays"
    with pytest.raises(UserError, match=message):
        run.end_row({"row": 2, "loss": 0.0}, keep=lambda: pytest.fail("saved all the same"))

    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(("part", "value"), [("bias", 1e6), ("moment", 1e6), ("kernel", 65_504)])
def test_variances_and_moments_may_be_larger_than_kernels(tmp_path, part, value):
    run = make_run(tmp_path)
    [moment] = [v for v in run.model.optimizer.variables if "kernel_velocity" in v.path][:1]
    variable = moment if part == "moment" else getattr(run.model.layers[0], part)
    variable.assign(np.full(variable.shape, value))
    run.save_state()
    assert run.state_path.exists()


def test_other_settings_are_refused_but_for_those_that_may_change(tmp_path):
    settings = {"seed": 1, "steps": 5, "pictures_sha256": "0a1b"}
    make_run(tmp_path, settings).save_state()
    make_run(tmp_path, {**settings, "steps": 9}, may_change=("steps",)).start(resume=True)
    # Digests are named and not shown.
    message = r"state\.npz: seed was 1, not 2; it had other pictures; give the same"
    with pytest.raises(UserError, match=message):
        make_run(tmp_path, {**settings, "seed": 2, "pictures_sha256": "2c"}).start(resume=True)


def test_the_state_of_another_model_is_refused(tmp_path):
    make_run(tmp_path).save_state()
    with pytest.raises(UserError, match="belongs to another model"):
        make_run(tmp_path, units=2).start(resume=True)


@pytest.mark.parametrize("content", [b"", b"no state at all", b"PK\x03\x04 cut off"])
def test_a_damaged_state_is_refused(content, tmp_path):
    run = make_run(tmp_path)
    run.state_path.write_bytes(content)
    with pytest.raises(UserError, match="not the state of a run, or damaged"):
        run.start(resume=True)


@pytest.mark.parametrize(
    ("patience", "saved", "epochs"), [(0, [1, 2], 5), (2, [1, 2], 4), (1, [1, 2], 3)]
)
def test_training_saves_the_best_epochs_and_ends_by_its_patience(tmp_path, patience, saved, epochs):
    run = make_run(tmp_path, columns=("epoch", "loss", "score", "seconds"), by="score")
    scores, found = [1.0, 0.5, 0.9, 1.2, 0.5], []

    run.train(
        5,
        lambda epoch: one_step(run, epoch / 2),
        lambda: {"score": scores[len(run.history)]},
        lambda row: found.append(row["epoch"]),
        patience=patience,
    )

    assert found == saved
    assert run.best["epoch"] == saved[-1]
    expected = [(n + 1, n / 2, scores[n]) for n in range(epochs)]
    assert [(row["epoch"], row["loss"], row["score"]) for row in run.history] == expected


def test_a_validation_that_is_no_number_ends_the_run_before_anything_is_saved(tmp_path):
    run = make_run(tmp_path)
    with pytest.raises(UserError, match="the val_loss is nan after 1 steps"):
        steps = (lambda epoch: one_step(run), lambda: {"val_loss": float("nan")})
        run.train(2, *steps, lambda row: pytest.fail("saved all the same"))
    assert not run.state_path.exists()


def test_the_bar_shows_the_time_left_of_all_rows(tmp_path, monkeypatch):
    run = make_run(tmp_path)
    run.rows_left = 3
    clock = iter([0.0, 10.0, 10.0, 10.0, 10.0])
    monkeypatch.setattr("captioning.training.run.time.monotonic", lambda: next(clock))
    with run.row("row", steps=4, total=4):
        run.after_step(1, {"loss": 1.0}, 1)  # 10 s, and 3 steps and 3 rows of 4 are to come
    assert "whole_run_left=02:30" in run.bar.postfix
