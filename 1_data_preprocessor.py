#!/usr/bin/env python3
"""Stage 1: extract image features (features.pkl) and clean captions (descriptions.txt)."""

from pathlib import Path

from captioning.arguments import seed, shard, shared
from captioning.cli import ArgumentParser, UserError, import_keras, report_skipped, run
from captioning.encoders.table import ENCODERS
from captioning.text import TEXT_RULES


def parse_arguments():
    example = "example: python %(prog)s --images FOLDER --captions FILE"
    parser = ArgumentParser(__doc__, epilog=example)
    add = parser.add_argument
    shared(parser, "--images", "--captions", "--dataset")
    what = f"{', '.join(ENCODERS)}; default: efficientnet_lite0, or the one of --weights NAME"
    shared(parser, "--encoder", help=what)
    what = "encoder weights, or the name of public ones to download; 'list' prints the names"
    shared(parser, "--weights", metavar="FILE_OR_NAME", help=what)
    add("--partial-weights", action="store_true", help="accept checkpoints that lack weights")
    what = "of images, if the weights do not record it, such as 'resize(256)|crop(224)|imagenet'"
    add("--preprocessing", metavar="TEXT", help=what)
    what = "cleaning of captions; original: without 'a' and punctuation; ptb: keep every word"
    add("--text-rules", choices=TEXT_RULES, default="original", help=what)
    add("--only", choices=("features", "captions"), help="run only this half of the stage")
    add("--grid", action="store_true", help="grids of vectors, for attention and transformer")
    add("--view", type=seed, default=0, metavar="N", help="of random crops, for stage 2's --views")
    what = "output; default: features.pkl, with --grid features.h5, with --view N features-viewN.*"
    shared(parser, "--features", help=what)
    add("--descriptions", default="descriptions.txt", help="output: cleaned captions")
    shared(parser, "--batch-size", default=32)
    shared(parser, "--workers", "--dtype")
    add("--shard", type=shard, metavar="I/N", help="every N-th image; --features is a folder")
    shared(parser, "--limit", help="quick test: use only the first N images of each data set")
    shared(parser, "--seed", help="random seed of an encoder without weights")
    shared(parser, "--resume")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    from captioning.encoders import public

    if args.weights == "list":
        print(public.listing())
        return
    checkpoint = public.find(args.weights, args.encoder) if args.weights else None
    encoder_name = args.encoder or (checkpoint.encoder if checkpoint else "efficientnet_lite0")
    if args.shard or args.view:
        if args.only == "captions":
            raise UserError("--shard and --view are of features: leave out --only captions")
        args.only = "features"
    output = features_path(args)
    from captioning.datasets import read_images_and_captions
    from captioning.datasets.descriptions import write_descriptions
    from captioning.files import check_writable, lock
    from captioning.text import clean_all

    # 1. Which images have captions, and which captions an image?
    dataset, images, usable, left_out = read_images_and_captions(
        args.images, args.captions, args.dataset
    )
    captions = dataset.captions
    print(f"{dataset.name}: {len(captions)} images, {sum(map(len, captions.values()))} captions")
    report_skipped("images with the same name as another", left_out)
    report_skipped("captioned images without a file", [i for i in captions if i not in images])
    report_skipped("images without a caption", sorted(i for i in images if i not in captions))
    ids = [image_id for of_one_set in usable for image_id in of_one_set[: args.limit]]
    if args.shard:
        number, count = args.shard
        ids = ids[number - 1 :: count]
        if not ids:
            raise UserError(f"--shard {number}/{count}: there are fewer images than shards")
    if args.only != "features":
        check_writable(args.descriptions)

    # 2. Images through the encoder.
    unreadable: dict[str, str] = {}
    if args.only != "captions":
        if args.shard:
            output.parent.mkdir(exist_ok=True)
        check_writable(output)
        lock(output)
        import_keras()
        from captioning.encoders.loading import load_encoder
        from captioning.features.extraction import extract

        encoder = load_encoder(
            encoder_name,
            checkpoint or args.weights,
            dtype=args.dtype,
            seed=args.seed,
            partial=args.partial_weights,
            preprocessing=args.preprocessing,
        )
        unreadable = extract(
            encoder,
            {image_id: images[image_id] for image_id in ids},
            output,
            batch_size=args.batch_size,
            resume=args.resume,
            grid=args.grid,
            view=args.view,
            workers=args.workers,
        )
        report_skipped("unreadable images", list(unreadable.values()))
        kind = "grids of vectors" if args.grid else "vectors"
        print(f"{output}: {len(ids) - len(unreadable)} {kind} of {encoder.width} numbers")

    # 3. Captions through the cleaning rules.
    if args.only != "features":
        kept = {image_id: captions[image_id] for image_id in ids if image_id not in unreadable}
        cleaned, left_out = clean_all(kept, args.text_rules, dataset.name)
        report_skipped("captions that are empty after cleaning, or too long, of", left_out)
        write_descriptions(args.descriptions, cleaned, args.text_rules)
        count = sum(map(len, cleaned.values()))
        print(f"{args.descriptions}: {count} captions, {args.text_rules} rules")


def features_path(args) -> Path:
    """Where the features go, whose name says their format and whether they are of a view."""
    from captioning.features.reading import is_hdf5, read_features, shard_path

    name = f"features-view{args.view}" if args.view else "features"
    if args.shard:
        path = shard_path(args.features or name, *args.shard)
    else:
        path = Path(args.features or name + (".h5" if args.grid else ".pkl"))
    if args.grid and not is_hdf5(path):
        raise UserError(f"{path}: grids are kept in HDF5; give a name that ends in .h5")
    if args.view and path.is_file() and not read_features(path).info.get("view"):
        raise UserError(
            f"{path}: holds features of whole pictures, which a view should not replace; give "
            "another name with --features"
        )
    return path


if __name__ == "__main__":
    run(main)
