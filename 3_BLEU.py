#!/usr/bin/env python3
"""Stage 3: BLEU-1 to 4 of a model's captions, and of one constant caption for all images."""

from pathlib import Path

from captioning.arguments import shared
from captioning.cli import ArgumentParser, UserError, import_keras, run
from captioning.decoders import search_settings
from captioning.evaluation import bleu
from captioning.evaluation.metrics import distinct, mean_length, repeated_bigram


def parse_arguments():
    parser = ArgumentParser(__doc__, epilog="example: python %(prog)s --beam-width 3")
    shared(parser, "--model", "--tokenizer", "--features", "--descriptions")
    shared(parser, "--split", "--split-seed")
    search_settings.add_arguments(parser, beam_width=1)
    what = "original: comparable with the original pipeline; coco: with papers, needs --captions"
    parser.add_argument("--protocol", choices=bleu.PROTOCOLS, default="original", help=what)
    shared(parser, "--captions", default=None, help="the raw captions, for --protocol coco")
    shared(parser, "--dataset")
    shared(parser, "--output", help="write the captions as JSON in COCO's results format")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    search = search_settings.from_arguments(args)
    from captioning import datasets
    from captioning.datasets.descriptions import read_descriptions
    from captioning.features.reading import extraction_command, find_features, read_features
    from captioning.files import check_writable, write_json
    from captioning.images.names import find_ids

    # 1. What to score, and against which references.
    if args.protocol == "coco" and args.captions is None:
        raise UserError("--protocol coco scores against raw captions: give --captions FILE")
    import_keras()
    from captioning.captioners.loading import check_features, find_captioner, load_captioner

    model_path = Path(args.model) if args.model else find_captioner()
    model = load_captioner(model_path, args.tokenizer)
    search.check_ranking(model, model_path)
    features_path = args.features or find_features(model.grid)
    features = read_features(features_path, extraction_command(model.encoder, grid=model.grid))
    check_features(model, model_path, features, features_path)
    source, numbers = args.descriptions, {}
    if args.captions:
        dataset = datasets.read_datasets(args.captions, args.dataset)
        source, references, numbers = dataset.name, dataset.captions, dataset.numbers
    else:
        references, _ = read_descriptions(source)
    splits = datasets.read_splits(args.split, references, seed=args.split_seed)
    split = datasets.all_ids(splits)
    named = find_ids(split, features, features_path)  # as features of several sets are
    ids = datasets.all_ids(datasets.select_each(splits, references=references, features=named))
    if args.output:
        check_writable(args.output)

    # 2. One caption an image, all decoded together.
    from captioning.decoders.search import generate

    print(f"model {model_path}\nfeatures {features_path}\nreferences {source}")
    hypotheses = generate(model, features.of(named[image_id] for image_id in ids), search)
    captions = {image_id: h.caption for image_id, h in zip(ids, hypotheses, strict=True)}
    if args.output:
        write_json(args.output, datasets.results(captions.items(), numbers))

    # 3. The score, and what one caption for all images would get.
    tokens = bleu.tokenize_all(references, args.protocol)
    hypothesis = {
        image_id: bleu.tokenize(text, args.protocol) for image_id, text in captions.items()
    }
    inside = set(split)
    outside = {image_id: texts for image_id, texts in tokens.items() if image_id not in inside}
    rows = [(f"model, beam width {search.beam_width}", hypothesis)]
    if outside:
        constant = bleu.constant_caption(outside)
        rows.append(("constant caption", dict.fromkeys(ids, constant)))
    print(f"protocol {args.protocol}, split {datasets.described(args.split)}, {len(ids)} images")
    print(f"{'':24}" + "".join(f"  BLEU-{n}" for n in (1, 2, 3, 4)))
    for name, candidate in rows:
        figures = bleu.bleu(tokens, candidate, args.protocol)
        print(f"{name:24}" + "".join(f"  {figure:.4f}" for figure in figures))
    if outside:
        print(f"(the constant caption: {' '.join(constant)})")
    texts = {image_id: [text] for image_id, text in captions.items()}
    print(
        f"{distinct({}, texts)} distinct captions, {mean_length({}, texts):.1f} words each, "
        f"{repeated_bigram({}, texts):.1%} have a pair of words twice"
    )


if __name__ == "__main__":
    run(main)
