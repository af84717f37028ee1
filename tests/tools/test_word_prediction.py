import json
import shutil

import numpy as np
import pytest

from captioning.cli import UserError
from captioning.encoders.loading import load_encoder
from tests.conftest import assert_refused, history_of, run_script, succeed
from tools import word_prediction

SCRIPT = "tools/word_prediction.py"


def given(pipeline, output, *more) -> list:
    """Arguments: the smallest encoder learns the words of the made data set for an epoch."""
    data = pipeline.data
    files = ("--images", data.images, "--descriptions", pipeline.work / "descriptions.txt")
    sizes = ("--image-size", 64, "--min-count", 1, "--batch-size", 4, "--epochs", 1)
    encoder = ("--encoder", "alexnet")
    return [*files, *data.splits, "--output-dir", output, *encoder, *sizes, *more]


@pytest.mark.slow
def test_a_run_resumes_and_stage_1_takes_its_weights(pipeline, tmp_path, call_main):
    refused = run_script(SCRIPT, *given(pipeline, tmp_path, "--batch-size", 1), cwd=tmp_path)
    assert_refused(refused, "'1' is not a whole number")
    call_main(word_prediction.main, *given(pipeline, tmp_path))

    again = succeed(run_script(SCRIPT, *given(pipeline, tmp_path, "--resume"), cwd=tmp_path))

    assert "1 epochs already trained" in again
    assert len(history_of(tmp_path)) == 1
    with np.load(tmp_path / "state.npz") as state:
        settings = json.loads(str(state["record"]))["settings"]
    assert settings.keys() >= {"epochs", "captions_of_splits_sha256", "weights_sha256"}
    encoder = load_encoder("alexnet", tmp_path / "alexnet-words.weights.h5")
    assert encoder.info["preprocessing"] == "squash(64)|imagenet"
    assert not (tmp_path / "checkpoints").exists()  # those are a captioner's


@pytest.mark.slow
def test_images_that_validate_and_cannot_be_read_are_named(pipeline, tmp_path, call_main):
    images = shutil.copytree(pipeline.data.images, tmp_path / "images")
    for name in pipeline.data.dev.read_text().split():
        (images / name).write_bytes(b"no picture")
    broken = r"3 of 3 images could not be read, the first: .*\.jpg: "
    with pytest.raises(UserError, match=broken):
        call_main(word_prediction.main, *given(pipeline, tmp_path, "--images", images))
