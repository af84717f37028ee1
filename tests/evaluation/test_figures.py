"""The table of an evaluation, and the rows to read the others by."""

from captioning.evaluation.coco_toolkit import FIGURES, Scores
from captioning.evaluation.figures import Candidate, baselines, record, table
from captioning.evaluation.metrics import METRICS, Metric


def row(name: str = "model", captions=("a dog",), cider=(0.2,), reference="a hound"):
    """A row of the table, whose images are called a, b, ...."""
    figures = {**dict.fromkeys(FIGURES, 0.25), "METEOR": None}
    figures |= {"distinct": 3, "mean_length": 5.25, "repeated_bigram": 0.5, "vocabulary": 9}
    ids = "abc"[: len(captions)]
    references = {image_id: [f"reference of {image_id}", reference] for image_id in ids}
    candidate = Candidate(name, dict(zip(ids, captions, strict=True)), references, {})
    return candidate, Scores(figures, dict(zip(ids, cider, strict=True)))


def test_table_shows_figures_variety_and_what_is_missing():
    lines = table([row("model")]).splitlines()
    assert lines[0].split()[:5] == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR"]
    figures = [*["0.2500"] * 4, "n/a", *["0.2500"] * 2]
    assert lines[1].split() == ["model", *figures, "3", "5.2", "50.0%", "9"]
    assert len(lines[0]) == len(lines[1])


def test_each_metric_is_a_column_and_a_key_of_the_record(monkeypatch):
    monkeypatch.setitem(METRICS, "new_one", Metric("new", "d", lambda references, captions: 2))
    candidate, scores = row()
    scores.figures["new_one"] = 2

    head, line = table([(candidate, scores)]).splitlines()

    assert head.split()[-1] == "new"
    assert line.split()[-1] == "2"
    assert record(candidate, scores)["new_one"] == 2


def test_the_metrics_of_the_table_look_at_captions():
    captions = {"1": ["a dog and a dog"], "2": ["a dog"], "3": ["a dog"]}
    values = {key: metric.value({}, captions) for key, metric in METRICS.items()}
    expected = {"distinct": 2, "mean_length": 3, "repeated_bigram": 1 / 3, "vocabulary": 3}
    assert values == expected


def test_human_row_is_the_first_caption_against_the_others():
    references = {"a": ["a dog", "a hound", "a beast"], "b": ["a cat", "a tiger"]}
    [human] = baselines(references, ["a", "b"], ["a", "b"])  # and nothing is left for a constant
    assert human.captions == {"a": "a dog", "b": "a cat"}
    assert human.references == {"a": ["a hound", "a beast"], "b": ["a tiger"]}


def test_constant_caption_has_not_seen_the_split():
    """Not even the images of it that are not scored, here two of three."""
    judged = {name: ["a dog"] for name in "abc"}  # which have no second reference
    references = {**judged, "d": ["two cats", "..."], "e": ["two cats"]}
    [constant] = baselines(references, ["a"], [*judged])
    assert constant.captions == {"a": "two cats"}
    assert constant.references is references


def test_the_table_fits_a_terminal_of_100_columns_whatever_models_are_called():
    long = "runs/attention-with-seed-17/checkpoints/best_model.keras"
    lines = table([row(long), row("another.keras")]).splitlines()
    assert max(map(len, lines[:3])) <= 100
    assert [line.split()[0] for line in lines[1:3]] == ["(1)", "another.keras"]
    assert lines[3:] == [f"(1) {long}"]
