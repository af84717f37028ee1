"""Numbers where the system's language has a decimal comma, and text where it is not UTF-8."""

import csv
import json
import shutil
import subprocess

import pytest

from tests.conftest import ROOT, history_of, run_afresh, succeed


@pytest.fixture(scope="module")
def german(tmp_path_factory) -> dict[str, str]:
    """The environment of a process in Germany, as it was before UTF-8."""
    localedef = shutil.which("localedef")
    if localedef is None:
        pytest.skip("no localedef (Debian's libc-bin) to make a locale with")
    folder = tmp_path_factory.mktemp("locales")
    command = [localedef, "-i", "de_DE", "-f", "ISO-8859-1", folder / "de_DE"]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a Linux without the sources of locales (Debian's package locales)")
    found = {"LOCPATH": str(folder), "LC_ALL": "de_DE", "LC_NUMERIC": "de_DE", "PYTHONUTF8": "0"}
    said = subprocess.run(["locale", "decimal_point"], env=found, capture_output=True, text=True)
    assert said.stdout.strip() == ","
    return found


@pytest.mark.slow
def test_numbers_in_files_and_from_java_have_a_decimal_point(german, pipeline, tmp_path):
    data = pipeline.data

    def run(script: str, *arguments) -> None:
        succeed(run_afresh(ROOT / script, *arguments, cwd=tmp_path, **german))

    for name in ("features.pkl", "descriptions.txt"):
        shutil.copy(pipeline.work / name, tmp_path)
    run("2_train_IC_model.py", *data.splits, "--epochs", 1)
    assert all(float(row["val_loss"]) > 0 for row in history_of(tmp_path))

    run("5_test.py", data.image, "--output", "captions.csv")
    [row] = csv.DictReader((tmp_path / "captions.csv").open())
    assert float(row["log_probability"]) < 0 < float(row["confidence"])

    captions = [{"image_id": name, "caption": "a naïve red square"} for name in data.names]
    (tmp_path / "elsewhere.json").write_text(json.dumps(captions))
    scored = ("--captions", data.captions, "--split", data.dev, "--output", "figures.json")
    run("evaluate.py", *scored, "--predictions", "elsewhere.json")
    row = json.loads((tmp_path / "figures.json").read_text())["rows"][0]
    assert shutil.which("java") is None or 0 < row["METEOR"] < 1
