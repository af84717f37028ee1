"""Batches of captions, and the training of decoders on them."""

import json
import re
import shutil
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from captioning.captioners.loading import load_captioner
from captioning.cli import UserError
from captioning.decoders.base import Decoder
from captioning.decoders.table import decoder_class
from captioning.distribution import World
from captioning.features.files import write_features
from captioning.features.reading import Features, read_features
from captioning.text import build_vocabulary
from captioning.training.batches import CaptionBatches
from captioning.training.optimizers import plateau_rate
from captioning.training.run import Run
from captioning.training.teacher_forcing import caption_run, model_name, train
from tests.decoder_tools import TINY

SUBJECTS, VERBS = ["dog", "cat", "red bird", "man"], ["runs", "sits", "looks up", "is far away"]


@pytest.fixture
def task() -> SimpleNamespace:
    """16 images whose features tell subject and verb, with one caption each."""
    ids = [f"{s}-{v}" for s in range(4) for v in range(4)]
    matrix = np.concatenate([np.repeat(np.eye(4), 4, axis=0), np.tile(np.eye(4), (4, 1))], axis=1)
    captions = {one: [f"{SUBJECTS[int(one[0])]} {VERBS[int(one[2])]}"] for one in ids}
    features = Features(ids, matrix.astype(np.float32), {})
    vocabulary = build_vocabulary(captions, ids, "original")
    return SimpleNamespace(ids=ids, captions=captions, features=features, vocabulary=vocabulary)


def make_batches(task, seed=None, batch_size=3, **options) -> CaptionBatches:
    data = (task.features, task.captions, task.ids, task.vocabulary)
    return CaptionBatches(*data, batch_size=batch_size, seed=seed, **options)


def items_of(batches: CaptionBatches) -> list:
    return [batches[number] for number in range(len(batches))]


def make_model(task, learning_rate=0.02, name="merge", **options) -> Decoder:
    keras.utils.set_random_seed(0)
    vocabulary, options = task.vocabulary, {**TINY[name], **options}
    model = decoder_class(name)(8, vocabulary.words, vocabulary.max_length, **options)
    model.compile(optimizer=keras.optimizers.Adam(learning_rate), jit_compile=False)
    return model


def run(task, model, folder, epochs, resume=False, settings=None, **options) -> Run:
    """Train in a folder of its own, or go on with the run in it."""
    this_run = caption_run(model, folder, settings or {"seed": 5})
    this_run.start(resume=resume)
    train(this_run, make_batches(task, seed=5), make_batches(task), epochs=epochs, **options)
    return this_run


def with_grids(task) -> SimpleNamespace:
    """The same task, with the subject in the first of 4 places and the verb in the last."""
    grids = np.zeros((16, 4, 8), np.float16)
    grids[:, 0, :4], grids[:, 3, 4:] = task.features.matrix[:, :4], task.features.matrix[:, 4:]
    return SimpleNamespace(**{**vars(task), "features": Features(task.ids, grids, {})})


def test_an_epoch_has_every_caption_once_and_no_padding(task):
    batches = make_batches(task, seed=1)
    seen = []
    for inputs, targets in items_of(batches):
        assert np.array_equal(inputs["tokens"][:, 1:], targets[:, :-1])
        for vector, words in zip(inputs["features"], targets, strict=True):
            one = f"{vector[:4].argmax()}-{vector[4:].argmax()}"
            assert 0 not in words
            assert task.vocabulary.decode(words) == task.captions[one][0]
            seen.append(one)
    assert sorted(seen) == task.ids


def test_every_view_of_a_picture_is_drawn_and_what_a_view_lacks_is_taken_from_the_features(task):
    marked = [
        Features(task.ids[:count], np.full((count, 8), mark, np.float32), {})
        for mark, count in ((7, 16), (9, 8))
    ]
    batches = make_batches(task, seed=1, views=marked)
    seen = {one: set() for one in task.ids}
    for epoch in range(30):
        batches.start_epoch(epoch)
        for inputs, targets in items_of(batches):
            for vector, words in zip(inputs["features"], targets, strict=True):
                caption = task.vocabulary.decode(words)
                one = next(one for one in task.ids if task.captions[one] == [caption])
                whole = np.array_equal(vector, task.features[one])
                seen[one].add("whole" if whole else float(vector.max()))

    assert all(seen[one] == {"whole", 7.0, 9.0} for one in task.ids[:8])
    assert all(seen[one] == {"whole", 7.0} for one in task.ids[8:])


def test_unknown_words_keep_their_place_as_no_word(task):
    known = build_vocabulary({"1": ["dog sits"]}, ["1"], "original")
    data = (task.features, {"0-0": ["dog barks sits"]}, ["0-0"], known)
    [(_, targets)] = items_of(CaptionBatches(*data, batch_size=1, keep_unknown=True))
    numbers = known.word_index
    assert targets.tolist() == [[numbers["dog"], 0, numbers["sits"], known.end]]


def test_processes_share_a_batch_that_is_filled_up(task):
    worlds = (World(), World(0, 2, 4), World(1, 2, 4))
    whole, *parts = (make_batches(task, world=world) for world in worlds)
    for number in range(len(whole)):
        inputs, targets = whole[number]
        halves = [part[number] for part in parts]
        for name in inputs:
            together = np.concatenate([half[name] for half, _ in halves])
            assert len(together) % 4 == 0
            assert np.array_equal(together[: len(targets)], inputs[name])
        words = np.concatenate([words for _, words in halves])
        assert np.array_equal(words[: len(targets)], targets)
        assert not words[len(targets) :].any()


def test_order_and_views_follow_from_seed_and_epoch(task):
    view = Features(task.ids, np.full((16, 8), 7, np.float32), {})

    def passed(seed: int, epoch: int) -> list:
        batches = make_batches(task, seed=seed, views=[view])
        batches.start_epoch(epoch)
        items = items_of(batches)
        order = [targets.tolist() for _, targets in items]
        return [order, [(inputs["features"] == 7).tolist() for inputs, _ in items]]

    assert passed(1, 2) == passed(1, 2)
    for other in (passed(1, 3), passed(2, 2)):
        assert all(one != another for one, another in zip(passed(1, 2), other, strict=True))


def test_development_loss_is_the_mean_over_words_not_over_batches(task):
    model = make_model(task)
    batches = make_batches(task)
    losses = []
    for inputs, targets in items_of(batches):
        probabilities = np.array(keras.ops.softmax(model.next_words(inputs)))
        losses += [*-np.log(np.take_along_axis(probabilities, targets[..., None], -1)).ravel()]

    measured = model.evaluate(batches, verbose=0, return_dict=True)["token_loss"]

    assert measured == pytest.approx(np.mean(losses), abs=1e-5)


@pytest.mark.slow
def test_training_learns_and_saves_the_best_model_alone(task, tmp_path):
    earlier = tmp_path / "model-ep003-loss1.000-val_loss2.000.keras"  # of a run in this folder
    earlier.touch()
    this_run = run(task, make_model(task), tmp_path, epochs=12, record={"views": ["a.pkl"]})

    best = this_run.best
    assert best["val_loss"] < 0.5 * this_run.history[0]["val_loss"]
    assert [p.name for p in tmp_path.glob("model-ep*")] == [model_name(best)]
    saved = load_captioner(tmp_path / "checkpoints/best_model.keras")
    files = [tmp_path / "checkpoints" / name for name in ("best_model.keras", "state.npz")]
    assert files[0].stat().st_size < files[1].stat().st_size  # no optimizer in it
    saved.compile()
    measured = saved.evaluate(make_batches(task), verbose=0, return_dict=True)["token_loss"]
    assert measured == pytest.approx(best["val_loss"], abs=1e-5)
    settings = json.loads((tmp_path / "checkpoints/training_settings.json").read_text())
    assert settings == {"views": ["a.pkl"]}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["attention", "transformer"])
def test_resumed_training_equals_unbroken_training(task, tmp_path, name):
    """Of the merge decoder, `scripts/test_kills.py` shows it."""
    task = with_grids(task)
    options = {"name": name, "tied": True, "dropout": 0.3}
    options |= {"depth": 1} if name == "transformer" else {}  # compiles faster
    unbroken = run(task, make_model(task, **options), tmp_path / "whole", epochs=1)
    shutil.copytree(tmp_path / "whole", tmp_path / "broken")  # what a kill leaves
    train(unbroken, make_batches(task, seed=5), make_batches(task), epochs=2)

    resumed = run(task, make_model(task, **options), tmp_path / "broken", epochs=2, resume=True)

    assert len(resumed.history) == 2
    for column in ("loss", "val_loss"):
        values = [[row[column] for row in one.history] for one in (resumed, unbroken)]
        assert values[0] == values[1]


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_epoch(task, tmp_path):
    run(task, make_model(task), tmp_path, epochs=1, record={"min_count": 1})
    model = make_model(task, learning_rate=1e30)
    with pytest.raises(UserError, match="--learning-rate"):
        run(task, model, tmp_path, epochs=9, record={"min_count": 5})
    saved = load_captioner(tmp_path / "checkpoints/best_model.keras")
    assert np.isfinite(saved.output_dense.get_weights()[0]).all()
    # What is beside a model is of that model.
    settings = json.loads((tmp_path / "checkpoints/training_settings.json").read_text())
    assert settings == {"min_count": 1}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["attention", "transformer"])
def test_grid_decoders_learn_what_is_where(task, name):
    task = with_grids(task)
    options = {"depth": 1} if name == "transformer" else {}  # compiles faster
    model = make_model(task, 0.02, name, dropout=0.0, output_dropout=0.0, **options)
    batches = make_batches(task, seed=5)
    model.fit(batches, epochs=20, verbose=0, shuffle=False)
    # Without the picture, one of 4 subjects and one of 4 verbs cost 2.8 nats, 0.7 a word.
    assert model.history.history["token_loss"][-1] < 0.3


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
    for _, targets in items_of(batches):
        captions, words = targets.shape
        sizes[words] = max(captions, sizes.get(words, 0))
    assert sizes == {3: 5, 4: 4, 5: 3, 6: 1}  # there is only one caption of 6 words


def test_features_that_cannot_be_read_are_named_not_hidden_by_the_backend(task, tmp_path):
    path = tmp_path / "features.h5"
    write_features(path, [(task.ids, task.features.matrix)], {}, rows=16)
    stored = SimpleNamespace(**{**vars(task), "features": read_features(path)})
    with open(path, "r+b") as file:
        file.truncate(stored.features.matrix.offset + 40)
    with pytest.raises(UserError, match=r"features.h5: was replaced or cut"):
        run(stored, make_model(task), tmp_path, epochs=1)


def test_after_each_epoch_the_same_images_are_captioned(task, tmp_path, capsys):
    run(task, make_model(task), tmp_path, epochs=2)
    lines = capsys.readouterr().out.splitlines()
    first, second = lines[:4], lines[4:]
    for shown in (first, second):
        assert [line.split(":")[0].strip() for line in shown[:3]] == task.ids[:3]
        assert re.fullmatch(r"  \d+ of 16 development captions are distinct", shown[3])
