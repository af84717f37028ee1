"""Which images of one split, or of several data sets' splits, a script works on."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

from captioning.cli import UserError, first_ten, report_skipped
from captioning.datasets.splits import is_drawn, read_split
from captioning.images.names import differences, ends, known_id


def read_splits(
    splits: Sequence[str | Path], ids: Collection[str], *, seed: int = 0
) -> dict[str, list[str]]:
    """What `read_split` gives for each of several splits, of one data set or of several.

    Raises:
        UserError: as `read_split`; one is drawn from all images, and so from the others', too.
    """
    for split in splits:
        if len(splits) > 1 and is_drawn(split):
            raise UserError(
                f"{split}: is drawn from the images of all data sets; beside other splits give "
                f"CAPTIONS_FILE:{split}, which is drawn from one"
            )
    return {str(split): read_split(split, ids, seed=seed) for split in splits}


def every_id(parts: Mapping[str, Iterable[str]]) -> list[str]:
    """The images of all splits, each once."""
    return list(dict.fromkeys(chain.from_iterable(parts.values())))


def select(
    wanted: Iterable[str], *, split: str | Path, report: bool = True,
    advice: str = "write it with its folder", **sources: Mapping,
) -> list[str]:  # fmt: skip
    """The ids of a split that every source (features, descriptions, ...) knows; the rest is told.

    Raises:
        UserError: there is none: the split belongs to other data; or a name is one of those that
            have a folder before them, because two pictures have it.
    """
    wanted = list(wanted)
    ids = wanted
    for name, source in sources.items():
        found = {image_id: known_id(image_id, source) for image_id in ids}
        _check_clear([one for one, known in found.items() if known is None], source, split, advice)
        left = [found[image_id] for image_id in ids if found[image_id] is not None]
        if not left:
            raise UserError(
                f"{split}: none of the images that this split names is in the {name} (do they "
                f"belong to the same data set?): {differences(ids, source)}"
            )
        ids = left
    if report and len(ids) < len(wanted):
        used = set(ids)
        lacking = [
            image_id
            for image_id in wanted
            if image_id not in used and known_id(image_id, used) is None
        ]
        report_skipped(
            f"of the {len(wanted)} images of {split}, which are not in the "
            f"{' or the '.join(sources)}", lacking,
        )  # fmt: skip
    return ids


def select_each(splits: Mapping[str, Iterable[str]], **options) -> dict[str, list[str]]:
    """`select`, with its `options`, for each of several splits."""
    return {split: select(wanted, split=split, **options) for split, wanted in splits.items()}


def select_for_training(
    train: Sequence[str], dev: Sequence[str], descriptions: Mapping[str, Sequence[str]], *,
    seed: int, repeat: Sequence[int] | None = None, limit: int | None = None, **sources: Mapping,
) -> tuple[dict[str, int], list[str]]:  # fmt: skip
    """The images of training splits, with how often an epoch sees each, and those that judge.

    Args:
        repeat: a number for each split of `train`; an image of several goes by the first.
        limit: take the first so many of each split only.
        sources: of features or pictures, which images must be in besides `descriptions`.

    Raises:
        UserError: as `read_splits` and `select`; there are fewer or more numbers than splits.
    """
    if repeat and len(repeat) != len(train):
        raise UserError(
            f"--repeat: {len(repeat)} numbers for {len(train)} training splits; give one for each"
        )
    named = [read_splits(splits, descriptions, seed=seed) for splits in (train, dev)]
    inside = {image_id for splits in named for image_id in every_id(splits)}
    rest = [image_id for image_id in descriptions if image_id not in inside]
    captions = sum(len(descriptions[image_id]) for image_id in rest)
    report_skipped(f"images, with {captions} captions, that are in no split", rest)
    chosen, judging = (
        {
            split: ids[:limit]
            for split, ids in select_each(splits, **sources, descriptions=descriptions).items()
        }
        for splits in named
    )
    times: dict[str, int] = {}
    for split, count in zip(train, repeat or [1] * len(train), strict=True):
        for image_id in chosen[split]:
            times.setdefault(image_id, count)
        if len(train) > 1 or count > 1:
            print(f"{split}: {len(chosen[split])} images, seen {count} x an epoch")
    dev_ids = every_id(judging)
    if both := [image_id for image_id in dev_ids if image_id in times]:
        print(f"{len(both)} images judge and are trained on, which flatters: {first_ten(both)}")
    return times, dev_ids


def fingerprint(
    times: Mapping[str, int], dev_ids: Iterable[str], descriptions: Mapping[str, Sequence[str]]
) -> str:
    """A digest of which images are trained on and judge, and of their captions."""
    digest = hashlib.sha256()
    for part in (times, dict.fromkeys(dev_ids)):
        for image_id, count in part.items():
            digest.update(json.dumps([image_id, count, descriptions[image_id]]).encode())
    return digest.hexdigest()


def described(splits: Sequence[str], repeat: Sequence[int] | None = None) -> str:
    """Splits for a record of settings; of one that is seen once an epoch, what the user gave."""
    pairs = zip(splits, repeat or [1] * len(splits), strict=True)
    return ", ".join(f"{split} x {count}" if count > 1 else split for split, count in pairs)


def _check_clear(lacking: Iterable[str], source: Iterable[str], split: object, advice: str) -> None:
    """Refuse a name that is no id, if ids are that name with a folder before it."""
    several: dict[str, list[str]] = {image_id: [] for image_id in lacking}
    for image_id in source if several else ():
        for end in ends(image_id):
            if end in several:
                several[end].append(image_id)
    for name, meant in several.items():
        if meant:
            raise UserError(
                f"{split}: '{name}' may be {' or '.join(map(repr, meant[:3]))}, because several "
                f"pictures have that name; {advice}"
            )
