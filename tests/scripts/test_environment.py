"""What a user's environment says, and what of it counts."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from captioning.cli import UserError, import_keras
from tests.conftest import ROOT, assert_refused, run_afresh, run_script, succeed

pytestmark = pytest.mark.slow

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
    command = ("5_test.py", ROOT / "examples" / "cat.jpg", "--fast")
    plain, other = (
        succeed(run_script(*command, cwd=tmp_path, **environment))
        for environment in ({}, {**NOTEBOOK, "HOME": tmp_path, "KERAS_HOME": home})
    )
    assert other == plain


def test_a_backend_that_is_not_supported_is_refused(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    with pytest.raises(UserError, match=r"KERAS_BACKEND=torch: .* tensorflow or jax"):
        import_keras()


def test_limits_for_trials_of_keras_do_not_cut_a_training_short(pipeline, tmp_path):
    limits = {"KERAS_MAX_EPOCHS": "1", "KERAS_MAX_STEPS_PER_EPOCH": "1"}
    given = (*pipeline.data.splits, "--epochs", 2, "--output-dir", tmp_path)
    succeed(run_script("2_train_IC_model.py", *given, cwd=pipeline.work, **limits))
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 3


def test_a_terminal_that_does_not_know_a_letter_gets_it_spelled_out(tmp_path):
    code = "from captioning.cli import run; run(lambda: print('caf\\u00e9 \\u8305'))"
    printed = succeed(run_afresh("-c", code, cwd=ROOT, PYTHONIOENCODING="ascii"))
    assert printed == "caf\\xe9 \\u8305\n"


def test_stages_2_and_4_take_what_lies_in_pre_trained(tmp_path):
    shutil.copytree(ROOT / "captioning", tmp_path / "captioning")
    for script in ("2_train_IC_model.py", "4_tokenizer.py"):
        shutil.copy(ROOT / script, tmp_path)
    (tmp_path / "Pre-trained").mkdir()
    (tmp_path / "Pre-trained" / "descriptions.txt").write_text("a dog runs\n")
    (tmp_path / "Pre-trained" / "features.pkl").write_bytes(b"no pickle")
    (tmp_path / "train.txt").write_text("a\n")

    trained = run_afresh("2_train_IC_model.py", cwd=tmp_path)
    tokenized = succeed(run_afresh("4_tokenizer.py", "--train-split", "train.txt", cwd=tmp_path))

    assert_refused(trained, "2_train_IC_model.py: Pre-trained/features.pkl: ")
    assert "descriptions Pre-trained/descriptions.txt" in tokenized.splitlines()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such terminals")
def test_a_terminal_is_told_what_the_first_silent_seconds_are(tmp_path):
    ours, terminal = os.openpty()
    (tmp_path / "keras.py").touch()  # in the place of Keras, which takes those seconds
    code = "from captioning.cli import import_keras; import_keras()"
    command, here = [sys.executable, "-c", code], {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=tmp_path, env={**os.environ, **here}, stderr=terminal, check=True)
    os.close(terminal)
    assert os.read(ours, 1000).decode().startswith("loading TensorFlow, which takes some seconds")
