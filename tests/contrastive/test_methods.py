"""SimCLR, MoCo and BYOL step by step: slow networks, queue, schedule, and that they learn."""

import keras
import numpy as np
import pytest
from keras import ops

from captioning.encoders.networks.resnet import zero_last_scales
from captioning.encoders.table import build_network
from contrastive.byol import BYOL
from contrastive.losses import unit
from contrastive.methods import groups_of
from contrastive.moco import MoCo
from contrastive.optimizers import LARS, SGD
from contrastive.simclr import SimCLR
from tests.pretext_tools import patterns, tiny_encoder, views, weights_of

pytestmark = pytest.mark.slow

JIT = keras.backend.backend() != "tensorflow"
SMALL = {"projection": 8}
METHODS = {
    "simclr": lambda encoder: SimCLR(encoder, views(), **SMALL),
    "moco": lambda encoder: MoCo(
        encoder, views(16, "moco"), queue_size=64, momentum=0.9, groups=2, **SMALL
    ),
    "byol": lambda encoder: BYOL(encoder, views(16, "byol"), total_steps=20, hidden=32, **SMALL),
}


def compiled(model, optimizer=None):
    """The model, ready to train."""
    model.compile(optimizer=optimizer or keras.optimizers.Adam(3e-3), jit_compile=JIT)
    model.optimizer.build(model.trainable_variables)  # else the first step's graph is made twice
    return model


def fit(model, pictures, steps: int, epochs: int = 1) -> list[float]:
    """Train a compiled model on the same batch; the mean loss of every epoch."""
    stream = ((pictures,) for _ in range(steps * epochs + 4))
    return model.fit(stream, steps_per_epoch=steps, epochs=epochs, verbose=0).history["loss"]


@pytest.mark.parametrize("method", METHODS)
def test_loss_falls_and_only_the_fast_network_is_trained(method):
    model = compiled(METHODS[method](tiny_encoder()))
    trained = {variable.path for variable in model.trainable_variables}
    assert not any(word in path for path in trained for word in ("queue", "target", "momentum"))
    losses = fit(model, patterns(32), steps=5, epochs=5)
    assert np.isfinite(losses).all()
    if method != "moco":  # its queue fills with ever harder negatives at first
        assert losses[-1] < losses[0]


@pytest.mark.parametrize("method", ["moco", "byol"])
def test_slow_network_follows_by_the_momentum(method):
    """slow = m slow + (1 - m) fast, with the fast weights that the last step left."""
    model = compiled(METHODS[method](tiny_encoder()), keras.optimizers.SGD(0.1))
    slow_encoder = model.momentum_encoder if method == "moco" else model.target_encoder
    slow_head = model.momentum_head if method == "moco" else model.target_head
    pairs = [(slow_encoder, model.encoder), (slow_head, model.head)]
    for slow, fast in pairs:
        assert len(slow.trainable_variables) == 0
        for a, b in zip(weights_of(slow), weights_of(fast), strict=True):
            np.testing.assert_array_equal(a, b)
    for step in range(4):
        before = [(weights_of(slow), weights_of(fast)) for slow, fast in pairs]
        fit(model, patterns(16, seed=step), steps=1)
        rising = 1 - (1 - 0.996) * (np.cos(np.pi * step / 20) + 1) / 2
        momentum = 0.9 if method == "moco" else rising
        for (slow, fast), (slow_before, fast_before) in zip(pairs, before, strict=True):
            values = zip(fast.weights, weights_of(slow), slow_before, fast_before, strict=True)
            for weight, got, s, f in values:
                if weight.trainable:  # running statistics are each network's own
                    np.testing.assert_allclose(got, momentum * s + (1 - momentum) * f, atol=1e-5)
            assert any(np.abs(a - b).max() > 1e-4 for a, b in
                       zip(weights_of(fast), fast_before, strict=True))  # fmt: skip


def test_byol_momentum_rises_towards_one():
    model = BYOL(tiny_encoder(), views(), momentum=0.99, total_steps=10_000, hidden=16, **SMALL)
    values = [float(model.momentum_at(step)) for step in (0, 100, 2000, 5000, 10_000, 20_000)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(0.99)
    assert values[3] == pytest.approx(0.995, abs=1e-5)
    assert values[-2:] == pytest.approx([1.0, 1.0], abs=1e-3)


def test_queue_takes_the_keys_in_turn():
    """Three batches of 16 in a queue of 32: the third overwrites the first."""
    model = MoCo(tiny_encoder(), views(), queue_size=32, **SMALL)
    start = ops.convert_to_numpy(model.queue.value)
    np.testing.assert_allclose(np.linalg.norm(start, axis=1), 1, atol=1e-5)
    expected = start.copy()
    for step in range(3):
        first, second = (patterns(16, 16, seed=10 * step + n).astype("f4") for n in (0, 1))
        embedded = model.embed([first, second], training=True)
        slow = model.momentum_encoder(second, training=True)["pooled"]
        keys = ops.convert_to_numpy(unit(model.momentum_head(slow)))
        np.testing.assert_allclose(ops.convert_to_numpy(embedded["keys"]), keys, atol=1e-5)
        queue_before = ops.convert_to_numpy(model.queue.value).copy()
        np.testing.assert_allclose(queue_before, expected, atol=1e-5)
        model.loss_of(embedded)
        place = 16 * (step % 2)
        expected[place : place + 16] = keys
        np.testing.assert_allclose(ops.convert_to_numpy(model.queue.value), expected, atol=1e-5)
        assert int(model.position.value) == 16 * ((step + 1) % 2)


@pytest.mark.parametrize("method", ["moco", "byol"])
def test_slow_network_normalises_by_the_batch_in_training(method):
    """By running statistics, brighter pictures would change what it says."""
    model = METHODS[method](tiny_encoder())
    slow = model.momentum_encoder if method == "moco" else model.target_encoder
    views = patterns(16, 16).astype("f4")
    said, said_of_brighter = (
        ops.convert_to_numpy(slow(ops.convert_to_tensor(pixels), training=True)["pooled"])
        for pixels in (views, 128 + 2 * (views - 128))
    )
    np.testing.assert_allclose(said, said_of_brighter, atol=1e-2)


def test_moco_spreads_its_vectors():
    model = MoCo(tiny_encoder(), views(), queue_size=64, momentum=0.99, **SMALL)
    compiled(model)
    history = model.fit(
        ((patterns(32),) for _ in range(104)), steps_per_epoch=25, epochs=4, verbose=0
    ).history["spread"]
    assert history[-1] > 1.5 * history[0]


@pytest.mark.parametrize("method", METHODS)
def test_config_round_trip(method):
    model = METHODS[method](tiny_encoder())
    config = keras.saving.serialize_keras_object(model)
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(model)
    assert len(again.variables) == len(model.variables)


def test_byol_collapses_without_its_predictor_and_not_with_it():
    pictures = patterns(32)
    spreads = {}
    for predictor in (True, False):
        model = BYOL(
            tiny_encoder(), views(), momentum=0.9, total_steps=10**6, hidden=32, projection=8,
            predictor=predictor, seed=1,
        )  # fmt: skip
        fit(compiled(model, keras.optimizers.Adam(1e-2)), pictures, steps=100)
        features = model.encoder(pictures.astype("f4"), training=False)["pooled"]
        projected = ops.convert_to_numpy(unit(model.head(features, training=False)))
        spreads[predictor] = 1 - np.square(projected.mean(axis=0)).sum()
    assert spreads[False] < 0.02
    assert spreads[True] > 10 * spreads[False]


def test_lars_step():
    """Matrices move by trust times their norm; vectors as in SGD, without decay."""
    matrix = keras.Variable(np.full((2, 2), 3.0, np.float32))
    vector = keras.Variable(np.full((2,), 3.0, np.float32))
    optimizer = LARS(2.0, decay=0.5, trust=0.01, momentum=0.0)
    optimizer.build([matrix, vector])
    gradients = [ops.ones((2, 2)), ops.ones((2,))]
    optimizer.apply(gradients)
    full = 1 + 0.5 * 3  # gradient and decay
    expected = 3 - 2.0 * full * 0.01 * 6 / (2 * full)
    np.testing.assert_allclose(ops.convert_to_numpy(matrix.value), expected, rtol=1e-6)
    np.testing.assert_allclose(ops.convert_to_numpy(vector.value), 1.0, rtol=1e-6)


def test_sgd_decays_through_the_momentum():
    """As torch.optim.SGD: the decay is part of the gradient that the momentum gathers."""
    weight = keras.Variable(np.array([2.0, -4.0], np.float32))
    optimizer = SGD(0.1, decay=0.5, momentum=0.9)
    optimizer.build([weight])
    expected, velocity = np.array([2.0, -4.0]), np.zeros(2)
    for gradient in ([1.0, 0.0], [0.0, 3.0], [-1.0, 1.0]):
        optimizer.apply([ops.convert_to_tensor(np.array(gradient, np.float32))])
        velocity = 0.9 * velocity - 0.1 * (np.array(gradient) + 0.5 * expected)
        expected = expected + velocity
        np.testing.assert_allclose(ops.convert_to_numpy(weight.value), expected, rtol=1e-5)


def test_moco_normalises_shuffled_groups():
    """As by hand: in the order that was drawn, a group at a time, then back in place."""
    model = MoCo(tiny_encoder(), views(), queue_size=32, groups=4, momentum=1.0, **SMALL)
    first, second = (patterns(16, 16, seed=seed).astype("f4") for seed in (1, 2))
    drawn = keras.random.SeedGenerator(model.seed + 1)
    key_order, query_order = (
        ops.convert_to_numpy(keras.random.shuffle(ops.arange(16), seed=drawn)) for _ in range(2)
    )

    def project(encoder, head, pixels, order):
        vectors = np.zeros((16, 8), np.float32)
        for part in np.split(order, 4):
            pooled = encoder(ops.convert_to_tensor(pixels[part]), training=True)["pooled"]
            vectors[part] = ops.convert_to_numpy(head(pooled))
        return vectors

    keys = project(model.momentum_encoder, model.momentum_head, second, key_order)
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    queries = project(model.encoder, model.head, first, query_order)
    embedded = model.embed([first, second], training=True)
    np.testing.assert_allclose(ops.convert_to_numpy(embedded["keys"]), keys, atol=1e-5)
    np.testing.assert_allclose(ops.convert_to_numpy(embedded["queries"]), queries, atol=1e-4)


def test_moco_groups_mix_the_sources_of_a_batch():
    """A batch comes sorted by source: queries in that order would lose what tells these apart."""
    model = MoCo(tiny_encoder(), views(), queue_size=32, groups=2, **SMALL)
    dark, bright = patterns(32, 16).astype("f4") / 4, 190 + patterns(32, 16).astype("f4") / 4
    batch = np.concatenate([dark, bright])

    embedded = model.embed([batch, batch], training=True)

    for vectors in map(ops.convert_to_numpy, embedded.values()):
        between = np.linalg.norm(vectors[:32].mean(axis=0) - vectors[32:].mean(axis=0))
        within = vectors[:32].std(axis=0).max()
        assert between > within


@pytest.mark.parametrize(("batch_size", "groups"), [(256, 8), (64, 4), (8, 2), (9, 1), (100, 5)])
def test_moco_groups(batch_size, groups):
    assert groups_of(batch_size) == groups


def test_multi_crop_projects_every_view_of_a_picture():
    model = SimCLR(tiny_encoder(), views(16, small_crops=3), **SMALL)
    pictures = keras.KerasTensor((32, 24, 24, 3), "uint8")
    embedded = model.compute_output_spec(pictures, training=True)
    assert embedded["views"].shape == (2, 32, 8)
    assert embedded["small"].shape == (3, 32, 8)
    losses = fit(compiled(model), patterns(32), steps=5, epochs=5)
    assert losses[-1] < losses[0]


def test_blocks_begin_as_their_shortcuts():
    network = build_network("resnet18")
    zero_last_scales(network)
    norms = [layer for layer in network.layers if layer.name.endswith("norm")]
    zero = {layer.name for layer in norms if not ops.convert_to_numpy(layer.gamma).any()}
    assert zero == {f"stage{s}_block{b}_2_norm" for s in (1, 2, 3, 4) for b in (0, 1)}
