"""What a user's environment says, and what of it counts."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT, assert_refused, run_afresh, run_script, succeed

pytestmark = pytest.mark.slow

PICTURE = ROOT / "examples" / "cat.jpg"
# What Jupyter, Colab and Kaggle set in every shell.
NOTEBOOK = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "FORCE_COLOR": "1",
    "TERM": "xterm-color",
    "TF2_BEHAVIOR": "1",
    "TF_USE_LEGACY_KERAS": "1",
    "COLAB_GPU": "",
    "CUDA_MODULE_LOADING": "LAZY",
    "KERAS_BACKEND": "",
}
KERAS_JSON = {
    "image_data_format": "channels_first",
    "floatx": "float8",
    "epsilon": 0.1,
    "backend": "theano",
    "max_epochs": 1,
    "nnx_enabled": True,
}


def test_outside_of_the_environment_the_packages_and_the_way_in_are_named(tmp_path):
    result = run_afresh("-S", ROOT / "5_test.py", cwd=tmp_path)  # without any package
    assert_refused(result, "5_test.py: ", "PIL", "source .venv/bin/activate", "make demo")


def test_a_notebooks_environment_and_a_keras_json_change_nothing(tmp_path):
    home = tmp_path / ".keras"
    home.mkdir()
    (home / "keras.json").write_text(json.dumps(KERAS_JSON))
    plain, other = (
        succeed(run_script("5_test.py", PICTURE, cwd=tmp_path, **environment))
        for environment in ({}, {**NOTEBOOK, "HOME": tmp_path, "KERAS_HOME": home})
    )
    assert other == plain


def test_a_backend_that_is_not_supported_is_refused(tmp_path):
    result = run_script("5_test.py", PICTURE, cwd=tmp_path, KERAS_BACKEND="torch")
    assert_refused(result, "KERAS_BACKEND=torch", "tensorflow or jax")


def test_limits_for_trials_of_keras_do_not_cut_a_training_short(pipeline, tmp_path):
    limits = {"KERAS_MAX_EPOCHS": "1", "KERAS_MAX_STEPS_PER_EPOCH": "1"}
    given = (*pipeline.data.splits, "--epochs", 2, "--output-dir", tmp_path)
    succeed(run_script("2_train_IC_model.py", *given, cwd=pipeline.work, **limits))
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 3


def test_a_terminal_that_does_not_know_a_letter_gets_it_spelled_out(tmp_path):
    code = "from captioning.cli import run; run(lambda: print('caf\\u00e9 \\u8305'))"
    printed = succeed(run_afresh("-c", code, cwd=ROOT, PYTHONIOENCODING="ascii"))
    assert printed == "caf\\xe9 \\u8305\n"


def test_stages_2_and_4_take_what_lies_in_pre_trained(pipeline, tmp_path):
    project, split = tmp_path / "project", ("--train-split", pipeline.data.train)
    shutil.copytree(ROOT / "captioning", project / "captioning")
    for script in ("2_train_IC_model.py", "4_tokenizer.py"):
        shutil.copy(ROOT / script, project)
    (project / "Pre-trained").mkdir()
    for name in ("features.pkl", "descriptions.txt", "descriptions.txt.json"):
        shutil.copy(pipeline.work / name, project / "Pre-trained")
    train = ("2_train_IC_model.py", *split, "--dev-split", pipeline.data.dev, "--epochs", 1)

    trained = succeed(run_afresh(*train, cwd=project)).splitlines()
    tokenized = succeed(run_afresh("4_tokenizer.py", *split, cwd=project))

    assert "features Pre-trained/features.pkl" in trained
    assert "descriptions Pre-trained/descriptions.txt" in trained
    assert "descriptions Pre-trained/descriptions.txt" in tokenized


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such terminals")
def test_a_terminal_is_told_what_the_first_silent_seconds_are(tmp_path):
    ours, terminal = os.openpty()
    code = "from captioning.cli import import_keras; import_keras()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, stderr=terminal, check=True)
    os.close(terminal)
    assert os.read(ours, 1000).decode().startswith("loading TensorFlow, which takes some seconds")
