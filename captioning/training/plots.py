"""Curves of a training run as a picture."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from captioning.files import atomic_path


@contextmanager
def drawing(path: Path, size: tuple[float, float], *grid: int) -> Iterator[Any]:
    """Axes, or a `grid` of them, of which a PNG is written when the block ends."""
    from matplotlib.figure import Figure

    figure = Figure(size)
    yield figure.subplots(*grid)
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)


def plot_history(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Training and development loss by epoch, as a PNG, said; a line marks the best epoch."""
    curves = {"training (dropout on)": "loss", "development": "val_loss"}
    labels = {"y_label": "loss per word (nats)", "title": "Captions: loss by epoch"}
    plot_curves(path, history, curves, **labels, mark="val_loss")
    print(f"{path}: loss by epoch")


def plot_reliability(
    path: Path, curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], good: float
) -> None:
    """The share of good captions by confidence, of each model, as a PNG."""
    with drawing(path, (5, 3.5)) as axes:
        for name, (confidences, shares) in curves.items():
            axes.plot(confidences, shares, "o-", label=name)
        label = f"share with CIDEr-D above {good}"
        axes.set(xlabel="confidence of the caption", ylabel=label, xlim=(0, 1), ylim=(0, 1))
        axes.legend()


def plot_curves(
    path: Path,
    history: Sequence[Mapping[str, Any]],
    curves: Mapping[str, str],
    *,
    x: str = "epoch",
    x_label: str = "epoch",
    y_label: str,
    title: str,
    mark: str | None = None,
    right: Mapping[str, str] | None = None,
) -> None:
    """Columns of a history, by their labels, over the column `x`, as a PNG.

    A line is at the least of the column `mark`. Those of `right` have an axis there, and an empty
    text where there is no value.
    """
    with drawing(path, (6, 4)) as axes:
        at = [row[x] for row in history]
        for label, name in curves.items():
            axes.plot(at, [row[name] for row in history], "o-", label=label)
        if mark:
            axes.axvline(min(history, key=lambda row: row[mark])[x], color="0.8", zorder=0)
        axes.set(xlabel=x_label, ylabel=y_label, title=title)
        axes.xaxis.get_major_locator().set_params(integer=True)
        for label, name in (right or {}).items():
            points = [(row[x], row[name]) for row in history if row[name] != ""]
            if points:
                other = axes.twinx()
                other.plot(*zip(*points, strict=True), "s--", color="tab:red", label=label)
                other.set_ylabel(label)
                axes.plot([], [], "s--", color="tab:red", label=label)  # for the one legend
        axes.legend()
