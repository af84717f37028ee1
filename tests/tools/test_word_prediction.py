import shutil

import pytest

from captioning.encoders.weights import read_recipe
from tests.conftest import assert_refused, history_of, run_script, succeed


def predict_words(pipeline, output, *more, images=None):
    data = pipeline.data
    return run_script(
        "tools/word_prediction.py",
        *("--images", images or data.images),
        *("--descriptions", pipeline.work / "descriptions.txt"),
        *("--train-split", data.train, "--dev-split", data.dev, "--output-dir", output),
        *("--batch-size", 4, "--image-size", 64, "--min-count", 1, *more),
        cwd=pipeline.work,
    )


@pytest.mark.slow
def test_a_run_resumes_and_stage_1_takes_its_weights(pipeline, tmp_path):
    data, output = pipeline.data, tmp_path / "words"
    assert_refused(predict_words(pipeline, output, "--batch-size", 1), "'1' is not a whole number")
    succeed(predict_words(pipeline, output, "--epochs", 1))
    (tmp_path / "one.txt").write_text(data.dev.read_text().splitlines()[0])
    others = ("--epochs", 2, "--dev-split", tmp_path / "one.txt", "--resume")
    refused = predict_words(pipeline, output, *others)
    assert "epochs was 1, not 2" in refused.stderr  # the learning rate goes by them
    assert "it had other captions of splits" in refused.stderr

    again = succeed(predict_words(pipeline, output, "--epochs", 1, "--resume"))

    assert "1 epochs already trained" in again
    assert len(history_of(output)) == 1
    weights = output / "resnet18-words.weights.h5"
    assert read_recipe(weights)["preprocessing"] == "squash(64)|imagenet"
    given = ("--images", data.images, "--captions", data.captions, "--only", "features")
    encoder = ("--encoder", "resnet18", "--weights", weights)
    succeed(run_script("1_data_preprocessor.py", *given, *encoder, cwd=tmp_path))


@pytest.mark.slow
def test_images_that_validate_and_cannot_be_read_are_named(pipeline, tmp_path):
    images = shutil.copytree(pipeline.data.images, tmp_path / "images")
    for name in pipeline.data.dev.read_text().split():
        (images / name).write_bytes(b"no picture")
    result = predict_words(pipeline, tmp_path / "words", "--epochs", 1, images=images)
    assert result.returncode == 2
    said = result.stderr.splitlines()[-1]
    assert said.startswith("word_prediction.py: 3 of 3 images could not be read, the first: ")
    assert ".jpg: " in said
