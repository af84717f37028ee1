#!/usr/bin/env python3
"""Export models of stage 2 as one .keras file in half precision: half the size, the same captions.

    python tools/export_model.py checkpoints/best_model.keras --output model.keras
    python tools/export_model.py A.keras B.keras C.keras --output model-ensemble.keras

Several, trained from other seeds, become one, an ensemble. After fine-tuning, and for a model that
has no expected words, --features finds them anew.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from captioning.arguments import shared
from captioning.cli import ArgumentParser, UserError, import_keras, run


def parse_arguments():
    parser = ArgumentParser(__doc__.split("\n")[0], epilog="example:" + __doc__.split("\n")[2])
    what = ".keras files of stage 2; several, of different seeds, become an ensemble"
    parser.add_argument("models", nargs="+", metavar="FILE.keras", help=what)
    shared(parser, "--output", required=True, help="output .keras file")
    what = "fit the expected words to these features and to the captions of the training images"
    shared(parser, "--features", help=what)
    shared(parser, "--descriptions", "--train-split", "--split-seed")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    for path in (*args.models, args.output):
        if Path(path).suffix != ".keras":
            raise UserError(f"{path}: give a .keras file")
    from captioning.files import check_writable

    check_writable(args.output)
    import_keras()
    from captioning.captioners.loading import check_encoder, load_captioner
    from captioning.captioners.saving import save_half
    from captioning.decoders.ensemble import Ensemble, join

    first, *others = models = [load_captioner(path) for path in args.models]
    for path, decoder in zip(args.models, models, strict=True):
        if (decoder.vocabulary, decoder.feature_shape) != (first.vocabulary, first.feature_shape):
            raise UserError(f"{path}: has other words or features than {args.models[0]}")
        check_encoder(first.encoder, Path(args.models[0]), decoder.encoder, path)
        if others and isinstance(decoder, Ensemble):
            raise UserError(f"{path}: is an ensemble itself; give its members")
    model = join(models) if others else first
    if args.features:
        model = with_expected_words(model, args)
    save_half(model, args.output)
    print(f"{args.output}: {len(models)} decoders in half precision")


def with_expected_words(model, args):
    """The decoder with expected words for its encoder's features, as stage 2 finds them."""
    from captioning.captioners.loading import check_features
    from captioning.datasets import all_ids, read_splits, select_each
    from captioning.datasets.descriptions import read_descriptions
    from captioning.decoders.expected_words import sizes_for
    from captioning.features.reading import read_features

    features = read_features(args.features)
    check_features(model, Path(args.models[0]), features, Path(args.features))
    descriptions, rules = read_descriptions(args.descriptions)
    if rules != model.vocabulary.text_rules:
        raise UserError(
            f"{args.descriptions}: cleaned by the rules {rules}, but {args.models[0]} was trained "
            f"on {model.vocabulary.text_rules}"
        )
    splits = read_splits(args.train_split, descriptions, seed=args.split_seed)
    image_ids = all_ids(select_each(splits, descriptions=descriptions, features=features))
    sizes = sizes_for(len(image_ids), model.feature_size, model.vocabulary)
    copy = model.copy_with(expected_sizes=sizes)
    copy.expected_words.fit(features, descriptions, image_ids, model.vocabulary)
    print(f"expected words of {len(image_ids)} images of {args.features}")
    return copy


if __name__ == "__main__":
    run(main)
