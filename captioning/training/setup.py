"""What every training on captions begins with: captions, splits, images or features, a folder."""

from argparse import Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from captioning.datasets import described, find_all_images
from captioning.datasets.descriptions import read_descriptions
from captioning.datasets.selection import fingerprint, select_for_training
from captioning.features.reading import read_features
from captioning.files import open_run
from captioning.text import Vocabulary, build_vocabulary

# Of a resumed run. Files may lie elsewhere, and are known by what is in them; repeats are in
# `described` splits.
MAY_CHANGE = {"descriptions", "features", "images", "model", "weights", "output_dir"}
MAY_CHANGE |= {"patience", "repeat", "resume", "restart"}


class TrainingData(NamedTuple):
    """What a script trains on."""

    descriptions: dict[str, list[str]]  # cleaned captions by `image_id`
    text_rules: str  # by which they were cleaned
    source: Mapping[str, Any]  # `Features`, or the images' paths, by `image_id`
    repeats: dict[str, int]  # how often an epoch sees each training image
    dev_ids: list[str]  # the images that choose the best epoch
    vocabulary: Vocabulary | None  # of the training captions, if the script has a --min-count
    settings: dict[str, Any]  # what a run depends on

    def images_of(self, image_ids: Iterable[str]) -> dict[str, Any]:
        """What `source` has of these."""
        return {image_id: self.source[image_id] for image_id in image_ids}


def set_up(args: Namespace, locks: bool = True) -> TrainingData:
    """Read what a script's arguments name, and make its output folder.

    Raises:
        UserError: some file is missing, damaged or does not fit, or the folder cannot be written.
    """
    options = vars(args)
    repeat = options.get("repeat")
    settings = {name: value for name, value in options.items() if name not in MAY_CHANGE}
    descriptions, rules = read_descriptions(args.descriptions)
    if "images" in args:
        kind, source = "pictures", find_all_images(args.images, descriptions)
    else:
        kind, source = "features", read_features(args.features)
    splits, limit = (args.train_split, args.dev_split), options.get("limit")
    more = {"repeat": repeat, "limit": limit, kind: source}
    repeats, dev_ids = select_for_training(*splits, descriptions, seed=args.split_seed, **more)
    settings |= {
        "train_split": described(args.train_split, repeat),
        "dev_split": described(args.dev_split),
        "text_rules": rules,
        "captions_of_splits_sha256": fingerprint(repeats, dev_ids, descriptions),
    }
    if "images" not in args:
        settings["features_of"] = source.origin
    vocabulary = None
    if "min_count" in args:
        vocabulary = build_vocabulary(descriptions, repeats, rules, args.min_count)
    open_run(Path(args.output_dir), resume=args.resume, restart=args.restart, locks=locks)
    print(f"descriptions {args.descriptions}")
    return TrainingData(descriptions, rules, source, repeats, dev_ids, vocabulary, settings)
