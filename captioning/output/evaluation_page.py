"""The page of an evaluation: every picture with its captions, coloured by their scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from captioning.evaluation.coco_toolkit import Scores
from captioning.evaluation.figures import Candidate, cells, headings
from captioning.output import page
from captioning.output.page import text

# CIDEr-D of one caption. On Flickr8k half of the human captions reach the first against the other
# four, and four in five the second; one constant caption for all images gets 0.14 on average.
GOOD, FAIR = 0.6, 0.2
THUMBNAIL = 200  # pixels: a page of 1,000 square pictures has 13 MB

Rows = Sequence[tuple[Candidate, Scores]]


def write_page(
    path: str | Path, settings: str, rows: Rows, shown: Rows, images: Mapping[str, Path]
) -> None:
    """Write one self-contained page.

    Args:
        settings: what was scored and how, a sentence under the title.
        rows: the table at the head of the page.
        shown: those of the rows whose captions stand under the pictures. The page is sorted by
            the first, best first; its buttons sort by any, either way.
        images: files by `image_id`.
    """
    first = shown[0][1].cider
    ids = sorted(first, key=lambda image_id: first[image_id] or 0.0, reverse=True)
    cards = (
        _card(image_id, images.get(image_id), shown)
        for image_id in tqdm(ids, "report", unit=" pictures", leave=False)
    )
    page.write_page(path, f"Captions of {len(ids)} images", _intro(settings, rows, shown), cards)


def _grade(score: float | None) -> str:
    """`good`, `fair` or `poor`: the colour of a caption; `none` of one without a score."""
    if score is None:
        return "none"
    return "good" if score >= GOOD else "fair" if score >= FAIR else "poor"


def _card(image_id: str, image: Path | None, shown: Rows) -> str:
    body = ""
    for number, (candidate, scores) in enumerate(shown, start=1):
        score, caption = scores.cider[image_id], text(candidate.captions[image_id])
        figure = "n/a" if score is None else f"{score:.2f}"
        row = f" <small>{number}</small>" if len(shown) > 1 else ""
        body += f'<p class="{_grade(score)}"><b>{figure}</b> '
        body += f"<bdi>{caption or '<i>(empty)</i>'}</bdi>{row}</p>"
    references = shown[0][0].references[image_id]
    items = "".join(f"<li><bdi>{text(reference)}</bdi></li>" for reference in references)
    body += f"\n<ul>{items}</ul><small>{text(image_id)}</small>"
    sorted_by = " ".join(f"{scores.cider[image_id] or 0.0:.6f}" for _, scores in shown)
    return page.card(image, f"photograph {image_id}", body, THUMBNAIL, sorted_by)


def _intro(settings: str, rows: Rows, shown: Rows) -> str:
    header = "".join(f'<th scope="col">{name}</th>' for name in headings())
    body = "\n".join(
        f'<tr><th scope="row">{text(row.name)}</th>'
        + "".join(f"<td>{cell}</td>" for cell in cells(scores.figures))
        + "</tr>"
        for row, scores in rows
    )
    sorting = []
    for number, (candidate, scores) in enumerate(shown):
        grades = [_grade(score) for score in scores.cider.values()]
        counts = ", ".join(
            f'<span class="{name}">{grades.count(name)} {name}</span>'
            for name in ("good", "fair", "poor")
        )
        by = f"{number + 1}: {text(candidate.name)}" if len(shown) > 1 else text(candidate.name)
        buttons = " ".join(
            f'<button type="button" data-row="{number}" data-sign="{sign}" '
            f'aria-pressed="{str(not number and sign < 0).lower()}">{name} first</button>'
            for sign, name in ((-1, "best"), (1, "worst"))
        )
        sorting.append(f"<p>{by}: {counts}<br>{buttons}</p>")
    return f"""<p>{text(settings)}</p>
<div class="wide" tabindex="0" role="region" aria-label="figures"><table>
<thead><tr><td></td>{header}</tr></thead>
<tbody>
{body}
</tbody></table></div>
<nav aria-label="sorting">
{"".join(sorting)}
</nav>
<p>The number before a caption is its CIDEr-D: <span class="good">good from {GOOD}</span>,
<span class="fair">fair from {FAIR}</span>, <span class="poor">poor</span> below. Under a caption
stand the references that it is scored against.</p>"""
