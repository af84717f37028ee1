import h5py
import numpy as np
import pytest

from captioning.datasets.descriptions import read_descriptions, write_descriptions
from tests.conftest import assert_refused, history_of, kill_when, run_script, start, succeed

SCRIPT = "tools/fine_tuning.py"


def command(pipeline, output) -> list:
    data, work = pipeline.data, pipeline.work
    return [
        *("--model", work / "checkpoints" / "best_model.keras", "--images", data.images),
        *("--descriptions", work / "descriptions.txt", "--train-split", data.train),
        *("--dev-split", data.dev, "--output-dir", output),
    ]


@pytest.mark.slow
def test_a_run_resumes_and_its_files_caption(pipeline, tmp_path):
    data = pipeline.data
    settings = ["--batch-size", 3, "--captions", 2, "--epochs", 2, "--learning-rate", 1e-4]
    settings += ["--ema", 0.9, "--colour-jitter", "--least-area", 0.5]
    whole, pieces = tmp_path / "whole", tmp_path / "pieces"
    succeed(run_script(SCRIPT, *command(pipeline, whole), *settings, cwd=tmp_path))
    killed = start(SCRIPT, *command(pipeline, pieces), *settings, cwd=tmp_path)
    kill_when(killed, (pieces / "state.npz").exists)
    (tmp_path / "one.txt").write_text(data.dev.read_text().splitlines()[0])
    resumes = [*command(pipeline, pieces), *settings, "--resume"]
    others = ("--seed", 1, "--dev-split", tmp_path / "one.txt")
    refused = run_script(SCRIPT, *resumes, *others, cwd=tmp_path)
    assert_refused(refused, "seed was 0, not 1", "it had other captions of splits")
    succeed(run_script(SCRIPT, *resumes, cwd=tmp_path))

    losses, states = [], []
    for folder in (whole, pieces):
        losses.append([row["val_loss"] for row in history_of(folder)])
        with np.load(folder / "state.npz") as state:
            states.append([state[str(n)] for n in range(len(state.files) - 1)])
    assert len(losses[0]) == 2
    assert losses[0] == losses[1]
    for one, other in zip(*states, strict=True):  # weights and moments
        np.testing.assert_array_equal(one, other)
    weights = whole / "checkpoints" / "efficientnet_lite0-captions.weights.h5"
    with h5py.File(weights) as file:
        assert "recipe" in file.attrs
    model = ("--model", whole / "checkpoints" / "best_model.keras")
    succeed(run_script("5_test.py", data.images / data.names[0], *model, cwd=tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("--images", "nowhere"), ("nowhere", "not a folder")),
        (("--model", "model.h5"), ("model.h5", ".keras")),
        (("--descriptions", "other.txt"), ("other.txt", "by the rules original", "ptb")),
        (("--descriptions", "foreign.txt"), ("foreign.txt", "no word of the captions is known")),
        (("--output-dir", "its own", "--restart"), ("best_model.keras", "overwritten")),
    ],
)
def test_mistakes(pipeline, arguments, parts, tmp_path):
    source = pipeline.work / "descriptions.txt"
    (tmp_path / "other.txt").write_text(
        source.read_text()
    )  # without a record: by the original's rules
    foreign = {image_id: ["xyzzy plugh"] for image_id in read_descriptions(source)[0]}
    write_descriptions(tmp_path / "foreign.txt", foreign, "ptb")
    arguments = [pipeline.work if one == "its own" else one for one in arguments]
    given = [*command(pipeline, tmp_path), *arguments]
    assert_refused(run_script(SCRIPT, *given, cwd=tmp_path), *parts)
