import shutil
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from captioning.captioners.loading import load_captioner
from captioning.cli import UserError
from captioning.decoders.base import Decoder
from captioning.decoders.table import decoder_class
from captioning.distribution import Share
from captioning.features.files import write_features
from captioning.features.reading import Features, read_features
from captioning.text import build_vocabulary
from captioning.training.batches import CaptionBatches
from captioning.training.optimizers import learning_rate_schedule, plateau_rate
from captioning.training.run import best_row
from captioning.training.teacher_forcing import CaptionRun, model_name
from tests.decoder_tools import NAMES, TINY

SUBJECTS, VERBS = ["dog", "cat", "red bird", "man"], ["runs", "sits", "looks up", "is far away"]


@pytest.fixture
def task() -> SimpleNamespace:
    """16 images whose features tell subject and verb, with one caption each."""
    ids = [f"{s}-{v}" for s in range(4) for v in range(4)]
    matrix = np.concatenate([np.repeat(np.eye(4), 4, axis=0), np.tile(np.eye(4), (4, 1))], axis=1)
    captions = {one: [f"{SUBJECTS[int(one[0])]} {VERBS[int(one[2])]}"] for one in ids}
    return SimpleNamespace(
        ids=ids, captions=captions, features=Features(ids, matrix.astype(np.float32), {}),
        vocabulary=build_vocabulary(captions, ids, "original"),
    )  # fmt: skip


def make_batches(task, seed=None, batch_size=3) -> CaptionBatches:
    return CaptionBatches(
        task.features, task.captions, task.ids, task.vocabulary, batch_size=batch_size, seed=seed
    )


def make_model(task, learning_rate=0.02, name="merge", **options) -> Decoder:
    keras.utils.set_random_seed(0)
    vocabulary, options = task.vocabulary, {**TINY[name], **options}
    model = decoder_class(name)(8, vocabulary.words, vocabulary.max_length, **options)
    model.compile(optimizer=keras.optimizers.Adam(learning_rate), jit_compile=False)
    return model


def run(task, model, folder, epochs, resume=False, **options) -> CaptionRun:
    """Train in a folder of its own, or go on with the run in it."""
    this_run = CaptionRun(model, folder, {"seed": 5})
    this_run.start(resume=resume)
    this_run.train(make_batches(task, seed=5), make_batches(task), epochs=epochs, **options)
    return this_run


def with_grids(task) -> SimpleNamespace:
    """The same task, with the subject in the first of 4 places and the verb in the last."""
    grids = np.zeros((16, 4, 8), np.float16)
    grids[:, 0, :4], grids[:, 3, 4:] = task.features.matrix[:, :4], task.features.matrix[:, 4:]
    return SimpleNamespace(**{**vars(task), "features": Features(task.ids, grids, {})})


def test_an_epoch_has_every_caption_once_and_no_padding(task):
    batches = make_batches(task, seed=1)
    seen = []
    for number in range(len(batches)):
        inputs, following = batches[number]
        assert np.array_equal(inputs["tokens"][:, 1:], following[:, :-1])
        for vector, words in zip(inputs["features"], following, strict=True):
            one = f"{vector[:4].argmax()}-{vector[4:].argmax()}"
            assert 0 not in words
            assert task.vocabulary.decode(words) == task.captions[one][0]
            seen.append(one)
    assert sorted(seen) == task.ids


def test_every_view_of_a_picture_is_drawn_and_what_a_view_lacks_is_taken_from_the_features(task):
    marked = [Features(task.ids[:half], np.full((half, 8), mark, np.float32), {})
              for mark, half in ((7, 16), (9, 8))]  # fmt: skip
    batches = CaptionBatches(
        task.features, task.captions, task.ids, task.vocabulary,
        batch_size=3, seed=1, views=marked,
    )  # fmt: skip
    seen = {one: set() for one in task.ids}
    for _ in range(30):
        for number in range(len(batches)):
            inputs, following = batches[number]
            for vector, words in zip(inputs["features"], following, strict=True):
                caption = task.vocabulary.decode(words)
                one = next(one for one in task.ids if task.captions[one] == [caption])
                whole = np.array_equal(vector, task.features[one])
                seen[one].add("whole" if whole else float(vector.max()))
        batches.on_epoch_end()

    assert all(seen[one] == {"whole", 7.0, 9.0} for one in task.ids[:8])
    assert all(seen[one] == {"whole", 7.0} for one in task.ids[8:])


def test_which_view_is_drawn_follows_from_seed_and_epoch(task):
    view = Features(task.ids, np.full((16, 8), 7, np.float32), {})

    def looks(seed: int, epoch: int) -> list:
        batches = CaptionBatches(
            task.features, task.captions, task.ids, task.vocabulary,
            batch_size=3, seed=seed, views=[view],
        )  # fmt: skip
        batches.start_epoch(epoch)
        return [batches[number][0]["features"].tolist() for number in range(len(batches))]

    assert looks(1, 2) == looks(1, 2)
    assert looks(1, 2) != looks(1, 3)


def test_unknown_words_are_read_as_no_word_and_not_learned(task):
    known = build_vocabulary({"1": ["dog sits"]}, ["1"], "original")
    model = make_model(SimpleNamespace(**{**vars(task), "vocabulary": known}))
    batches = CaptionBatches(
        task.features, {"0-0": ["dog barks sits"]}, ["0-0"], known,
        batch_size=1, keep_unknown=True,
    )  # fmt: skip
    inputs, following = batches[0]

    model.compute_loss(inputs, following, model(inputs), training=False)

    scores = keras.ops.log_softmax(model.next_words(inputs))[0]
    losses = -np.take_along_axis(np.array(scores), following[0][:, None], 1)[following[0] != 0]
    assert following[0].tolist() == [
        known.word_index["dog"],
        0,
        known.word_index["sits"],
        known.end,
    ]
    assert float(model.token_loss.result()) == pytest.approx(losses.mean(), abs=1e-5)


def test_processes_share_a_batch_that_is_filled_up(task):
    whole, *parts = (
        CaptionBatches(
            task.features, task.captions, task.ids, task.vocabulary, batch_size=3, share=share
        )
        for share in (Share(), Share(0, 2, 4), Share(1, 2, 4))
    )
    for number in range(len(whole)):
        inputs, following = whole[number]
        halves = [part[number] for part in parts]
        for name in inputs:
            together = np.concatenate([half[name] for half, _ in halves])
            assert len(together) % 4 == 0
            assert np.array_equal(together[: len(following)], inputs[name])
        words = np.concatenate([words for _, words in halves])
        assert np.array_equal(words[: len(following)], following)
        assert not words[len(following) :].any()


def test_order_follows_from_seed_and_epoch(task):
    def order(seed: int, epoch: int) -> list:
        batches = make_batches(task, seed=seed)
        for _ in range(epoch):
            batches.on_epoch_end()
        return [batches[number][1].tolist() for number in range(len(batches))]

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3)
    assert order(1, 2) != order(2, 2)


def test_development_loss_is_the_mean_over_words_not_over_batches(task):
    model = make_model(task)
    batches = make_batches(task)
    losses = []
    for number in range(len(batches)):
        inputs, following = batches[number]
        probabilities = np.array(keras.ops.softmax(model.next_words(inputs)))
        losses += (
            (-np.log(np.take_along_axis(probabilities, following[..., None], -1))).ravel().tolist()
        )

    measured = model.evaluate(batches, verbose=0, return_dict=True)["token_loss"]

    assert measured == pytest.approx(np.mean(losses), abs=1e-5)


@pytest.mark.slow
def test_training_learns_and_keeps_the_best_model(task, tmp_path):
    history = run(task, make_model(task), tmp_path, epochs=12).history
    best = best_row(history)
    assert best["val_loss"] < 0.5 * history[0]["val_loss"]
    assert [p.name for p in tmp_path.glob("model-ep*")] == [model_name(best)]
    kept = load_captioner(tmp_path / "checkpoints/best_model.keras")
    sizes = [(tmp_path / "checkpoints" / name).stat().st_size
             for name in ("best_model.keras", "state.npz")]  # fmt: skip
    assert sizes[0] < sizes[1]  # no optimizer in it
    kept.compile()
    measured = kept.evaluate(make_batches(task), verbose=0, return_dict=True)["token_loss"]
    assert measured == pytest.approx(best["val_loss"], abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_resumed_training_equals_unbroken_training(task, tmp_path, name):
    task = task if name == "merge" else with_grids(task)
    options = {"name": name, "tied": name != "merge", "dropout": 0.3}
    options |= {"depth": 1} if name == "transformer" else {}  # compiles faster
    unbroken = run(task, make_model(task, **options), tmp_path / "whole", epochs=2)
    shutil.copytree(tmp_path / "whole", tmp_path / "broken")  # what a kill leaves
    unbroken.train(make_batches(task, seed=5), make_batches(task), epochs=4)

    resumed = run(
        task, make_model(task, **options), tmp_path / "broken", epochs=4, resume=True
    )  # fmt: skip

    assert len(resumed.history) == 4
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(
            [row[name] for row in resumed.history], [row[name] for row in unbroken.history],
            atol=1e-6,
        )  # fmt: skip


def test_early_stopping_waits_for_its_patience(task, tmp_path):
    model = make_model(task, learning_rate=0.0)  # never improves
    assert len(run(task, model, tmp_path, epochs=20, patience=2).history) == 3


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_epoch(task, tmp_path):
    run(task, make_model(task), tmp_path, epochs=1)
    model = make_model(task, learning_rate=1e30)
    with pytest.raises(UserError, match="--learning-rate"):
        run(task, model, tmp_path, epochs=9)
    kept = load_captioner(tmp_path / "checkpoints/best_model.keras")
    assert np.isfinite(kept.output_dense.get_weights()[0]).all()


@pytest.mark.parametrize("warmup", [5, 20])
def test_schedule_rises_then_falls_to_zero(warmup):
    schedule = learning_rate_schedule(0.1, 100, warmup / 100)
    values = [float(schedule(step)) for step in range(101)]
    assert values[0] == 0
    assert max(values) == pytest.approx(0.1, rel=0.01)
    assert values.index(max(values)) == warmup
    assert values[-1] == pytest.approx(0, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["attention", "transformer"])
def test_grid_decoders_learn_what_is_where(task, name):
    task = with_grids(task)
    options = {"depth": 1} if name == "transformer" else {}  # compiles faster
    model = make_model(task, 0.02, name, dropout=0.0, output_dropout=0.0, **options)
    model.fit(make_batches(task, seed=5), epochs=20, verbose=0, shuffle=False)
    # Without the picture, one of 4 subjects and one of 4 verbs cost 2.8 nats, 0.7 a word.
    assert model.history.history["token_loss"][-1] < 0.3


def test_plateau_halves_the_rate_after_every_epoch_without_a_new_low():
    rates = [plateau_rate(0.8, [3.0, 2.0, 2.0, 2.5, 1.9, 1.8][:epochs]) for epochs in range(7)]
    assert rates == [0.8, 0.8, 0.8, 0.4, 0.2, 0.2, 0.2]


@pytest.mark.slow
def test_training_goes_by_the_plateau(task, tmp_path):
    model = make_model(task, learning_rate=0.5)  # so large that the loss goes up and down
    history = run(task, model, tmp_path, epochs=6, plateau_from=0.5).history
    losses = [row["val_loss"] for row in history]
    expected = plateau_rate(0.5, losses[:-1])
    assert expected < 0.5
    assert float(model.optimizer.learning_rate) == pytest.approx(expected)


@pytest.mark.slow
def test_bfloat16_training_learns_as_float32_does_and_keeps_a_float32_model(task, tmp_path):
    exact, rough = (
        run(task, make_model(task, dtype=dtype, dropout=0.0), tmp_path, epochs=5).history
        for dtype in ("float32", "mixed_bfloat16")
    )
    assert rough[-1]["val_loss"] < 0.7 * rough[0]["val_loss"]
    assert rough[-1]["val_loss"] == pytest.approx(exact[-1]["val_loss"], rel=0.05)
    kept = load_captioner(tmp_path / "checkpoints" / "best_model.keras")
    assert kept.dtype_policy.name == kept.lstm.dtype_policy.name == "float32"


def test_batches_have_about_the_same_number_of_words(task):
    batches = make_batches(task, batch_size=4)  # of 4 words on average, so 16 words
    sizes = {}
    for number in range(len(batches)):
        captions, words = batches[number][1].shape
        sizes[words] = max(captions, sizes.get(words, 0))
    assert sizes == {3: 5, 4: 4, 5: 3, 6: 1}  # there is only one caption of 6 words


def test_a_run_of_before_is_refused_or_forgotten(task, tmp_path):
    old = tmp_path / "checkpoints" / "training_state.keras"
    old.parent.mkdir()
    old.touch()
    with pytest.raises(UserError, match=r"training_state\.keras: was left by an older version"):
        run(task, make_model(task), tmp_path, epochs=1, resume=True)
    run(task, make_model(task), tmp_path, epochs=1)
    assert not old.exists()


def test_features_that_cannot_be_read_are_named_not_hidden_by_the_backend(task, tmp_path):
    path = tmp_path / "features.h5"
    write_features(path, [(task.ids, task.features.matrix)], {}, rows=16)
    stored = SimpleNamespace(**{**vars(task), "features": read_features(path)})
    with open(path, "r+b") as file:
        file.truncate(stored.features.matrix.place + 40)
    with pytest.raises(UserError, match=r"features.h5: has become shorter"):
        run(stored, make_model(task), tmp_path, epochs=1)
