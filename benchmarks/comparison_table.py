"""The table and the chart of a comparison, of the results files that `evaluate.py` has left."""

import json
import math
import statistics
import textwrap
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from captioning.files import write_json, write_text
from captioning.training.plots import drawing

ABOUT = ("pretext", "encoder", "pictures seen", "pixels seen (billions)", "training")
AGAINST = "CIDEr-D against the row above, 95%"
EVEN = "CIDEr-D, even lines"
COLUMNS = {"BLEU-1": ".3f", "BLEU-4": ".3f", "CIDEr-D": ".3f", EVEN: ".3f", "distinct": ".0f"}
RESAMPLES = 2000  # of the images, for an interval


def write_results(
    out: Path, results: Sequence[tuple[tuple, int, Path]], dtype: str, odd: Collection[str]
) -> None:
    """Write `comparison.json`, `.md` (a table) and `.png` (bars) to the folder `out`.

    Each of the `results` is what `ABOUT` has of an encoder, but for the training, which is the name
    of its file; the seed; and the file. Of each training the best row comes first, so that an
    interval tells it from the next. `odd` are the images that have chosen the epochs.
    """
    found, beside, rows, bars, levels = {}, {}, [], {}, {}
    above, training, its_seeds = {}, None, set()
    for encoder, seed, path in results:
        about = json.loads(path.read_bytes())
        figures, *others = about.pop("rows")
        found.setdefault((*encoder, path.stem), {})[seed] = figures
        beside = {(one["name"], "", None, None, ""): {"": one} for one in others}
    found = dict(sorted(found.items(), key=rank))
    text = (
        "{protocol} protocol, split {split}, {images} pictures, beam width 3, {dtype}; mean and "
        "standard deviation of the seeds. Odd lines of the split chose the epochs. The interval is "
        "of a paired bootstrap of the pictures, this row's mean less that above.\n\n"
    ).format(**about, dtype=dtype)
    headings = [*ABOUT, "seeds", *COLUMNS, AGAINST]
    text += f"| {' | '.join(headings)} |\n{len(headings) * '|---'}|\n"
    for key, seeds in {**found, **beside}.items():
        entry = dict(zip(ABOUT, key, strict=True))
        each = [figures.pop("cider_by_image", {}) for figures in seeds.values()]
        for figures, of in zip(seeds.values(), each, strict=True):
            even = [value for name, value in of.items() if name not in odd]
            figures[EVEN] = statistics.mean(even or [math.nan])  # of a try there may be none
        cells = [*("" if one is None else f"{one}" for one in key), str(len(seeds))]
        for name, form in COLUMNS.items():
            values = [figures[name] for figures in seeds.values()]
            spread = statistics.stdev(values) if len(values) > 1 else None
            entry[name] = [statistics.mean(values), spread]
            cells.append(" ± ".join(format(one, form) for one in entry[name][: len(values)]))
        by_image = {name: statistics.mean(one[name] for one in each) for name in each[0]}
        if key in found and above and key[-1] == training and {*seeds} == its_seeds:
            entry[AGAINST] = interval(by_image, above)
            cells.append("{:+.3f} to {:+.3f}".format(*entry[AGAINST]))
        else:
            cells.append("")
        above, training, its_seeds = by_image, key[-1], {*seeds}
        text += f"| {' | '.join(cells)} |\n"
        rows.append({**entry, "seeds": seeds})
        if key in found:
            bars.setdefault(key[0], {})[key[-1]] = [one["CIDEr-D"] for one in seeds.values()]
        else:
            levels[key[0]] = entry["CIDEr-D"][0]
    write_json(out / "comparison.json", {**about, "dtype": dtype, "rows": rows})
    write_text(out / "comparison.md", text)
    plot_bars(out / "comparison.png", bars, levels)


def rank(row: tuple[tuple, dict[int, dict]]) -> tuple[bool, float]:
    """Frozen encoders come first, and of each training the best."""
    encoder, seeds = row
    return encoder[-1] != "frozen", -statistics.mean(one["CIDEr-D"] for one in seeds.values())


def interval(ours: dict[str, float], theirs: dict[str, float]) -> tuple[float, float]:
    """95% of the differences between the means of two rows, by a paired bootstrap of the images.

    Both are by image; Koehn, "Statistical significance tests for machine translation evaluation"
    (EMNLP 2004). If 0 lies in it, the images do not tell the rows apart.
    """
    differences = np.array([value - theirs[name] for name, value in ours.items()])
    drawn = np.random.default_rng(0).integers(len(differences), size=(RESAMPLES, len(differences)))
    low, high = np.percentile(differences[drawn].mean(axis=1), (2.5, 97.5))
    return float(low), float(high)


def plot_bars(path: Path, bars: dict[str, dict[str, list[float]]], levels: dict) -> None:
    """CIDEr-D of each encoder as two bars, frozen and fine-tuned, with a dot for each seed.

    `levels` are dashed lines; those above the axes are left out.
    """
    with drawing(path, (1.5 + 1.1 * len(bars), 3.6)) as axes:
        for number, (training, colour) in enumerate({"frozen": "0.7", "fine-tuned": "C0"}.items()):
            places = [encoder + 0.4 * number for encoder in range(len(bars))]
            found = [of.get(training, [math.nan]) for of in bars.values()]
            heights = [statistics.mean(seeds) for seeds in found]
            drawn = axes.bar(places, heights, 0.38, color=colour, label=training)
            axes.bar_label(drawn, [f"{height:.3f}" for height in heights], fontsize=7, padding=3)
            for place, seeds in zip(places, found, strict=True):
                axes.plot([place] * len(seeds), seeds, ".", color="0.2", markersize=4)
        for name, value in levels.items():
            if value < axes.get_ylim()[1]:
                axes.axhline(value, color="0.4", linestyle="--", linewidth=0.8)
                across = axes.get_yaxis_transform()  # x as a share of the axes
                axes.text(
                    1.01, value, f"{name}\n{value:.3f}", transform=across, fontsize=8, va="center"
                )
        names = [textwrap.fill(name, 12) for name in bars]
        axes.set_xticks([encoder + 0.2 for encoder in range(len(bars))], names)
        axes.set(ylabel="CIDEr-D", title="Captions by pretext task of the encoder; a dot is a seed")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="upper right", frameon=False)
