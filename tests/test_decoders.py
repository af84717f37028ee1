import keras
import numpy as np
import pytest
from keras import layers, ops

from captioning.decoders import MergeDecoder

WORDS = ["startseq", "endseq", *(f"word{number}" for number in range(9))]
FEATURES, LONGEST = 6, 7


@pytest.fixture
def model() -> MergeDecoder:
    keras.utils.set_random_seed(1)
    return MergeDecoder(FEATURES, WORDS, LONGEST, units=8, dropout=0.0)


@pytest.fixture
def captions():
    """Two captions of each of two lengths, and their images' features."""
    random = np.random.default_rng(2)
    return [
        (
            random.normal(size=(2, FEATURES)).astype(np.float32),
            np.concatenate(
                [np.full((2, 1), 1), random.integers(3, 12, (2, length)), np.full((2, 1), 2)], 1
            ),
        )
        for length in (2, 5)
    ]


def original_model(source: MergeDecoder) -> keras.Model:
    """The original pipeline's model, written as it was, with the weights of `source`."""
    image = keras.Input((FEATURES,))
    x = layers.Dense(8, activation="relu", name="image_dense")(layers.Dropout(0.0)(image))
    prefix = keras.Input((LONGEST,))
    embedded = layers.Embedding(len(WORDS) + 1, 8, mask_zero=True, name="embedding")(prefix)
    y = layers.LSTM(8, name="lstm")(layers.Dropout(0.0)(embedded))
    z = layers.Dense(8, activation="relu", name="merge_dense")(layers.add([x, y]))
    word = layers.Dense(len(WORDS) + 1, activation="softmax", name="output_dense")(z)
    model = keras.Model([image, prefix], word)
    for name in ("image_dense", "embedding", "lstm", "merge_dense", "output_dense"):
        model.get_layer(name).set_weights(getattr(source, name).get_weights())
    return model


def expand(captions):
    """Every prefix of every caption, left-padded, the next word one-hot: the original's way."""
    images, prefixes, words = [], [], []
    for features, tokens in captions:
        for vector, caption in zip(features, tokens, strict=True):
            for end in range(1, len(caption)):
                images.append(vector)
                prefixes.append([0] * (LONGEST - end) + caption[:end].tolist())
                words.append(keras.utils.to_categorical(caption[end], len(WORDS) + 1))
    return np.array(images), np.array(prefixes), np.array(words)


def loss_and_gradients(model, loss) -> tuple[float, dict[str, np.ndarray]]:
    import tensorflow as tf  # the default backend's own differentiation

    with tf.GradientTape() as tape:
        value = loss()
    gradients = tape.gradient(value, [v.value for v in model.trainable_variables])
    by_name = {
        "/".join(variable.path.split("/")[-2:]): ops.convert_to_numpy(
            tf.convert_to_tensor(gradient)
        )
        for variable, gradient in zip(model.trainable_variables, gradients, strict=True)
    }
    return float(value), by_name


def test_loss_and_gradients_equal_the_originals_prefix_expansion(model, captions):
    original = original_model(model)
    images, prefixes, words = expand(captions)

    def ours():
        words = [tokens[:, 1:].size for _, tokens in captions]
        means = [
            model.compute_loss(
                {"features": features, "tokens": tokens[:, :-1]}, tokens[:, 1:], training=True
            )
            for features, tokens in captions
        ]
        return sum(n * mean for n, mean in zip(words, means, strict=True)) / sum(words)

    def theirs():
        predicted = original([images, prefixes], training=True)
        return ops.mean(ops.categorical_crossentropy(words, predicted))

    loss, gradients = loss_and_gradients(model, ours)
    expected_loss, expected_gradients = loss_and_gradients(original, theirs)

    assert loss == pytest.approx(expected_loss, abs=1e-5)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, expected_gradients[name], atol=1e-5, err_msg=name)


def test_steps_equal_teacher_forcing(model, captions):
    features, tokens = captions[1]
    whole = model({"features": features, "tokens": tokens})

    state = model.start(features)
    for position in range(tokens.shape[1]):
        logits, state = model.step(tokens[:, position], state)
        np.testing.assert_allclose(logits, whole[:, position], atol=1e-5)


def test_dropout_acts_in_training_only(captions):
    model = MergeDecoder(FEATURES, WORDS, LONGEST, units=8, dropout=0.5)
    features, tokens = captions[0]
    inputs = {"features": features, "tokens": tokens}
    assert np.array_equal(model(inputs), model(inputs))
    assert not np.array_equal(model(inputs, training=True), model(inputs, training=True))


def test_saved_model_comes_back_with_its_vocabulary(model, captions, tmp_path):
    model.encoder = {"encoder": "resnet50", "weights_sha256": "abc"}
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    features, tokens = captions[0]
    inputs = {"features": features, "tokens": tokens}
    assert np.array_equal(loaded(inputs), model(inputs))
    assert loaded.vocabulary == model.vocabulary
    assert loaded.encoder == model.encoder
