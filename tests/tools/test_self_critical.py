import csv

import pytest

from captioning.datasets.descriptions import read_descriptions, write_descriptions
from tests.conftest import assert_refused, run_script, succeed


@pytest.mark.slow
def test_a_trained_model_goes_on_as_a_user_runs_it(pipeline, tmp_path):
    data, work = pipeline.data, pipeline.work

    def run(*more, output="out"):
        return run_script(
            "tools/self_critical.py",
            *("--model", work / "checkpoints" / "best_model.keras"),
            *("--features", work / "features.pkl", "--descriptions", work / "descriptions.txt"),
            *("--train-split", data.train, "--dev-split", data.dev, "--batch-size", 4),
            *("--output-dir", tmp_path / output, *more),
            cwd=tmp_path,
        )

    def history(output="out") -> list[dict]:
        with open(tmp_path / output / "history.csv", newline="") as file:
            return list(csv.DictReader(file))

    assert_refused(run("--samples", 1), "--samples")
    (tmp_path / "one.txt").write_text(data.names[0])
    assert_refused(run("--dev-split", tmp_path / "one.txt"), "two or more")
    succeed(run("--epochs", 1))
    succeed(run("--epochs", 2, "--resume"))
    assert [row["epoch"] for row in history()] == ["1", "2"]

    # What is rewarded does not go by the captions that validate.
    descriptions, rules = read_descriptions(work / "descriptions.txt")
    for name in data.dev.read_text().split():
        descriptions[name.partition(".")[0]] = ["a blue square"]
    other = tmp_path / "descriptions.txt"
    write_descriptions(other, descriptions, rules)
    succeed(run("--epochs", 1, "--descriptions", other, output="other"))
    assert history("other")[0]["reward"] == history()[0]["reward"]
    assert history("other")[0]["val_cider"] != history()[0]["val_cider"]

    best = tmp_path / "out" / "checkpoints" / "best_model.keras"
    given = ("--model", best, "--tokenizer", work / "tokenizer.pkl")
    succeed(run_script("5_test.py", data.images / data.names[0], *given, cwd=tmp_path))
