"""`contrastive/main.py` as a user runs it, with the mistakes that users make."""

from types import SimpleNamespace

import numpy as np
import pytest

from captioning.encoders.weights import read_recipe
from tests.conftest import assert_refused, kill_when, make_zip, run_script, start, succeed
from tests.pretext_tools import arrays_in, encoded, patterns, write_images

pytestmark = pytest.mark.slow

SCRIPT = "contrastive/main.py"
SMALL = ("--image-size", 32, "--epochs", 2)  # of 20 pictures, batches are of 8
WEIGHTS = "resnet18-simclr.weights.h5"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("pictures"), 20)


@pytest.fixture(scope="module")
def finished(pictures, tmp_path_factory) -> SimpleNamespace:
    """A run, of pictures beyond its memory, that was killed on its way and has ended."""
    folder = tmp_path_factory.mktemp("finished")
    command = (SCRIPT, "--images", pictures, "--memory-limit", 1e-6, "--output", "run", *SMALL)
    process = start(*command, "--save-minutes", 0.0001, cwd=folder)
    kill_when(process, (folder / "run" / "state.npz").exists)
    spilled = (folder / "run" / "pictures.raw").stat().st_size
    resumed = run_script(*command, "--resume", cwd=folder)
    return SimpleNamespace(folder=folder / "run", spilled=spilled, resumed=resumed)


def test_a_killed_run_goes_on(finished):
    said = succeed(finished.resumed)
    assert "resuming after step" in said
    assert "learning_rate" in said
    assert "queue_size" not in said  # SimCLR has none


def test_pictures_beyond_memory_stay_until_the_run_has_ended(finished):
    assert finished.spilled == 20 * 48 * 48 * 3
    assert "images:" not in finished.resumed.stderr  # no bar: nothing was decoded
    assert not list(finished.folder.glob("pictures*"))


def test_encoder_from_pictures_to_features(finished, dataset, tmp_path):
    """Its weights make features of the recipe's size."""
    recipe = read_recipe(finished.folder / WEIGHTS)
    assert recipe["preprocessing"] == "squash(64)|imagenet"
    assert (recipe["pictures_seen"], recipe["method"]) == (32, "simclr")
    encoder = ("--encoder", "resnet18", "--weights", finished.folder / WEIGHTS)
    given = (*dataset.files, *encoder, "--batch-size", 6)
    result = run_script("1_data_preprocessor.py", *given, cwd=tmp_path)
    assert "vectors of 512 numbers" in succeed(result)


def test_a_run_may_begin_from_weights(finished, pictures, tmp_path):
    """At next to no learning rate they stay."""
    paths = (finished.folder / WEIGHTS, tmp_path / "on" / WEIGHTS)
    options = ("--weights", paths[0], "--learning-rate", 1e-12, "--weight-decay", 0)
    command = (SCRIPT, "--images", pictures, "--output", "on", *SMALL, *options)
    succeed(run_script(*command, "--pictures-seen", 16, cwd=tmp_path))
    before, after = ([kernel for kernel in arrays_in(path) if kernel.ndim == 4] for path in paths)
    assert len(before) == 20
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    assert read_recipe(paths[1])["pictures_seen"] == 32 + 16


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ((), ["--resume continues it, --restart begins anew"]),
        (("--resume", "--decoupled"), ["decoupled was False, not True", "it had other pictures"]),
        (("--resume", "--feature-size", "96"), ["feature_size was", "not 96"]),
        (("--resume", "--image-size", "96"), ["jitter_strength was 0.5, not 1.0"]),
    ],
)
def test_another_run_is_not_resumed_and_leaves_it_as_it_is(arguments, parts, finished, tmp_path):
    write_images(tmp_path / "others", 20, seed=1)  # as many as before
    state = (finished.folder / "state.npz").read_bytes()
    command = (SCRIPT, "--images", "others", "--output", finished.folder, *SMALL)
    assert_refused(run_script(*command, *arguments, cwd=tmp_path), *parts)
    assert (finished.folder / "state.npz").read_bytes() == state


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--temperature", "0"), ("--temperature", "'0' is not a number above 0")),
        (("--batch-size", "1"), ("--batch-size", "'1' is not a whole number at least 2")),
        (("--method", "byol", "--small-crops", "2"), ("--small-crops", "byol")),
        (("--method", "moco", "--decoupled"), ("--decoupled", "moco")),
        (("--method", "byol", "--temperature", "0.1"), ("--temperature", "byol")),
        (("--image-size", "7"), ("--image-size", "'7' is not a whole number at least 8")),
        # before pictures are read, which may take an hour
        (("--images", "text.txt", "--weights", "none.h5"), ("none.h5: the weights file",)),
        (("--source-weights", "more.zip=2"), ("'more.zip' is none of --images: pictures0",)),
        (("--source-weights", "pictures0=0"), ("--source-weights", "none of --images")),
        (("--source-weights", "2"), ("'2' is not NAME=W",)),
        (("--images", "empty"), ("empty", "holds no picture")),
        (("--images", "text.txt"), ("text.txt", "neither a folder")),
        (("--method", "moco", "--queue-size", "9"), ("--queue-size 9", "multiple")),
        (("--probe-images", "empty"), ("--probe-captions",)),
        (("--encoder", "vit_small", "--image-size", "12"), ("takes views of 16 pixels, not 12",)),
    ],
)
def test_mistakes_end_in_one_line(arguments, parts, pictures, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("no pictures")
    result = run_script(SCRIPT, "--images", pictures, *SMALL, *arguments, cwd=tmp_path)
    assert_refused(result, *parts)


def test_what_is_excluded_or_broken_does_not_count(tmp_path):
    members = {f"{number}.png": encoded(pixels) for number, pixels in enumerate(patterns(10))}
    make_zip(tmp_path / "some.zip", members | {"broken.png": b"broken"})
    (tmp_path / "dev.txt").write_text("7.png\n8.png\n")
    command = (SCRIPT, "--images", "some.zip", "--exclude", "dev.txt", "--batch-size", 9)
    result = run_script(*command, cwd=tmp_path)
    assert result.returncode == 2
    assert "skipped 1 unreadable images: some.zip: broken.png" in result.stdout
    assert "8 images\n" in result.stdout
    assert "some.zip: 2 of 11 pictures left out (--exclude)" in result.stderr
    assert "--batch-size 9 is larger than the 8 pictures" in result.stderr.splitlines()[-1]
