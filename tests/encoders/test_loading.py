import keras
import numpy as np
import pytest

from captioning.cli import UserError
from captioning.encoders.encoder import Encoder
from captioning.encoders.loading import load_encoder
from captioning.encoders.networks.efficientnet import supervised_weights
from captioning.encoders.networks.vit import SelfAttention
from captioning.encoders.table import build_network
from captioning.encoders.weights import save_encoder
from captioning.features.extraction import extract
from captioning.files import EXAMPLES
from captioning.images.reading import load_rgb
from captioning.untrusted.checkpoints import read_checkpoint


@pytest.fixture(scope="module")
def lite0():
    return load_encoder("efficientnet_lite0")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    files = sorted(EXAMPLES.glob("*.jpg"))[:5]
    return np.stack([load_rgb(file, 224) for file in files])


def test_supervised_weights_name_the_cat(lite0):
    """With the classifier of the checkpoint on top: class 285 of ImageNet is 'Egyptian cat'."""
    tensors = read_checkpoint(supervised_weights())
    features = lite0.encode_few(load_rgb(EXAMPLES / "cat.jpg", 224)[None])
    logits = features @ tensors["_fc.weight"].T + tensors["_fc.bias"]
    assert logits.argmax() == 285


def test_pictures_together_equal_one_at_a_time(lite0, images):
    together = lite0.encode(images, batch_size=8)  # filled up from 5
    alone = np.concatenate([lite0.encode_few(image[None]) for image in images])
    assert together.shape == (5, 1280)
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_grid_is_in_half_precision_and_its_mean_is_the_vector(lite0, images):
    together = lite0.encode(images, batch_size=8, grid=True)
    alone = lite0.encode_few(images[:1], grid=True)
    assert together.shape == (5, 49, 1280)
    assert together.dtype == np.float16
    # Both are rounded: at a tie they are one unit in the last place apart, 2^-10 of the number.
    np.testing.assert_allclose(together[:1], alone, rtol=2**-10, atol=2e-3)
    vectors = lite0.encode(images, batch_size=8)
    np.testing.assert_allclose(together.mean(axis=1, dtype=np.float32), vectors, atol=2e-3)


def made_up(**outputs) -> Encoder:
    """An encoder whose features are the pixels of a picture's corner, or as said."""
    pixels = keras.Input((None, None, 3))
    outputs = {"pooled": pixels[:, 0, 0], **{key: make(pixels) for key, make in outputs.items()}}
    return Encoder(keras.Model(pixels, outputs), {"encoder": "made up", "weights": "w.h5"})


def test_an_encoder_without_a_grid_gives_none(images):
    with pytest.raises(UserError, match="no grid"):
        made_up().encode_few(images[:1], grid=True)


@pytest.mark.parametrize("value", [np.nan, 1e9])
def test_features_that_are_not_finite_are_refused(value):
    images = np.zeros((3, 8, 8, 3), np.float32)
    images[1, 0, 0, 0] = value
    encoder = made_up(grid=lambda pixels: pixels)
    message = r"made up \(w\.h5\) gives features that are not"
    with pytest.raises(UserError, match=message):
        encoder.encode(images, 4, grid=True)
    if not np.isfinite(value):  # what a grid's half precision cannot hold, a vector can
        with pytest.raises(UserError, match=message):
            encoder.encode(images, 4)


def test_bfloat16_features_point_the_same_way(lite0, images):
    exact = lite0.encode(images, batch_size=5)
    rough = load_encoder("efficientnet_lite0", dtype="bfloat16").encode(images, batch_size=5)
    assert rough.dtype == np.float32
    lengths = np.linalg.norm(exact, axis=1) * np.linalg.norm(rough, axis=1)
    assert ((exact * rough).sum(1) / lengths).min() > 0.999


def test_random_weights_are_loudly_called_so_and_repeatable(capsys):
    digests = [load_encoder("resnet18", seed=s).info["weights_sha256"] for s in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]
    assert "RANDOM" in capsys.readouterr().err


def test_vit_takes_other_sizes_than_its_own():
    network = build_network("vit_small")
    assert network.count_params() == 21_665_664
    for size, patches in ((64, 4), (96, 6)):
        out = network(np.zeros((2, size, size, 3), "f4"))
        assert out["pooled"].shape == (2, 384)
        assert out["grid"].shape == (2, patches, patches, 384)
    again = keras.models.clone_model(network)  # MoCo and BYOL copy it
    again.set_weights(network.get_weights())
    pixels = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)).astype("f4")
    np.testing.assert_allclose(again(pixels)["pooled"], network(pixels)["pooled"], atol=1e-5)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    (tmp_path / "text.weights.h5").write_text("no weights")
    build_network("alexnet").save_weights(tmp_path / "other.weights.h5")
    for name in ("missing.weights.h5", "text.weights.h5", "other.weights.h5"):
        with pytest.raises(UserError, match=name):
            load_encoder("efficientnet_lite0", tmp_path / name)


def test_unknown_encoder_is_refused_and_known_ones_are_named():
    with pytest.raises(UserError, match="resnet50"):
        load_encoder("vgg16")


def test_stage_1_stops_at_features_that_are_not_finite_and_names_the_encoder(tmp_path):
    paths = {"cat": EXAMPLES / "cat.jpg", "dog": EXAMPLES / "dog.jpg"}
    encoder = made_up(pooled=lambda pixels: pixels[:, 0, 0] * 1e38)
    with pytest.raises(UserError, match=r"the encoder made up .*not finite"):
        extract(encoder, paths, tmp_path / "features.pkl", batch_size=2, resume=False)
    assert not (tmp_path / "features.pkl").exists()


def test_an_encoder_takes_pictures_of_another_size():
    encoder = load_encoder("resnet18")
    assert encoder.positions == 49
    encoder.resize(96)
    assert (encoder.positions, encoder.info["preprocessing"]) == (9, "squash(96)|imagenet")


def test_heads_of_attention_that_are_not_ours_are_kept_with_the_weights(tmp_path):
    network = build_network("vit_small")
    network.set_weights([weight.astype("f2") for weight in network.get_weights()])
    for layer in network.layers:
        if isinstance(layer, SelfAttention):
            layer.heads = 12  # as in MoCo v3's checkpoints

    save_encoder(network, tmp_path / "vit.weights.h5", {"encoder": "vit_small"})

    pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)).astype(np.uint8)
    loaded = load_encoder("vit_small", tmp_path / "vit.weights.h5").network
    np.testing.assert_allclose(loaded(pixels)["pooled"], network(pixels)["pooled"], atol=1e-5)
