import numpy as np
import pytest
from keras import ops, tree

from captioning.captioners.loading import check_features, load_captioner
from captioning.cli import UserError
from captioning.features.reading import Features
from tests.conftest import ROOT
from tests.decoder_tools import NAMES, features_for, tiny, training_loss
from tests.jax_processes import PLAIN, finish, needs_jax, start

WORDS = ["startseq", "endseq", *(f"word{number}" for number in range(9))]
LONGEST = 7


def loss_and_gradients(model, loss) -> tuple[float, list[np.ndarray]]:
    import tensorflow as tf  # the default backend's own differentiation

    with tf.GradientTape() as tape:
        value = loss()
    gradients = tape.gradient(value, [v.value for v in model.trainable_variables])
    return float(value), [ops.convert_to_numpy(tf.convert_to_tensor(one)) for one in gradients]


@pytest.fixture(params=NAMES)
def name(request) -> str:
    return request.param


TOKENS = np.array([[1, 5, 3, 7, 3], [1, 9, 9, 4, 2], [1, 3, 11, 4, 6]])


def inputs_for(model, tokens=TOKENS) -> dict:
    return {"features": features_for(model, len(tokens)), "tokens": tokens}


def test_normalized_features_of_any_scale_give_the_same(name):
    """A model that has adapted takes features times 1,000, and moved, for the same ones."""
    plain = tiny(name, WORDS, 7, normalize=True)
    features = features_for(plain, 40)
    moved = 1000 * features.astype(np.float32) + 5000
    plain.adapt(features)
    other = plain.copy_with()
    other.adapt(moved)
    tokens = np.tile([[1, 3, 4]], (40, 1))
    first = plain.next_words({"features": features, "tokens": tokens})
    second = other.next_words({"features": moved, "tokens": tokens})
    np.testing.assert_allclose(first, second, atol=2e-2)
    rows = features.reshape(-1, features.shape[-1]).astype(np.float32)
    standard = ops.convert_to_numpy(plain.normalized(rows))
    np.testing.assert_allclose(standard.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(standard.std(axis=0), 1, atol=1e-3)


def test_normalized_features_are_not_rounded_before(name):
    """In bfloat16, numbers of a large mean and small deviation would all be alike."""
    logits = []
    for dtype in ("float32", "mixed_bfloat16"):
        model = tiny(name, WORDS, LONGEST, normalize=True, dtype=dtype)
        shape, random = (30, *model.feature_shape), np.random.default_rng(0)
        features = (10 + 0.1 * random.normal(size=shape)).astype(np.float32)
        model.adapt(features)
        inputs = {"features": features, "tokens": np.tile([[1, 3, 4]], (30, 1))}
        logits.append(ops.convert_to_numpy(ops.cast(model.next_words(inputs), "float32")))
    exact, rough = logits
    assert np.abs(exact - rough).mean() < 0.05 * np.abs(exact - exact.mean(axis=0)).mean() + 0.01


@pytest.mark.slow
@needs_jax
def test_under_jax_steps_equal_teacher_forcing_too():
    file = ROOT / "tests" / "decoders" / "test_decoders.py"
    chosen = ("-k", "test_steps_equal_teacher_forcing and not compiled", "-p", "no:cacheprovider")
    finish(start("-m", "pytest", file, *chosen, **PLAIN))


@pytest.mark.parametrize(
    ("step", "tied"), [("step", False), ("step", True), ("compiled_step", False)]
)
def test_steps_equal_teacher_forcing(name, step, tied):
    """Two captions of an image share its context."""
    model = tiny(name, WORDS, LONGEST, tied=tied)
    features = features_for(model, 2)
    tokens = TOKENS[[0, 1, 2, 0]]
    whole = model.next_words({"features": np.repeat(features, 2, axis=0), "tokens": tokens})

    context, state = model.start(features)
    state = tree.map_structure(lambda part: np.repeat(part, 2, axis=0), state)
    for position in range(tokens.shape[1]):
        logits, state = getattr(model, step)(tokens[:, position], context, state)
        np.testing.assert_allclose(logits, whole[:, position], atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"tied": True, "label_smoothing": 0.2}])
def test_loss_and_gradients_equal_a_plain_cross_entropy(name, options):
    model = tiny(name, WORDS, LONGEST, **options)
    inputs, following = inputs_for(model, TOKENS[:, :-1]), TOKENS[:, 1:]

    def plain():
        count, smoothing = len(WORDS) + 1, options.get("label_smoothing", 0.0)
        targets = (1 - smoothing) * ops.one_hot(following, count) + smoothing / count
        scores = ops.log_softmax(model.next_words(inputs, training=True))
        loss = -ops.mean(ops.sum(targets * scores, -1))
        if name == "attention":
            unseen = ops.square(1 - ops.sum(model.attention(inputs), axis=1))
            loss += model.penalty * ops.mean(ops.sum(unseen, axis=1)) / following.shape[1]
        return loss

    loss, gradients = loss_and_gradients(model, lambda: training_loss(model, inputs, following))
    expected_loss, expected_gradients = loss_and_gradients(model, plain)

    assert loss == pytest.approx(expected_loss, abs=1e-5)
    for gradient, expected in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(gradient, expected, atol=1e-5)


def test_shown_loss_is_without_smoothing_and_penalty(name):
    model = tiny(name, WORDS, LONGEST, label_smoothing=0.2)
    inputs, following = inputs_for(model, TOKENS[:, :-1]), TOKENS[:, 1:].copy()
    following[1, 2] = 0  # no word of the vocabulary, which does not count
    scores = np.array(ops.log_softmax(model.next_words(inputs)))

    training_loss(model, inputs, following)

    chosen = np.take_along_axis(scores, following[:, :, None], axis=2)[following > 0]
    assert float(model.token_loss.result()) == pytest.approx(-chosen.mean(), abs=1e-5)


def test_dropout_acts_in_training_only(name):
    model = tiny(name, WORDS, LONGEST, dropout=0.5)
    inputs = inputs_for(model)
    first, second, *trained = (
        model.next_words(inputs, training) for training in (False, False, True, True)
    )
    assert np.array_equal(first, second)
    assert not np.array_equal(*trained)


@pytest.mark.parametrize("tied", [False, True])
def test_saved_model_comes_back_with_its_vocabulary(name, tied, tmp_path):
    model = tiny(name, WORDS, LONGEST, tied=tied)
    model.encoder = {"encoder": "resnet50", "weights_sha256": "abc"}
    model.save(tmp_path / "model.keras")
    loaded = load_captioner(tmp_path / "model.keras")
    inputs = inputs_for(model)
    assert np.array_equal(loaded.next_words(inputs), model.next_words(inputs))
    assert loaded.vocabulary == model.vocabulary
    assert loaded.encoder == model.encoder
    assert loaded.feature_shape == model.feature_shape


@pytest.mark.parametrize(
    "reader, shape, message",
    [
        ("attention", (5,), "takes a grid of vectors; make that with: .* --only features --grid"),
        ("transformer", (9, 5), r"features \(9, 5\), but .* takes \(4, 5\)"),
    ],
)
def test_features_of_another_shape_are_refused(reader, shape, message, tmp_path):
    model, features = tiny(reader, WORDS, LONGEST), Features(["a"], np.ones((1, *shape)), {})
    with pytest.raises(UserError, match=message):
        check_features(model, tmp_path / "model.keras", features, tmp_path / "features")
