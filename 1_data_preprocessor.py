#!/usr/bin/env python3
"""Stage 1: images and captions to features.pkl and descriptions.txt."""

from pathlib import Path

from captioning.cli import (
    ArgumentParser,
    UserError,
    import_keras,
    positive_int,
    report_skipped,
    run,
    seed,
    shard,
)
from captioning.datasets import DATASETS
from captioning.encoders.table import ENCODERS
from captioning.text import TEXT_RULES, canonical


def parse_arguments():
    parser = ArgumentParser(__doc__)
    add = parser.add_argument
    add(
        "--images",
        nargs="+",
        default=["data/flickr8k/Flicker8k_Dataset"],
        metavar="FOLDER",
        help="folder of pictures, which may lie in sub-folders such as COCO's; of several data "
        "sets a folder for each file of --captions, in the same order",
    )
    add(
        "--captions",
        nargs="+",
        default=["data/flickr8k/Flickr8k_text/Flickr8k.token.txt"],
        metavar="FILE",
        help="the data set's own: Flickr8k's or Flickr30k's token file or csv, COCO's "
        "captions_*.json (give training and validation together), Karpathy's dataset_*.json; each "
        "is read in its own format",
    )
    add(
        "--dataset",
        choices=DATASETS,
        default="auto",
        help="whose captions these are; auto goes by what is in the file",
    )
    add(
        "--encoder",
        help=f"{', '.join(ENCODERS)}; random unless --weights is given, but for "
        "efficientnet_lite0, which is supervised; jigsaw is a puzzle solver of jigsaw/main.py; "
        "default: efficientnet_lite0, or the one of the public checkpoint that --weights names",
    )
    add(
        "--weights",
        metavar="FILE_OR_NAME",
        help="encoder weights: *.weights.h5 from contrastive/main.py or jigsaw/main.py, the "
        "latter's .keras for the encoder jigsaw, or a public checkpoint "
        "(PyTorch's, .safetensors, .npz) as torchvision, Lightning Bolts, MoCo, SimSiam, VISSL, "
        "lightly, solo-learn, DINO or timm lay it out; or the name of one, such as dino or swav, "
        "if there is no file of that name: it is fetched once from its authors (into the folder "
        "CAPTIONING_CACHE if that is set; never with CAPTIONING_OFFLINE=1) and says the encoder, "
        "unless it stands for several, and the preprocessing. 'list' shows the names",
    )
    add(
        "--partial-weights",
        action="store_true",
        help="take a checkpoint that fits only in part; what does not fit stays random",
    )
    add(
        "--text-rules",
        type=canonical,
        choices=TEXT_RULES,
        default="original",
        help="original cleans captions as the original pipeline did, without 'a' and punctuation; "
        "ptb keeps every word, for captions that read well",
    )
    add(
        "--preprocessing",
        metavar="TEXT",
        help="what the encoder's weights want done with pictures, if not what they or the encoder "
        "say: 'squash(224)' or 'resize(256)|crop(224)', then '|imagenet', '|unit' (pixels from 0 "
        "to 1, as the official SimCLR's), '|standardized' (each image by itself), or "
        "'|mean(R,G,B)|deviation(R,G,B)'",
    )
    add("--only", choices=("features", "captions"), help="do only this half of the stage")
    add(
        "--grid",
        action="store_true",
        help="keep the encoder's grid of vectors (7 x 7 for most), which the attention and "
        "transformer decoders look at, not its mean: 125 kB a picture with efficientnet_lite0",
    )
    add(
        "--view",
        type=seed,
        default=0,
        metavar="N",
        help="do only features, not of whole pictures but of a random part of each, mirrored or "
        "not: N is 1, 2, ... and draws it. Stage 2 takes such files with --views and learns better",
    )
    add(
        "--features",
        help="output; .h5 for large collections; default: features.pkl, with --grid features.h5; "
        "of a view features-viewN.pkl or .h5",
    )
    add("--descriptions", default="descriptions.txt", help="output: cleaned captions")
    add("--batch-size", type=positive_int, default=32, help="pictures a step")
    add("--workers", type=positive_int, help="threads that read ahead; default: one a core")
    add(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="bfloat16 makes resnets faster where the processor has it; the cosine of its features "
        "with float32's is over 0.999",
    )
    add(
        "--shard",
        type=shard,
        metavar="I/N",
        help="do only the features of part I of N, as a file of its own in the folder --features "
        "(default: features); later stages take the folder. The captions: --only captions, once",
    )
    add(
        "--limit",
        type=positive_int,
        help="use only the first N captioned pictures of each data set, for a try",
    )
    add("--seed", type=seed, default=0, help="of random encoder weights")
    add("--resume", action="store_true", help="go on where a killed run stopped")
    return parser.parse_args()  # fmt: skip


def main() -> None:
    args = parse_arguments()
    from captioning.encoders import public

    if args.weights == "list":
        print(public.listing())
        return
    checkpoint = public.find(args.weights, args.encoder) if args.weights else None
    args.encoder = args.encoder or (checkpoint.encoder if checkpoint else "efficientnet_lite0")
    for option in ("shard", "view"):
        if getattr(args, option):
            if args.only == "captions":
                raise UserError(f"--{option} is of features; leave it out with --only captions")
            args.only = "features"
    stem = f"features-view{args.view}" if args.view else "features"
    if args.shard:
        from captioning.features.reading import shard_path

        args.features = shard_path(args.features or stem, *args.shard)
    args.features = args.features or stem + (".h5" if args.grid else ".pkl")
    if args.grid and Path(args.features).suffix not in (".h5", ".hdf5"):
        raise UserError(f"{args.features}: grids are kept in HDF5; give a name that ends in .h5")
    from captioning.datasets import read_with_pictures
    from captioning.datasets.descriptions import write_descriptions
    from captioning.features.reading import check_replaceable
    from captioning.files import check_writable
    from captioning.text import clean_all

    # 1. Which pictures have captions, and which captions a picture?
    dataset, images, usable, left_out = read_with_pictures(args.images, args.captions, args.dataset)
    captions = dataset.captions
    print(f"{dataset.name}: {len(captions)} images, {sum(map(len, captions.values()))} captions")
    report_skipped("pictures of the same name as another", left_out)
    report_skipped("captioned images without a picture", [i for i in captions if i not in images])
    report_skipped("pictures without a caption", sorted(i for i in images if i not in captions))
    ids = [image_id for own in usable for image_id in own[: args.limit]]
    if args.shard:
        number, count = args.shard
        ids = ids[number - 1 :: count]
        if not ids:
            raise UserError(f"--shard {number}/{count}: there are fewer pictures than shards")
    if args.shard:
        Path(args.features).parent.mkdir(exist_ok=True)
    outputs = {"features": args.features, "captions": args.descriptions}
    for part, output in outputs.items():
        if args.only in (None, part):
            check_writable(output)
    check_replaceable(args.features, args.view)

    # 2. Pictures through the encoder.
    unreadable: dict[str, str] = {}
    if args.only != "captions":
        import_keras()
        from captioning.encoders.loading import load_encoder
        from captioning.features.extraction import extract

        encoder = load_encoder(
            args.encoder, args.weights,
            dtype=args.dtype, seed=args.seed, partial=args.partial_weights,
            preprocessing=args.preprocessing,
        )  # fmt: skip
        wanted = {image_id: images[image_id] for image_id in ids}
        unreadable = extract(
            encoder, wanted, Path(args.features),
            batch_size=args.batch_size, resume=args.resume, grid=args.grid, view=args.view,
            workers=args.workers,
        )  # fmt: skip
        report_skipped("unreadable pictures", list(unreadable.values()))
        count = len(wanted) - len(unreadable)
        what = "grids of vectors" if args.grid else "vectors"
        print(f"{args.features}: {count} {what} of {encoder.width} numbers")
    if args.only == "features":
        return

    # 3. Captions through the cleaning rules.
    cleaned, left_out = clean_all(
        {image_id: captions[image_id] for image_id in ids if image_id not in unreadable},
        args.text_rules,
        dataset.name,
    )
    report_skipped("captions that the rules leave empty (or that are endless), of", left_out)
    write_descriptions(args.descriptions, cleaned, args.text_rules)
    print(
        f"{args.descriptions}: {sum(map(len, cleaned.values()))} captions, {args.text_rules} rules"
    )


if __name__ == "__main__":
    run(main)
