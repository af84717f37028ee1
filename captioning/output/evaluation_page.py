"""The page of an evaluation: every picture with its captions, coloured by their scores."""

import base64
import hashlib
import html
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tqdm import tqdm

from captioning import datasets
from captioning.cli import UserError
from captioning.evaluation.coco_toolkit import Scores, one_line
from captioning.evaluation.figures import Candidate, cells, headings
from captioning.files import atomic_path
from captioning.images.reading import UnreadableImage
from captioning.output.captions import thumbnail_uri

# CIDEr-D of one caption. On Flickr8k half of the human captions reach the first against the other
# four, and four in five the second; one constant caption for all images gets 0.14 on average.
GOOD, FAIR = 0.6, 0.2
THUMBNAIL, QUALITY = 200, 75  # a page of 1,000 square pictures has 13 MB


def pictures_of(
    folder: str | Path, ids: Iterable[str], files: Mapping[str, str]
) -> dict[str, Path]:
    """The pictures of these images, by `image_id`, as far as the folder has them.

    `files` are the names that the data set has for them; see `datasets.find_pictures`.

    Raises:
        UserError: no such folder, or it has none of them.
    """
    if not Path(folder).is_dir():
        raise UserError(f"{folder}: not a folder of pictures; give theirs as --images")
    found, _ = datasets.find_pictures(folder, files)
    pictures = {image_id: found[image_id] for image_id in ids if image_id in found}
    if not pictures:
        raise UserError(
            f"{folder}: has none of the pictures that are scored; give their folder as --images"
        )
    return pictures


def write_page(
    path: str | Path,
    settings: str,
    rows: Sequence[tuple[Candidate, Scores]],
    shown: Sequence[tuple[Candidate, Scores]],
    pictures: Mapping[str, Path],
) -> list[str]:
    """Write one self-contained page; return which pictures are missing on it, and why.

    The page needs no network. Whatever a caption holds, it is text: it is escaped, and the page
    forbids every script but its own by the script's digest.

    Args:
        settings: what was scored and how, a sentence under the title.
        rows: the table at the head of the page.
        shown: those of the rows whose captions stand under the pictures. The page is sorted by
            the first, best first; its buttons sort by any, either way.
        pictures: files by `image_id`.
    """
    first = shown[0][1].cider
    ids = sorted(first, key=first.__getitem__, reverse=True)
    missing = []
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(_head(settings, rows, shown))
        for image_id in tqdm(ids, "report", unit=" pictures", leave=False):
            uri = None
            try:
                if image_id not in pictures:
                    raise UnreadableImage(f"{image_id}: no such picture in the folder")
                uri = thumbnail_uri(pictures[image_id], THUMBNAIL, QUALITY)
            except UnreadableImage as error:
                missing.append(str(error))
            file.write(_card(image_id, uri, shown))
        file.write(f"</main>\n<script>{_SCRIPT}</script>\n</body></html>\n")
    return missing


def grade(score: float) -> str:
    """`good`, `fair` or `poor`: the colour of a caption."""
    return "good" if score >= GOOD else "fair" if score >= FAIR else "poor"


def _card(image_id: str, uri: str | None, shown: Sequence[tuple[Candidate, Scores]]) -> str:
    captions = []
    for number, (candidate, scores) in enumerate(shown, start=1):
        score = scores.cider[image_id]
        by = f" <small>{number}</small>" if len(shown) > 1 else ""
        captions.append(
            f'<p class="caption {grade(score)}"><b>{score:.2f}</b> '
            f"<bdi>{_text(candidate.captions[image_id]) or '<i>(empty)</i>'}</bdi>{by}</p>"
        )
    name = _text(image_id)
    image = f'<img src="{uri}" alt="photograph {name}">' if uri else "<div>no picture</div>"
    references = "".join(
        f"<li><bdi>{_text(text)}</bdi></li>" for text in shown[0][0].references[image_id]
    )
    every = " ".join(f"{scores.cider[image_id]:.6f}" for _, scores in shown)
    return (
        f'<article data-scores="{every}">{image}\n{"".join(captions)}\n'
        f"<ul>{references}</ul><small>{name}</small></article>\n"
    )


def _head(
    settings: str,
    rows: Sequence[tuple[Candidate, Scores]],
    shown: Sequence[tuple[Candidate, Scores]],
) -> str:
    header = "".join(f'<th scope="col">{name}</th>' for name in headings())
    body = "\n".join(
        f'<tr><th scope="row">{_text(row.name)}</th>'
        + "".join(f"<td>{cell}</td>" for cell in cells(scores))
        + "</tr>"
        for row, scores in rows
    )
    sorting = []
    for number, (candidate, scores) in enumerate(shown):
        grades = [grade(score) for score in scores.cider.values()]
        counts = ", ".join(
            f'<span class="{name}">{grades.count(name)} {name}</span>'
            for name in ("good", "fair", "poor")
        )
        by = f"{number + 1}: {_text(candidate.name)}" if len(shown) > 1 else _text(candidate.name)
        sorting.append(
            f"<p>{by}: {counts}<br>"
            f'<button type="button" data-row="{number}" data-sign="-1" '
            f'aria-pressed="{"false" if number else "true"}">best first</button> '
            f'<button type="button" data-row="{number}" data-sign="1" aria-pressed="false">'
            "worst first</button></p>"
        )
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    return _HEAD.format(
        digest=digest, style=_STYLE, count=len(shown[0][1].cider), settings=_text(settings),
        header=header, body=body, sorting="\n".join(sorting), good=GOOD, fair=FAIR,
    )  # fmt: skip


def _text(text: str) -> str:
    return html.escape(one_line(text))


_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:;
 style-src 'unsafe-inline'; script-src 'sha256-{digest}'">
<title>Captions of {count} images</title>
<style>{style}</style></head><body>
<h1>Captions of {count} images</h1>
<p>{settings}</p>
<div class="wide" tabindex="0" role="region" aria-label="figures"><table>
<thead><tr><td></td>{header}</tr></thead>
<tbody>
{body}
</tbody></table></div>
<nav aria-label="sorting">
{sorting}
</nav>
<p>The number before a caption is its CIDEr-D: <span class="good">good from {good}</span>,
<span class="fair">fair from {fair}</span>, <span class="poor">poor</span> below. Under a caption
stand the references that it is scored against.</p>
<main>
"""

_STYLE = """
body { font: 16px/1.4 system-ui, sans-serif; margin: 1rem; color: #222; background: #fafafa; }
h1 { font-size: 1.4rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { padding: .25rem .6rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid #ddd; }
tbody th { text-align: left; font-weight: normal; white-space: normal;
  overflow-wrap: anywhere; min-width: 9rem; }
button { font: inherit; padding: .4rem .8rem; border: 1px solid #777; border-radius: 6px;
  background: #fff; color: inherit; }
button[aria-pressed=true] { background: #222; color: #fff; }
p { overflow-wrap: anywhere; }
nav span, p > span { padding: 0 .3rem; border-radius: 4px; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(17rem, 100%), 1fr));
  gap: 1rem; }
article { background: #fff; border: 1px solid #ddd; border-radius: 8px; overflow: hidden;
  content-visibility: auto; contain-intrinsic-size: auto 30rem; }
article img, article div { width: 100%; height: 12rem; object-fit: contain; background: #eee;
  display: block; }
article div { display: grid; place-items: center; color: #555; }
.caption { margin: 0; padding: .5rem .8rem; border-left: 6px solid; overflow-wrap: anywhere; }
.good { background: #daf1dd; border-color: #2e7d32; }
.fair { background: #fdf0c0; border-color: #b58900; }
.poor { background: #fbdcdc; border-color: #c62828; }
ul { margin: .6rem .8rem; padding-left: 1rem; font-size: .9rem; overflow-wrap: anywhere; }
small { color: #595959; overflow-wrap: anywhere; }
article > small { display: block; padding: 0 .8rem .6rem; }
"""

_SCRIPT = """
const main = document.querySelector("main");
const buttons = document.querySelectorAll("nav button");
for (const button of buttons) button.addEventListener("click", () => {
  const { row, sign } = button.dataset;
  const score = (card) => Number(card.dataset.scores.split(" ")[row]);
  main.append(...[...main.children].sort((a, b) => sign * (score(a) - score(b))));
  for (const one of buttons) one.setAttribute("aria-pressed", one === button);
});
"""
