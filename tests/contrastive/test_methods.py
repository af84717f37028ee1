"""SimCLR, MoCo and BYOL step by step: slow networks, queue, schedule, and that they learn."""

import keras
import numpy as np
import pytest
from keras import ops

from captioning.encoders.networks.resnet import zero_last_scales
from captioning.encoders.table import build_network
from contrastive.byol import BYOL
from contrastive.losses import l2_normalize, nt_xent
from contrastive.moco import MoCo, groups_of
from contrastive.optimizers import LARS, SGD
from contrastive.presets import views_for
from contrastive.simclr import SimCLR
from tests.pretext_tools import patterns, tiny_encoder, weights_of

pytestmark = pytest.mark.slow

JIT = keras.backend.backend() != "tensorflow"
numpy = ops.convert_to_numpy


def simclr() -> SimCLR:
    return SimCLR(tiny_encoder(), views_for("simclr", 16, small_crops=3))


def moco(momentum: float = 0.9, **options) -> MoCo:
    views = views_for("moco", 16)
    return MoCo(tiny_encoder(), views, momentum=momentum, **{"queue_size": 64, **options})


def byol(momentum: float = 0.996, steps: int = 20) -> BYOL:
    return BYOL(tiny_encoder(), views_for("byol", 16), momentum=momentum, steps=steps)


METHODS = {"simclr": simclr, "moco": moco, "byol": byol}


def compiled(model, optimizer=None):
    """The model, ready to train."""
    model.compile(optimizer=optimizer or keras.optimizers.Adam(3e-3), jit_compile=JIT)
    model.optimizer.build(model.trainable_variables)  # else the first step's graph is made twice
    return model


def fit(model, images, steps: int, epochs: int = 1) -> dict[str, list[float]]:
    """Train a compiled model on the same batch; the means of every epoch."""
    stream = ((images,) for _ in range(steps * epochs + 4))
    return model.fit(stream, steps_per_epoch=steps, epochs=epochs, verbose=0).history


@pytest.mark.parametrize("method", ["simclr", "byol"])
def test_loss_falls(method):
    losses = fit(compiled(METHODS[method]()), patterns(32), steps=5, epochs=5)["loss"]
    assert losses[-1] < losses[0]


def test_moco_spreads_its_vectors():
    """Its loss rises at first, because its queue fills with ever harder negatives."""
    history = fit(compiled(moco(0.99)), patterns(32), steps=25, epochs=4)
    assert np.isfinite(history["loss"]).all()
    assert history["spread"][-1] > 1.5 * history["spread"][0]


def slow_and_fast(model) -> list[tuple[keras.Model, keras.Model]]:
    """The networks of MoCo or BYOL that no gradient reaches, and those that they follow."""
    if isinstance(model, MoCo):
        return [(model.momentum_encoder, model.encoder), (model.momentum_head, model.head)]
    return [(model.target_encoder, model.encoder), (model.target_head, model.head)]


@pytest.mark.parametrize("method", ["moco", "byol"])
def test_slow_network_follows_by_the_momentum(method):
    """slow = m slow + (1 - m) fast, with the fast weights that the last step left."""
    model = compiled(METHODS[method](), keras.optimizers.SGD(0.1))
    trained = {variable.path for variable in model.trainable_variables}
    assert not any(word in path for path in trained for word in ("queue", "target", "momentum"))
    pairs = slow_and_fast(model)
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
            moved = zip(weights_of(fast), fast_before, strict=True)
            assert any(np.abs(a - b).max() > 1e-4 for a, b in moved)


@pytest.mark.parametrize("method", ["moco", "byol"])
def test_slow_network_normalises_by_the_batch_in_training(method):
    """By running statistics, brighter pictures would change what it says."""
    (slow, _), _ = slow_and_fast(METHODS[method]())
    views = patterns(16, 16).astype("f4")
    said, said_of_brighter = (
        numpy(slow(ops.convert_to_tensor(pixels), training=True)["pooled"])
        for pixels in (views, 128 + 2 * (views - 128))
    )
    np.testing.assert_allclose(said, said_of_brighter, atol=1e-2)


def test_byol_predicts_the_target_of_the_other_view():
    """arXiv 2006.07733, equation 2, both ways round."""
    model = byol()
    views = [patterns(8, 16, seed=seed).astype("f4") for seed in (0, 1)]
    both, swapped = np.concatenate(views), np.concatenate(views[::-1])
    projected = model.head(model.encoder(both, training=True)["pooled"], training=True)
    predictions = l2_normalize(model.predictor(projected, training=True))
    pooled = model.target_encoder(swapped, training=True)["pooled"]
    targets = model.target_head(pooled, training=True)

    loss, vectors = model.loss_of(views)

    np.testing.assert_allclose(numpy(vectors), numpy(targets), atol=1e-4)
    products = (numpy(predictions) * numpy(l2_normalize(targets))).sum(axis=1)
    assert float(loss) == pytest.approx(2 * np.mean(2 - 2 * products), rel=1e-4)


def test_queue_takes_the_keys_in_turn_after_the_loss_of_it(monkeypatch):
    """Three batches of 16 in a queue of 32: the third overwrites the first."""
    monkeypatch.setattr(MoCo, "_project", lambda _model, _encoder, _head, vectors: vectors)
    model = moco(queue_size=32)
    queue = numpy(model.queue.value).copy()
    np.testing.assert_allclose(np.linalg.norm(queue, axis=1), 1, atol=1e-5)
    for step in range(3):
        keys = numpy(l2_normalize(np.random.default_rng(step).normal(size=(16, 128)).astype("f4")))
        logits = np.concatenate([np.ones((16, 1)), keys @ queue.T], axis=1) / 0.2
        loss, _ = model.loss_of([ops.convert_to_tensor(keys)] * 2)
        expected = np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[:, 0])
        assert float(loss) == pytest.approx(expected, rel=1e-4)
        start = 16 * (step % 2)
        queue[start : start + 16] = keys
        np.testing.assert_allclose(numpy(model.queue.value), queue, atol=1e-5)
        assert int(model.position.value) == 16 * ((step + 1) % 2)


def test_moco_normalises_shuffled_groups():
    """As by hand: in the order that was drawn, a group at a time, then back in place."""
    model = moco(momentum=1.0, batch_size=64)  # four groups
    first, second = (patterns(64, 16, seed=seed).astype("f4") for seed in (1, 2))
    drawn = keras.random.SeedGenerator(1)  # the views' are 0 and 1000
    orders = (keras.random.shuffle(ops.arange(64), seed=drawn) for _ in range(2))
    key_order, query_order = map(numpy, orders)

    def project(encoder, head, pixels, order):
        vectors = np.zeros((64, 128), np.float32)
        for part in np.split(order, 4):
            pooled = encoder(ops.convert_to_tensor(pixels[part]), training=True)["pooled"]
            vectors[part] = numpy(head(pooled))
        return vectors

    keys = project(model.momentum_encoder, model.momentum_head, second, key_order)
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    queries = project(model.encoder, model.head, first, query_order)
    _, found = model.loss_of([first, second])
    np.testing.assert_allclose(numpy(model.queue)[:64], keys, atol=1e-5)
    np.testing.assert_allclose(numpy(found), queries, atol=1e-4)


def test_moco_mixes_two_sources_in_every_group_and_otherwise_for_queries_than_for_keys():
    model = moco(batch_size=64)  # four groups
    sources = np.repeat([0, 1], 32).astype("f4")  # a batch is in the order of its files
    views = ops.broadcast_to(sources[:, None, None, None], (64, 16, 16, 3))
    shares = []

    def spy(pixels, training):
        shares.append(float(ops.mean(pixels)))
        return model.encoder(pixels, training=training)

    for _ in range(2):
        model._project(spy, model.head, views)

    assert all(0.2 < share < 0.8 for share in shares)
    assert shares[:4] != shares[4:]


@pytest.mark.parametrize(("batch_size", "groups"), [(256, 8), (64, 4), (8, 2), (9, 1), (100, 5)])
def test_moco_groups(batch_size, groups):
    assert groups_of(batch_size) == groups


def test_multi_crop_contrasts_the_two_views_and_the_small_crops():
    model = simclr()
    sides = (16, 16, 8, 8, 8)
    views = [patterns(6, side, seed=n).astype("f4") for n, side in enumerate(sides)]

    def projected(some):
        """Of views that share a pass."""
        pooled = model.encoder(np.concatenate(some), training=True)["pooled"]
        return np.split(numpy(model.head(pooled, training=True)), len(some))

    (first, second), small = projected(views[:2]), projected(views[2:])
    loss, vectors = model.loss_of(views)

    np.testing.assert_allclose(numpy(vectors), first, atol=1e-4)
    expected = nt_xent(first, second, model.temperature, small)
    assert float(loss) == pytest.approx(float(expected), rel=1e-4)


def test_lars_step():
    """Matrices move by trust times their norm; vectors as in SGD, without decay."""
    matrix = keras.Variable(np.full((2, 2), 3.0, np.float32))
    vector = keras.Variable(np.full((2,), 3.0, np.float32))
    optimizer = LARS(2.0, decay=0.5, momentum=0.0)
    optimizer.trust = 0.01
    optimizer.build([matrix, vector])
    optimizer.apply([ops.ones((2, 2)), ops.ones((2,))])
    full = 1 + 0.5 * 3  # gradient and decay
    expected = 3 - 2.0 * full * 0.01 * 6 / (2 * full)
    np.testing.assert_allclose(numpy(matrix.value), expected, rtol=1e-6)
    np.testing.assert_allclose(numpy(vector.value), 1.0, rtol=1e-6)


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
        np.testing.assert_allclose(numpy(weight.value), expected, rtol=1e-5)


def test_blocks_begin_as_their_shortcuts():
    network = build_network("resnet18")
    zero_last_scales(network)
    norms = [layer for layer in network.layers if layer.name.endswith("norm")]
    zero = {layer.name for layer in norms if not numpy(layer.gamma).any()}
    assert zero == {f"stage{s}_block{b}_2_norm" for s in (1, 2, 3, 4) for b in (0, 1)}
