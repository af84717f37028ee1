"""`contrastive/main.py` as a user runs it, with the mistakes that users make."""

import numpy as np
import pytest

from captioning.encoders.weights import read_recipe
from tests.conftest import assert_refused, kill_when, make_zip, run_script, start, succeed
from tests.pretext_tools import arrays_in, encoded, patterns, write_images

pytestmark = pytest.mark.slow

SCRIPT = "contrastive/main.py"
SMALL = ("--image-size", 32, "--batch-size", 8, "--epochs", 2)
WEIGHTS = "resnet18-simclr.weights.h5"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("pictures"), 20)


@pytest.fixture(scope="module")
def finished(pictures, tmp_path_factory):
    """The folder of a run that was killed on its way, and has ended."""
    folder = tmp_path_factory.mktemp("finished")
    command = (SCRIPT, "--images", pictures, "--output", "run", *SMALL)
    process = start(*command, "--save-minutes", 0.0001, cwd=folder)
    kill_when(process, (folder / "run" / "state.npz").exists)
    resumed = succeed(run_script(*command, "--resume", cwd=folder))
    assert "resuming after step" in resumed
    assert "learning_rate" in resumed
    assert "queue_size" not in resumed  # SimCLR has none
    return folder / "run"


def test_encoder_from_pictures_to_features(finished, dataset, tmp_path):
    """Its weights make features of the recipe's size."""
    recipe = read_recipe(finished / WEIGHTS)
    assert recipe["preprocessing"] == "squash(64)|imagenet"
    assert (recipe["pictures_seen"], recipe["method"]) == (32, "simclr")
    data = ("--images", dataset.images, "--captions", dataset.captions, "--batch-size", 6)
    encoder = ("--encoder", "resnet18", "--weights", finished / WEIGHTS)
    result = run_script("1_data_preprocessor.py", *data, *encoder, cwd=tmp_path)
    assert "vectors of 512 numbers" in succeed(result)


def test_a_run_may_begin_from_weights(finished, pictures, tmp_path):
    """At next to no learning rate they stay."""
    options = ("--weights", finished / WEIGHTS, "--learning-rate", 1e-12, "--weight-decay", 0)
    command = (SCRIPT, "--images", pictures, "--output", "on", *SMALL, *options)
    succeed(run_script(*command, cwd=tmp_path))
    paths = (finished / WEIGHTS, tmp_path / "on" / WEIGHTS)
    before, after = ([kernel for kernel in arrays_in(path) if kernel.ndim == 4] for path in paths)
    assert len(before) == 20
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)
    assert read_recipe(tmp_path / "on" / WEIGHTS)["pictures_seen"] == 2 * 32


def test_a_run_is_not_begun_anew_by_forgetting_resume(finished, pictures, tmp_path):
    state = (finished / "state.npz").read_bytes()
    command = (SCRIPT, "--images", pictures, "--output", finished, *SMALL)
    result = run_script(*command, cwd=tmp_path)
    assert_refused(result, "--resume continues it, --restart begins anew")
    assert (finished / "state.npz").read_bytes() == state


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--method", "byol"), "method was simclr, not byol"),
        (("--decoupled",), "decoupled was False, not True"),
        (("--images", "others"), "it had other pictures"),  # as many as before
    ],
)
def test_another_run_is_not_resumed_and_leaves_it_as_it_is(
    arguments, message, finished, pictures, tmp_path
):
    write_images(tmp_path / "others", 20, seed=1)
    state = (finished / "state.npz").read_bytes()
    command = (SCRIPT, "--images", pictures, "--output", finished, *SMALL, "--resume")
    assert_refused(run_script(*command, *arguments, cwd=tmp_path), message)
    assert (finished / "state.npz").read_bytes() == state


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--temperature", "0"), ("--temperature", "'0' is not a number above 0")),
        (("--batch-size", "64"), ("--batch-size 64 is larger than the 20 pictures",)),
        (("--batch-size", "1"), ("--batch-size", "'1' is not a whole number at least 2")),
        (("--method", "byol", "--small-crops", "2"), ("--small-crops", "byol")),
        (("--method", "moco", "--decoupled"), ("--decoupled", "moco")),
        (("--source-weights", "more.zip=2"), ("'more.zip' is none of --images: pictures0",)),
        (("--source-weights", "pictures0=0"), ("--source-weights", "none of --images")),
        (("--source-weights", "2"), ("'2' is not NAME=W",)),
        (("--images", "empty"), ("empty", "holds no picture")),
        (("--images", "text.txt"), ("text.txt", "neither a folder")),
        (("--method", "moco", "--queue-size", "9"), ("--queue-size 9", "multiple")),
        (("--probe-images", "empty"), ("--probe-captions",)),
    ],
)
def test_mistakes_end_in_one_line(arguments, parts, pictures, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("no pictures")
    result = run_script(SCRIPT, "--images", pictures, *SMALL, *arguments, cwd=tmp_path)
    assert_refused(result, *parts)


def test_pictures_beyond_memory_stay_until_the_run_has_ended(pictures, tmp_path):
    command = (SCRIPT, "--images", pictures, "--memory-limit", 1e-6, "--output", "run", *SMALL)

    succeed(run_script(*command, "--stop-minutes", 1e-9, cwd=tmp_path))
    assert (tmp_path / "run" / "pictures.raw").stat().st_size == 20 * 48 * 48 * 3
    resumed = run_script(*command, "--resume", cwd=tmp_path)

    succeed(resumed)
    assert "images:" not in resumed.stderr  # no bar: nothing was decoded
    assert not list((tmp_path / "run").glob("pictures*"))


def test_what_is_excluded_or_broken_does_not_count(tmp_path):
    members = {f"{number}.png": encoded(pixels) for number, pixels in enumerate(patterns(10))}
    make_zip(tmp_path / "some.zip", members | {"broken.png": b"broken"})
    (tmp_path / "dev.txt").write_text("7.png\n8.png\n")
    command = (SCRIPT, "--images", "some.zip", "--exclude", "dev.txt", "--batch-size", 9)
    result = run_script(*command, cwd=tmp_path)
    assert "8 images, 1 unreadable" in result.stdout
    skipped, refused = result.stderr.splitlines()[-2:]
    assert "broken.png" in skipped
    assert "--batch-size 9 is larger than the 8 pictures" in refused


def test_few_pictures_have_a_smaller_batch(tmp_path):
    write_images(tmp_path / "pictures", 24)
    options = ("--image-size", 32, "--epochs", 1)
    printed = succeed(run_script(SCRIPT, "--images", "pictures", *options, cwd=tmp_path))
    assert "3 of 3 steps done" in printed
