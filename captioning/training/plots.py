"""Curves of a training run as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from captioning.files import atomic_path


def plot_history(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Training and development loss by epoch, as a PNG, said; a line marks the best epoch."""
    names = ("epoch", "loss", "val_loss")
    epochs, loss, val_loss = ([row[name] for row in history] for name in names)
    curves = {"training (dropout on)": loss, "development": val_loss}
    best = int(np.argmin(val_loss))
    options = {"y_label": "loss per word (nats)", "title": "Captions: loss by epoch", "mark": best}
    plot_curves(path, epochs, curves, **options)
    print(f"{path}: loss by epoch")


def plot_reliability(
    path: Path, curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], good: float
) -> None:
    """The share of good captions by confidence, of each model, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5, 3.5))
    for name, (confidences, shares) in curves.items():
        axes.plot(confidences, shares, "o-", label=name)
    label = f"share with CIDEr-D above {good}"
    axes.set(xlabel="confidence of the caption", ylabel=label, xlim=(0, 1), ylim=(0, 1))
    axes.legend()
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
    pyplot.close(figure)


def plot_curves(
    path: Path,
    epochs: Sequence[int],
    curves: Mapping[str, Sequence[float]],
    *,
    x_label: str = "epoch",
    y_label: str,
    title: str,
    mark: int | None = None,
    right: Mapping[str, Sequence[float | str]] | None = None,
) -> None:
    """Curves by epoch, or by what `x_label` says, as a PNG, with a line at the point `mark`.

    The curves of `right` have an axis there, and an empty text where there is no value.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4))
    for label, values in curves.items():
        axes.plot(epochs, values, "o-", label=label)
    if mark is not None:
        axes.axvline(epochs[mark], color="0.8", zorder=0)
    axes.set(xlabel=x_label, ylabel=y_label, title=title)
    axes.xaxis.get_major_locator().set_params(integer=True)
    for label, values in (right or {}).items():
        points = [(x, y) for x, y in zip(epochs, values, strict=True) if y != ""]
        if points:
            other = axes.twinx()
            other.plot(*zip(*points, strict=True), "s--", color="tab:red", label=label)
            other.set_ylabel(label)
            axes.plot([], [], "s--", color="tab:red", label=label)  # for the one legend
    axes.legend()
    figure.tight_layout()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120)
    pyplot.close(figure)
