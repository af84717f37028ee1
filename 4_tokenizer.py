#!/usr/bin/env python3
"""Stage 4: descriptions.txt to tokenizer.pkl, the word numbers that training uses."""

from pathlib import Path

from captioning.cli import ArgumentParser, positive_int, run, seed
from captioning.files import artifact_path


def parse_arguments():
    parser = ArgumentParser(__doc__)
    add = parser.add_argument
    what = "from 1_data_preprocessor.py, here or in Pre-trained/"
    add("--descriptions", default=artifact_path("descriptions.txt"), help=what)
    add(
        "--train-split",
        nargs="+",
        default=["data/flickr8k/Flickr8k_text/Flickr_8k.trainImages.txt"],
        metavar="SPLIT",
        help="the training images: the ones given to 2_train_IC_model.py, and likewise",
    )
    add("--split-seed", type=seed, default=0, help="the one given to 2_train_IC_model.py")
    add(
        "--min-count",
        type=positive_int,
        help="leave out words that come fewer times, as 2_train_IC_model.py was told to; default: "
        "what it took for the model beside --output, else 1",
    )
    add(
        "--features",
        help="pictures without features do not count, as in 2_train_IC_model.py; default: what it "
        "took for the model beside --output, if that is still there",
    )
    add("--output", default="tokenizer.pkl", help="a pickle of plain data, safe to share")
    return parser.parse_args()  # fmt: skip


def main() -> None:
    args = parse_arguments()
    from captioning.captioners.tokenizer import write_tokenizer
    from captioning.datasets import every_id, read_splits, select_each
    from captioning.datasets.descriptions import read_descriptions
    from captioning.features.reading import read_features
    from captioning.files import check_writable
    from captioning.text import build_vocabulary
    from captioning.training.recipes import trained_setting

    check_writable(args.output)
    descriptions, text_rules = read_descriptions(args.descriptions)
    splits = read_splits(args.train_split, descriptions, seed=args.split_seed)
    # As stage 2 does: a picture that could not be read has captions, perhaps, and no features.
    folder = Path(args.output).parent
    features = args.features or trained_setting(folder, "features", str)
    sources = {"descriptions": descriptions}
    if features and (args.features or Path(features).exists()):
        sources["features"] = read_features(features)
    ids = every_id(select_each(splits, **sources))
    min_count = args.min_count or max(1, trained_setting(folder, "min_count", int) or 1)
    vocabulary = build_vocabulary(descriptions, ids, text_rules, min_count)
    write_tokenizer(args.output, vocabulary)
    print(
        f"descriptions {args.descriptions}\n"
        f"{args.output}: {len(vocabulary)} words of {min_count} uses or more, {text_rules} rules, "
        f"captions of at most {vocabulary.max_length} words"
    )


if __name__ == "__main__":
    run(main)
