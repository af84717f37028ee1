"""The table of metrics: an entry is all that a new one needs."""

from captioning.evaluation.coco_toolkit import FIGURES, Scores
from captioning.evaluation.figures import Candidate, record, table
from captioning.evaluation.metrics import METRICS, Metric


def test_each_metric_is_a_column_and_a_key_of_the_record(monkeypatch):
    monkeypatch.setitem(METRICS, "new_one", Metric("new", "d", lambda references, captions: 2))
    candidate = Candidate("model", {"1": "a dog"}, {"1": ["a dog runs"]}, {})
    others = dict.fromkeys(METRICS, 2)
    scores = Scores(dict.fromkeys(FIGURES, 0.5), others, {"1": 0.5})

    head, row = table([(candidate, scores)]).splitlines()

    assert head.split()[-1] == "new"
    assert row.split()[-1] == "2"
    assert record(candidate, scores)["new_one"] == 2


def test_the_metrics_of_the_table_look_at_captions():
    captions = {"1": ["a dog and a dog"], "2": ["a dog"], "3": ["a dog"]}
    values = {key: metric.value({}, captions) for key, metric in METRICS.items()}
    assert values == {
        "distinct": 2, "mean_length": 3, "repeated_bigram": 1 / 3, "vocabulary": 3,
    }  # fmt: skip
