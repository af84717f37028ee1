#!/usr/bin/env python3
"""Stage 4: write the training vocabulary of descriptions.txt to tokenizer.pkl.

Defaults are the settings with which 2_train_IC_model.py trained the model beside --output.
"""

from pathlib import Path

from captioning.arguments import SHARED, positive_int, shared
from captioning.cli import ArgumentParser, run


def parse_arguments():
    parser = ArgumentParser(__doc__, epilog="example: python %(prog)s")
    shared(parser, "--descriptions")
    shared(parser, "--train-split", dest="train_splits", default=None)
    shared(parser, "--split-seed", "--limit", default=None)
    parser.add_argument("--min-count", type=positive_int, help="leave out less frequent words")
    shared(parser, "--features", help="features; images without them are left out")
    shared(parser, "--output", default="tokenizer.pkl", help="output: pickle of plain data")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    from captioning.captioners.tokenizer import write_tokenizer
    from captioning.datasets import all_ids, read_splits, select_each
    from captioning.datasets.descriptions import read_descriptions
    from captioning.features.reading import read_features
    from captioning.files import check_writable, read_record
    from captioning.text import build_vocabulary
    from captioning.training.recipes import settings_path

    # 1. The images that the model was trained on.
    check_writable(args.output)
    settings = read_record(settings_path(Path(args.output).parent))
    settings |= {name: value for name, value in vars(args).items() if value is not None}
    descriptions, text_rules = read_descriptions(args.descriptions)
    sources = {"descriptions": descriptions}
    features = settings.get("features")
    if features and (args.features or Path(features).exists()):
        sources["features"] = read_features(features)
    wanted = settings.get("train_splits", SHARED["--train-split"]["default"])
    splits = read_splits(wanted, descriptions, seed=settings.get("split_seed", 0))
    used = select_each(splits, settings.get("limit"), **sources)

    # 2. The words of their captions.
    min_count = settings.get("min_count", 1)
    vocabulary = build_vocabulary(descriptions, all_ids(used), text_rules, min_count)
    write_tokenizer(args.output, vocabulary)
    print(
        f"descriptions {args.descriptions}\n"
        f"{args.output}: {len(vocabulary)} words that occur {min_count} times or more, "
        f"{text_rules} rules, captions of at most {vocabulary.max_length} words"
    )


if __name__ == "__main__":
    run(main)
