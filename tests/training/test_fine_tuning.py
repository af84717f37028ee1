"""Fine-tuning: what learns and what does not, the batches, and the run as a user has it."""

import csv
import subprocess

import h5py
import keras
import numpy as np
import pytest
from PIL import Image

from captioning.cli import UserError
from captioning.decoders.table import decoder_class
from captioning.encoders.encoder import Encoder
from captioning.encoders.loading import load_encoder
from captioning.encoders.networks.vit import SelfAttention
from captioning.encoders.table import ENCODERS, TABLE, build_network
from captioning.encoders.weights import save_encoder
from captioning.images.preprocessing import Preprocessing
from captioning.training.end_to_end import EndToEnd, averaged, thaw
from captioning.training.fine_tuning import batches
from captioning.training.optimizers import AdamW
from tests import zygote
from tests.conftest import ROOT, assert_refused, run_script

WORDS = ["startseq", "endseq", *"abcdefgh"]


def run_module(*arguments) -> subprocess.CompletedProcess:
    return zygote.run(["-m", "captioning.fine_tuning", *map(str, arguments)], ROOT)


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


def some_batch(pictures: int, captions: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    random = np.random.default_rng(3)
    pixels = random.integers(0, 256, (pictures, 64, 64, 3)).astype(np.uint8)
    tokens = random.integers(1, 10, (pictures * captions, 6)).astype(np.int32)
    return {"pixels": pixels, "tokens": tokens[:, :-1]}, tokens[:, 1:]


@pytest.mark.parametrize("grid", [False, True])
def test_the_end_to_end_model_is_the_encoder_and_then_the_decoder(grid):
    model = end_to_end_model(grid)
    inputs, _ = some_batch(3, 2)

    hidden = model(inputs)[0]

    features = Encoder(model.network, {}).encode_few(inputs["pixels"], grid=grid)
    features = np.repeat(features.astype(np.float32), 2, axis=0)
    expected = model.decoder({"features": features, "tokens": inputs["tokens"]})[0]
    np.testing.assert_allclose(hidden, expected, atol=2e-3)  # a grid is stored in half precision


@pytest.mark.parametrize("name", [name for name in ENCODERS if name != "jigsaw"])
def test_only_the_last_stage_of_every_encoder_learns(name):
    network = build_network(name)

    thaw(network, name)

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

    learning = thaw(network, "resnet18", stages)

    assert learning.keys() == {weight.path for weight in network.trainable_weights}
    assert next(iter(learning)).startswith(first)
    assert set(learning.values()) == depths
    assert learning["stage4_block0_1_conv/kernel"] == 0


def test_a_puzzle_solver_cannot_be_fine_tuned():
    with pytest.raises(UserError, match="the encoder jigsaw cannot be fine-tuned"):
        thaw(build_network("resnet18"), "jigsaw")


def test_more_stages_than_there_are_is_refused():
    with pytest.raises(UserError, match="--stages 5: the encoder resnet18 has 4, and a stem"):
        thaw(build_network("resnet18"), "resnet18", "5")


def test_an_encoder_takes_pictures_of_another_size():
    encoder = load_encoder("resnet18")
    assert encoder.places == 49
    encoder.resize(96)
    assert (encoder.places, encoder.info["preprocessing"]) == (9, "squash(96)|imagenet")


def test_heads_of_attention_that_are_not_ours_are_kept_with_the_weights(tmp_path):
    network = build_network("vit_small")
    for layer in network.layers:
        if isinstance(layer, SelfAttention):
            layer.heads = 12  # as in MoCo v3's checkpoints
    network.set_weights([array.astype("f2").astype("f4") for array in network.get_weights()])

    save_encoder(network, tmp_path / "vit.weights.h5", {"encoder": "vit_small"})

    pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)).astype(np.uint8)
    loaded = load_encoder("vit_small", tmp_path / "vit.weights.h5").network
    np.testing.assert_allclose(loaded(pixels)["pooled"], network(pixels)["pooled"], atol=1e-5)


def test_a_step_moves_the_last_stage_and_no_statistics():
    model = end_to_end_model(grid=True)
    thaw(model.network, "resnet18")
    model.compile(optimizer=keras.optimizers.AdamW(1e-3), jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    before = {weight.path: np.array(weight.value) for weight in model.network.weights}

    model.train_on_batch(*some_batch(4, 2))

    moved = {
        weight.path
        for weight in model.network.weights
        if not np.array_equal(before[weight.path], weight.value)
    }
    assert moved == {weight.path for weight in model.network.trainable_weights}
    assert all(path.split("/")[-2].startswith(TABLE["resnet18"].stages[-1]) for path in moved)


@pytest.mark.slow
def test_the_moving_average_is_there_within_the_block_alone():
    model = end_to_end_model(grid=False)
    optimizer = AdamW(1e-2, use_ema=True, ema_momentum=0.75)
    model.compile(optimizer=optimizer, jit_compile=False)
    variable = model.decoder.trainable_variables[0]
    values = []
    for _ in range(3):
        model.train_on_batch(*some_batch(2, 2))
        values.append(keras.ops.convert_to_numpy(variable.value))

    with averaged(model):
        inside = keras.ops.convert_to_numpy(variable.value)

    expected = values[0]
    for value in values[1:]:
        expected = 0.75 * expected + 0.25 * value
    np.testing.assert_allclose(inside, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable.value), values[2])


@pytest.mark.slow
def test_steps_lower_the_loss():
    model = end_to_end_model(grid=True)
    thaw(model.network, "resnet18")
    model.compile(optimizer=keras.optimizers.Adam(3e-3), jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    batch = some_batch(4, 2)
    losses = []
    for _ in range(30):
        model.reset_metrics()  # else it gives the mean of all steps
        losses.append(model.train_on_batch(*batch, return_dict=True)["token_loss"])
    assert losses[-1] < losses[0] - 0.5


@pytest.fixture
def pictures(tmp_path):
    random = np.random.default_rng(4)
    images = {}
    for name in "uvwxy":
        images[name] = tmp_path / f"{name}.png"
        Image.fromarray(random.integers(0, 256, (40, 40, 3)).astype(np.uint8)).save(images[name])
    return images


CAPTIONS = {name: [[1, 3 + number, 2], [1, 3 + number, 9, 9, 9, 2]] for number, name in
            enumerate("uvwxy")}  # fmt: skip


def pass_over(pictures, epoch: int, seed: int = 0, times=None) -> list:
    options = {"batch_size": 2, "count": 3, "seed": seed, "epoch": epoch, "unreadable": []}
    options["times"] = times
    return list(batches(pictures, CAPTIONS, Preprocessing(32), **options))


def test_a_pass_has_every_picture_once_with_captions_of_its_own(pictures):
    found = pass_over(pictures, 0)

    assert [len(inputs["pixels"]) for inputs, _ in found] == [2, 2, 1]
    said = []
    for inputs, following in found:
        assert inputs["tokens"].shape == following.shape == (3 * len(inputs["pixels"]), 8)
        np.testing.assert_array_equal(inputs["tokens"][:, 1:], following[:, :-1])
        own = following[:, 0].reshape(-1, 3)
        assert (own == own[:, :1]).all()  # neighbours are of one picture
        said += own[:, 0].tolist()
        lengths = (following.reshape(-1, 3, 8) > 0).sum(axis=2)
        assert all({2, 5} == set(three) for three in lengths.tolist())  # both, one of them twice
    assert sorted(said) == [3, 4, 5, 6, 7]


def test_a_picture_of_a_small_data_set_comes_more_often_with_other_views(pictures):
    found = pass_over(pictures, 1, times={**dict.fromkeys("uvwx", 1), "y": 8})

    said, looks = [], set()
    for inputs, following in found:
        said += following[::3, 0].tolist()
        looks |= {
            pixels.tobytes()
            for pixels, first in zip(inputs["pixels"], following[::3, 0], strict=True)
            if first == 7
        }
    assert sorted(said) == [3, 4, 5, 6, *[7] * 8]
    assert len(looks) > 3  # an epoch has the whole and two views of what comes once


def test_a_pass_follows_from_seed_and_epoch(pictures):
    first, again = pass_over(pictures, 1), pass_over(pictures, 1)
    for (inputs, following), (inputs_again, following_again) in zip(first, again, strict=True):
        np.testing.assert_array_equal(inputs["pixels"], inputs_again["pixels"])
        np.testing.assert_array_equal(following, following_again)
    for other in (pass_over(pictures, 2), pass_over(pictures, 1, seed=1)):
        assert any(
            not np.array_equal(one[0]["pixels"], two[0]["pixels"])
            for one, two in zip(first, other, strict=True)
        )


def test_an_unreadable_picture_is_left_out(pictures):
    pictures["w"].write_bytes(b"no picture")
    unreadable = []
    found = batches(
        pictures,
        CAPTIONS,
        Preprocessing(32),
        batch_size=2,
        count=3,
        seed=0,
        epoch=0,
        unreadable=unreadable,
    )
    assert {row[0] for _, following in found for row in following} == {3, 4, 6, 7}
    [message] = unreadable
    assert "w.png" in message


@pytest.mark.slow
def test_a_run_resumes_and_its_files_caption(pipeline, tmp_path):
    data, work = pipeline.data, pipeline.work
    command = [
        "--model", work / "checkpoints" / "best_model.keras", "--images", data.images,
        "--descriptions", work / "descriptions.txt", "--train-split", data.train,
        "--dev-split", data.dev, "--batch-size", 3, "--captions", 2, "--epochs", 2,
        "--learning-rate", 1e-4, "--ema", 0.9, "--colour-jitter", "--least-area", 0.5,
    ]  # fmt: skip
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    (tmp_path / "copying.py").write_text(COPYING.format(pieces=pieces))
    unbroken = run_script(tmp_path / "copying.py", *command, "--output-dir", whole, cwd=ROOT)
    assert unbroken.returncode == 0, unbroken.stderr
    (tmp_path / "one.txt").write_text(data.dev.read_text().splitlines()[0])
    others = ("--seed", 1, "--dev-split", tmp_path / "one.txt")
    refused = run_module(*command, "--output-dir", pieces, "--resume", *others)
    assert_refused(refused, "seed was 0, not 1", "it had other captions of splits")
    resumed = run_module(*command, "--output-dir", pieces, "--resume")
    assert resumed.returncode == 0, resumed.stderr

    losses, states = [], []
    for folder in (whole, pieces):
        with open(folder / "history.csv", newline="") as file:
            losses.append([float(row["val_loss"]) for row in csv.DictReader(file)])
        with np.load(folder / "state.npz") as state:
            states.append([state[str(n)] for n in range(len(state.files) - 1)])
    assert len(losses[0]) == 2
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    for one, other in zip(*states, strict=True):  # weights and moments
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)
    name = "efficientnet_lite0-captions.weights.h5"
    with h5py.File(whole / "checkpoints" / name) as file:
        assert "recipe" in file.attrs
    captioned = run_script(
        "5_test.py", data.images / data.names[0],
        "--model", whole / "checkpoints" / "best_model.keras", cwd=tmp_path,
    )  # fmt: skip
    assert captioned.returncode == 0, captioned.stderr
    extracted = run_script(
        "1_data_preprocessor.py", "--images", data.images, "--captions", data.captions,
        "--weights", whole / "checkpoints" / name, "--only", "features", cwd=tmp_path,
    )  # fmt: skip
    assert extracted.returncode == 0, extracted.stderr
    scored = run_script(
        "3_BLEU.py", "--model", whole / "checkpoints" / "best_model.keras", "--split", data.dev,
        "--descriptions", work / "descriptions.txt", cwd=tmp_path,
    )  # fmt: skip
    assert scored.returncode == 0, scored.stderr


# Copies what a kill would leave when the state of the first epoch is written.
COPYING = f"""
import shutil, sys
sys.path.insert(0, {str(ROOT)!r})
from captioning import fine_tuning
from captioning.cli import import_keras
import_keras()
from captioning.training.run import Run
save = Run.save_state
def save_and_copy(run):
    save(run)
    if len(run.history) == 1:
        shutil.copytree(run.output, "{{pieces}}")
Run.save_state = save_and_copy
fine_tuning.main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--images", "nowhere"), ("nowhere", "not a folder")),
        (("--model", ROOT / "Pre-trained" / "model-ensemble.keras"), ("ensemble", "members")),
        (("--model", "model.h5"), ("model.h5", ".keras")),
        (("--descriptions", "other.txt"), ("other.txt", "by the rules original", "ptb")),
        (("--output-dir", "its own"), ("best_model.keras", "overwritten")),
    ],
)
def test_mistakes(pipeline, arguments, parts, tmp_path):
    data, work = pipeline.data, pipeline.work
    command = [
        "--model", work / "checkpoints" / "best_model.keras", "--images", data.images,
        "--descriptions", work / "descriptions.txt", "--train-split", data.train,
        "--dev-split", data.dev, "--output-dir", tmp_path,
    ]  # fmt: skip
    names = {"other.txt": tmp_path / "other.txt", "its own": work}
    text = (work / "descriptions.txt").read_text()
    (tmp_path / "other.txt").write_text(text)  # without a record: by the original's rules
    arguments = [names.get(one, one) for one in arguments]
    assert_refused(run_module(*command, *arguments), *parts)
