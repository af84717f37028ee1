"""The table of an evaluation: who captions the images, and how the figures are shown."""

import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from captioning.evaluation.bleu import constant_caption, tokenize_all
from captioning.evaluation.coco_toolkit import FIGURES, Scores, one_line
from captioning.evaluation.metrics import METRICS

LONGEST_NAME = 20  # letters of a row's name, so that the table has 100 columns at most


class Candidate(NamedTuple):
    """A row of the table: captions to score, and what they are scored against, by `image_id`."""

    name: str
    captions: Mapping[str, str]
    references: Mapping[str, Sequence[str]]
    origin: Mapping[str, Any]  # what is to be recorded of where the captions come from
    confidences: Mapping[str, float] = {}  # by `image_id`, of captions by our models


def baselines(
    references: Mapping[str, Sequence[str]], ids: Sequence[str], split: Collection[str]
) -> list[Candidate]:
    """Rows to read the others by: one constant caption as the floor, and a human one.

    The constant caption is the most typical one of the images outside the split; without such
    images there is none. The human caption is the first reference of each image, scored against
    the others; if an image has a single reference there is none.
    """
    rows = []
    inside = set(split)
    outside = {image_id: texts for image_id, texts in references.items() if image_id not in inside}
    tokens = tokenize_all(outside, "coco")
    worded = {image_id: list(filter(None, captions)) for image_id, captions in tokens.items()}
    if any(worded.values()):
        constant = " ".join(constant_caption(worded))
        captions = dict.fromkeys(ids, constant)
        rows.append(Candidate("constant caption", captions, references, {"caption": constant}))
    if all(len(references[image_id]) > 1 for image_id in ids):
        first = {image_id: references[image_id][0] for image_id in ids}
        others = {image_id: references[image_id][1:] for image_id in ids}
        rows.append(Candidate("human caption", first, others, {}))
    return rows


def headings() -> list[str]:
    """Of the table's columns: the toolkit's figures, then the other metrics."""
    return [*FIGURES, *(metric.heading for metric in METRICS.values())]


def cells(figures: Mapping[str, float | None], count_form: str = "d") -> list[str]:
    """The values of a row as the table has them under `headings`."""
    forms = dict.fromkeys(FIGURES, ".4f") | {key: metric.form for key, metric in METRICS.items()}
    return [
        "n/a" if figures[key] is None else format(figures[key], form.replace("d", count_form))
        for key, form in forms.items()
    ]


def spread(several: Sequence[Scores]) -> dict[str, list[str]]:
    """Two more rows of a table: mean and standard deviation (of a sample) of models' figures."""

    def row(summary) -> list[str]:
        columns = {key: [scores.figures[key] for scores in several] for key in several[0].figures}
        figures = {key: None if None in c else summary(c) for key, c in columns.items()}
        return cells(figures, count_form=".1f")

    return {f"mean of {len(several)}": row(statistics.mean), "deviation": row(statistics.stdev)}


def table(
    rows: Sequence[tuple[Candidate, Scores]], more: Mapping[str, Sequence[str]] | None = None
) -> str:
    """The table for the terminal, a line a row, `more` last; a name too long stands beneath."""
    named = [(one_line(row.name), scores.figures) for row, scores in rows]
    long = {name: f"({n})" for n, (name, _) in enumerate(named, 1) if len(name) > LONGEST_NAME}
    lines = [["", *headings()]]
    lines += [[long.get(name, name), *cells(figures)] for name, figures in named]
    lines += [[name, *values] for name, values in (more or {}).items()]
    first, *others = [max(map(len, column)) for column in zip(*lines, strict=True)]
    printed = [
        name.ljust(first) + "".join(f" {cell:>{w}}" for cell, w in zip(line, others, strict=True))
        for name, *line in lines
    ]
    return "\n".join(printed + [f"{number} {name}" for name, number in long.items()])


def record(row: Candidate, scores: Scores) -> dict[str, Any]:
    """A row as `--output` has it: name, origin, figures, and CIDEr-D of each image."""
    return {"name": row.name, **row.origin, **scores.figures, "cider_by_image": scores.cider}
