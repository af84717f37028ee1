import json
import shutil

import numpy as np
import pytest

from captioning.captioner import Captioner
from captioning.captioners.tokenizer import read_tokenizer
from captioning.cli import UserError
from captioning.datasets.descriptions import read_descriptions, write_descriptions
from captioning.decoders.merge import MergeDecoder
from captioning.decoders.search_settings import GREEDY
from captioning.encoders.loading import load_encoder
from captioning.encoders.weights import read_recipe
from captioning.training.run import Run
from tests.conftest import history_of, run_script, succeed
from tools import fine_tuning

MODEL = "checkpoints/best_model.keras"


@pytest.fixture
def given(pipeline, tmp_path, monkeypatch) -> list:
    """Arguments: the made data set, and a new decoder on the smallest encoder, here in a folder."""
    monkeypatch.chdir(tmp_path)
    vocabulary, encoder = read_tokenizer(pipeline.work / "tokenizer.pkl"), load_encoder("alexnet")
    words = (vocabulary.words, vocabulary.max_length, vocabulary.text_rules)
    (tmp_path / MODEL).parent.mkdir()
    MergeDecoder(encoder.width, *words, encoder.info, units=8).save(tmp_path / MODEL)
    images = ("--images", pipeline.data.images, "--image-size", 64)
    descriptions = ("--descriptions", pipeline.work / "descriptions.txt")
    return ["--model", MODEL, *images, *descriptions, *pipeline.data.splits]


@pytest.mark.slow
def test_a_run_resumes_and_its_files_caption(given, pipeline, tmp_path, monkeypatch, call_main):
    given += ["--batch-size", 3, "--captions", 2, "--epochs", 2, "--learning-rate", 1e-4]
    given += ["--ema", 0.9, "--colour-jitter", "--least-area", 0.5]
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    end_row = Run.end_row

    def end_row_and_copy(run: Run, *rest) -> None:
        end_row(run, *rest)
        if len(run.history) == 1:
            shutil.copytree(whole, pieces)  # what a kill leaves

    monkeypatch.setattr(Run, "end_row", end_row_and_copy)
    call_main(fine_tuning.main, *given, "--output-dir", whole)
    resumed = ("--output-dir", pieces, "--resume")
    printed = succeed(run_script("tools/fine_tuning.py", *given, *resumed, cwd=tmp_path))

    assert "1 epochs already trained" in printed
    losses, states = [], []
    for folder in (whole, pieces):
        losses.append([row["val_loss"] for row in history_of(folder)])
        with np.load(folder / "state.npz") as state:
            states.append([state[str(n)] for n in range(len(state.files) - 1)])
            settings = json.loads(str(state["record"]))["settings"]
    assert len(losses[0]) == 2
    assert losses[0] == losses[1]
    for one, other in zip(*states, strict=True):  # weights and moments
        np.testing.assert_array_equal(one, other)
    assert settings.keys() >= {"seed", "captions_of_splits_sha256", "weights_sha256"}
    weights = whole / "checkpoints" / "alexnet-captions.weights.h5"
    assert read_recipe(weights)["preprocessing"] == "squash(64)|imagenet"
    assert Captioner(whole / MODEL, search=GREEDY).caption(pipeline.data.image).confidence > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--images nowhere", "nowhere: not a folder"),
        ("--model model.h5", r"model\.h5: give a \.keras file"),
        ("--descriptions other.txt", r"other\.txt: cleaned by the rules original, .* on ptb"),
        ("--descriptions foreign.txt", r"foreign\.txt: no word of the captions is known"),
        ("--output-dir {here}", r"best_model\.keras: would be overwritten"),
    ],
)
def test_mistakes(arguments, message, given, pipeline, tmp_path, call_main):
    source = pipeline.work / "descriptions.txt"
    shutil.copy(source, "other.txt")  # without a record: by the original's rules
    foreign = {image_id: ["xyzzy plugh"] for image_id in read_descriptions(source)[0]}
    write_descriptions("foreign.txt", foreign, "ptb")
    given += ["--output-dir", tmp_path / "out", *arguments.format(here=tmp_path).split()]
    with pytest.raises(UserError, match=message):
        call_main(fine_tuning.main, *given)
