"""Fine-tuning: what learns and what does not."""

import keras
import numpy as np
import pytest

from captioning.cli import UserError
from captioning.decoders.table import decoder_class
from captioning.encoders.encoder import Encoder
from captioning.encoders.table import ENCODERS, TABLE, build_network
from captioning.training.end_to_end import EndToEnd, averaged, unfreeze
from captioning.training.optimizers import AdamW

WORDS = ["startseq", "endseq", *"abcdefgh"]


def end_to_end_model(grid: bool, captions: int = 2) -> EndToEnd:
    """ResNet-18 with random weights for pictures of 64 px, and a small decoder on its features."""
    network = build_network("resnet18", seed=1)
    keras.utils.set_random_seed(2)
    kind, options = "merge", {"units": 8, "dropout": 0.0}
    if grid:
        kind = "attention"
        options |= {"positions": 4, "width": 8, "output_dropout": 0.0, "penalty": 0.0}
    decoder = decoder_class(kind)(512, WORDS, 8, **options)
    return EndToEnd(network, decoder, captions)


def some_batch(images: int, captions: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    random = np.random.default_rng(3)
    pixels = random.integers(0, 256, (images, 64, 64, 3)).astype(np.uint8)
    tokens = random.integers(1, 10, (images * captions, 6)).astype(np.int32)
    return {"pixels": pixels, "tokens": tokens[:, :-1]}, tokens[:, 1:]


@pytest.mark.parametrize("grid", [False, True])
def test_the_end_to_end_model_is_the_encoder_and_then_the_decoder(grid):
    model = end_to_end_model(grid)
    inputs, _ = some_batch(3, 2)

    hidden = model(inputs)[0]

    encoder = Encoder(model.network, {"encoder": "resnet18"})
    features = encoder.encode_few(inputs["pixels"], grid=grid)
    features = np.repeat(features.astype(np.float32), 2, axis=0)
    expected = model.decoder({"features": features, "tokens": inputs["tokens"]})[0]
    np.testing.assert_allclose(hidden, expected, atol=2e-3)  # a grid is stored in half precision


@pytest.mark.parametrize("name", [name for name in ENCODERS if name != "jigsaw"])
def test_only_the_last_stage_of_every_encoder_learns(name):
    network = build_network(name)

    unfreeze(network, name)

    learning = [layer.trainable for layer in network.layers]
    assert learning == sorted(learning)  # from some layer on to the end
    learned = sum(np.prod(weight.shape) for weight in network.trainable_weights)
    assert 0.2 < learned / network.count_params() < 0.85


@pytest.mark.parametrize(
    ("stages", "first", "depths"),
    [("1", "stage4_", {0}), ("3", "stage2_", {0, 1, 2}), ("all", "stem_", {0, 1, 2, 3, 4})],
)
def test_as_many_stages_learn_as_are_asked_for(stages, first, depths):
    network = build_network("resnet18")

    learning = unfreeze(network, "resnet18", stages)

    assert learning.keys() == {weight.path for weight in network.trainable_weights}
    assert next(iter(learning)).startswith(first)
    assert set(learning.values()) == depths
    assert learning["stage4_block0_1_conv/kernel"] == 0


@pytest.mark.parametrize(
    ("encoder", "stages", "message"),
    [
        ("jigsaw", "last", "the encoder jigsaw cannot be fine-tuned"),
        ("resnet18", "5", "--stages 5: the encoder resnet18 has 4, and a stem"),
    ],
)
def test_what_has_no_such_stages_is_refused(encoder, stages, message):
    with pytest.raises(UserError, match=message):
        unfreeze(build_network("resnet18"), encoder, stages)


def test_the_moving_average_is_there_within_the_block_alone():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    optimizer = AdamW(1e-2, use_ema=True, ema_momentum=0.75)
    model.compile(optimizer=optimizer, loss="mse", jit_compile=False)
    variable = model.trainable_variables[0]
    values = []
    for _ in range(3):
        model.train_on_batch(np.ones((4, 3)), np.ones((4, 2)))
        values.append(keras.ops.convert_to_numpy(variable.value))

    with averaged(model):
        inside = keras.ops.convert_to_numpy(variable.value)

    expected = values[0]
    for value in values[1:]:
        expected = 0.75 * expected + 0.25 * value
    np.testing.assert_allclose(inside, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable.value), values[2])


@pytest.mark.slow
def test_steps_lower_the_loss_and_move_the_last_stage_and_no_statistics():
    model = end_to_end_model(grid=True)
    unfreeze(model.network, "resnet18")
    model.compile(optimizer=keras.optimizers.Adam(3e-3), jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    weights = model.network.weights
    before = {weight.path: np.array(weight.value) for weight in weights}
    batch = some_batch(4, 2)
    losses = []
    for _ in range(30):
        model.reset_metrics()  # else it gives the mean of all steps
        losses.append(model.train_on_batch(*batch, return_dict=True)["token_loss"])
    assert losses[-1] < losses[0] - 0.5
    moved = {w.path for w in weights if not np.array_equal(before[w.path], w.value)}
    assert moved == {weight.path for weight in model.network.trainable_weights}
    assert all(path.split("/")[-2].startswith(TABLE["resnet18"].stages[-1]) for path in moved)
