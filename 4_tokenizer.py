#!/usr/bin/env python3
"""Stage 4: write the training vocabulary of descriptions.txt to tokenizer.pkl.

Defaults are the settings with which 2_train_IC_model.py trained the model beside --output.
"""

import re
from pathlib import Path

from captioning.arguments import SHARED, positive_int, shared
from captioning.cli import ArgumentParser, run


def parse_arguments():
    parser = ArgumentParser(__doc__, epilog="example: python %(prog)s")
    shared(parser, "--descriptions")
    shared(parser, "--train-split", "--split-seed", "--limit", default=None)
    parser.add_argument(
        "--min-count", type=positive_int, help="leave out words that occur fewer times"
    )
    shared(parser, "--features", help="features; images without them are left out")
    shared(parser, "--output", default="tokenizer.pkl", help="output: pickle of plain data")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    from captioning.captioners.tokenizer import write_tokenizer
    from captioning.datasets import all_ids, read_splits, select_each
    from captioning.datasets.descriptions import read_descriptions
    from captioning.features.reading import read_features
    from captioning.files import check_writable
    from captioning.text import build_vocabulary

    # 1. The images that the model was trained on.
    check_writable(args.output)
    descriptions, text_rules = read_descriptions(args.descriptions)
    sources = {"descriptions": descriptions}
    features = args.features or trained(args, "features", str)
    if features and (args.features or Path(features).exists()):
        sources["features"] = read_features(features)
    wanted = args.train_split or trained_splits(args) or SHARED["--train-split"]["default"]
    splits = read_splits(wanted, descriptions, seed=trained(args, "split_seed", int) or 0)
    used = select_each(splits, trained(args, "limit", int), **sources)

    # 2. The words of their captions.
    min_count = trained(args, "min_count", int) or 1
    vocabulary = build_vocabulary(descriptions, all_ids(used), text_rules, min_count)
    write_tokenizer(args.output, vocabulary)
    print(
        f"descriptions {args.descriptions}\n"
        f"{args.output}: {len(vocabulary)} words that occur {min_count} times or more, "
        f"{text_rules} rules, captions of at most {vocabulary.max_length} words"
    )


def trained(args, name: str, kind: type):
    """An argument, or what the model beside the output was trained with; None: neither is known."""
    from captioning.training.recipes import trained_setting

    value = getattr(args, name)
    return trained_setting(Path(args.output).parent, name, kind) if value is None else value


def trained_splits(args) -> list[str]:
    """The training splits that stage 2 recorded: 'a.txt, b.txt x 2' if it saw b.txt twice."""
    recorded = trained(args, "train_split", str) or ""
    return [re.sub(r" x \d+$", "", split) for split in recorded.split(", ") if split]


if __name__ == "__main__":
    run(main)
