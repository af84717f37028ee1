"""Which images of one split, or of several data sets' splits, a script works on."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

from captioning.cli import UserError, first_ten, report_skipped
from captioning.datasets.splits import is_drawn, read_split


def read_splits(
    splits: Sequence[str | Path], ids: Collection[str], *, seed: int = 0
) -> dict[str, list[str]]:
    """What `read_split` gives for each of several splits; none may be drawn from the others'."""
    for split in splits:
        if len(splits) > 1 and is_drawn(split):
            raise UserError(
                f"{split}: is drawn from all images; beside other splits give CAPTIONS_FILE:{split}"
            )
    return {str(split): read_split(split, ids, seed=seed) for split in splits}


def all_ids(parts: Mapping[str, Iterable[str]]) -> list[str]:
    """The images of all splits, each once."""
    return list(dict.fromkeys(chain.from_iterable(parts.values())))


def select(wanted: Iterable[str], *, split: str | Path, **sources: Collection[str]) -> list[str]:
    """The ids of a split that every source (features, descriptions, ...) has; the rest is told.

    Raises:
        UserError: there is none: the split belongs to other data.
    """
    ids = wanted = list(wanted)
    for name, source in sources.items():
        kept = [image_id for image_id in ids if image_id in source]
        if not kept:
            example = f"it names '{ids[0]:.60}', they '{next(iter(source), ''):.60}'"
            raise UserError(
                f"{split}: none of the images that this split names is in the {name}: {example}; "
                "do they belong to the same data set?"
            )
        ids = kept
    used = set(ids)
    report_skipped(
        f"of the {len(wanted)} images of {split}, which are not in the {' or the '.join(sources)}",
        [image_id for image_id in wanted if image_id not in used],
    )
    return ids


def select_each(
    splits: Mapping[str, Iterable[str]], limit: int | None = None, **sources: Collection[str]
) -> dict[str, list[str]]:
    """`select` for each of several splits, and of that the first `limit`."""
    return {split: select(ids, split=split, **sources)[:limit] for split, ids in splits.items()}


def select_for_training(
    train: Sequence[str],
    dev: Sequence[str],
    descriptions: Mapping[str, Sequence[str]],
    *,
    seed: int,
    repeat: Sequence[int] | None = None,
    limit: int | None = None,
    **sources: Collection[str],
) -> tuple[dict[str, int], list[str]]:
    """The images of training splits, with how often an epoch sees each, and those that validate.

    Args:
        repeat: a number for each split of `train`; an image of several goes by the first.
        limit: take the first so many of each split only.
        sources: of features or pictures, which images must be in besides `descriptions`.

    Raises:
        UserError: as `read_split` and `select`; there are fewer or more numbers than splits.
    """
    if repeat and len(repeat) != len(train):
        raise UserError(
            f"--repeat: {len(repeat)} numbers for {len(train)} training splits; give one for each"
        )
    named = [read_splits(splits, descriptions, seed=seed) for splits in (train, dev)]
    inside = {image_id for splits in named for image_id in all_ids(splits)}
    rest = [len(texts) for image_id, texts in descriptions.items() if image_id not in inside]
    if rest:
        print(
            f"not used: {len(rest)} images with {sum(rest)} captions, which neither --train-split "
            "nor --dev-split names, such as a test split"
        )
    chosen, validating = (
        select_each(splits, limit, **sources, descriptions=descriptions) for splits in named
    )
    repeats: dict[str, int] = {}
    for split, count in zip(train, repeat or [1] * len(train), strict=True):
        for image_id in chosen[split]:
            repeats.setdefault(image_id, count)
        if len(train) > 1 or count > 1:
            print(f"{split}: {len(chosen[split])} images, seen {count} x an epoch")
    dev_ids = all_ids(validating)
    if both := [image_id for image_id in dev_ids if image_id in repeats]:
        print(f"{len(both)} images validate and are trained on, which flatters: {first_ten(both)}")
    return repeats, dev_ids


def fingerprint(
    repeats: Mapping[str, int], dev_ids: Iterable[str], descriptions: Mapping[str, Sequence[str]]
) -> str:
    """A digest of which images are trained on and validate, and of their captions."""
    digest = hashlib.sha256()
    for part in (repeats, dict.fromkeys(dev_ids)):
        for image_id, count in part.items():
            digest.update(json.dumps([image_id, count, descriptions[image_id]]).encode())
    return digest.hexdigest()


def described(splits: Sequence[str], repeat: Sequence[int] | None = None) -> str:
    """Splits for a record of settings; of one that is seen once an epoch, what the user gave."""
    pairs = zip(splits, repeat or [1] * len(splits), strict=True)
    return ", ".join(f"{split} x {count}" if count > 1 else split for split, count in pairs)
