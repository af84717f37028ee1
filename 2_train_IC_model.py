#!/usr/bin/env python3
"""Stage 2: train a caption decoder on features.pkl and descriptions.txt."""

from pathlib import Path

from captioning.arguments import natural, shared
from captioning.cli import ArgumentParser, import_keras, run
from captioning.decoders.table import TABLE
from captioning.training import recipes


def parse_arguments():
    parser = ArgumentParser(__doc__, epilog="example: python %(prog)s --decoder attention")
    recipes.add_arguments(parser)
    what = "features of 1_data_preprocessor.py --view; an epoch uses the image or a view, at random"
    parser.add_argument("--views", nargs="+", default=[], metavar="FILE", help=what)
    shared(parser, "--descriptions", "--train-split", "--dev-split", "--repeat", "--split-seed")
    shared(parser, "--epochs", default=20, help="maximum; the learning rate falls to 0 over them")
    what = "early stopping: epochs without a lower development loss; 0: never stop early"
    parser.add_argument("--patience", type=natural, default=3, help=what)
    shared(parser, "--batch-size", default=128, help="mean captions per step")
    shared(parser, "--dtype", "--seed", "--limit", "--output-dir", "--resume", "--restart")
    args = parser.parse_args()
    recipes.complete(args)
    return args


def main() -> None:
    args = parse_arguments()
    output = Path(args.output_dir)

    # 1. The hand-off files of stage 1, and which images train and which validate.
    from captioning.features.reading import check_kind, read_views
    from captioning.files import lock
    from captioning.training.setup import set_up

    data = set_up(args, locks=False)
    decoder = f"the {args.decoder} decoder"
    check_kind(data.source, args.features, grid=TABLE[args.decoder].grid, reader=decoder)
    views = read_views(args.views, data.source, args.features)

    # 2. The model, new or as the last epoch left it.
    keras = import_keras()
    from captioning.distribution import use_all_devices
    from captioning.training.batches import CaptionBatches
    from captioning.training.plots import plot_history
    from captioning.training.teacher_forcing import caption_run, model_name, train

    world = use_all_devices()
    writes = world.rank == 0
    if writes:
        lock(output)
    options = {"batch_size": args.batch_size, "world": world, "keep_unknown": args.min_count > 1}
    inputs = (data.source, data.descriptions)
    seen_ids = [image_id for image_id, count in data.repeats.items() for _ in range(count)]
    train_batches = CaptionBatches(
        *inputs, seen_ids, data.vocabulary, seed=args.seed, views=views, **options
    )
    dev_batches = CaptionBatches(*inputs, data.dev_ids, data.vocabulary, **options)
    keras.utils.set_random_seed(args.seed)
    model = recipes.build(args, data, args.epochs * len(train_batches))
    this_run = caption_run(model, output, data.settings, writes)
    this_run.start(resume=args.resume)
    if not this_run.history:
        recipes.fit_to_features(model, data)

    # 3. Teacher forcing, then what a person wants to see of it.
    print(
        f"features {args.features}\n{args.decoder}: {len(data.repeats)} images, "
        f"{len(data.vocabulary)} words, captions of at most {data.vocabulary.max_length}; "
        f"{len(this_run.history)} epochs already trained"
    )
    train(
        this_run,
        train_batches,
        dev_batches,
        epochs=args.epochs,
        patience=args.patience,
        plateau_from=args.learning_rate if args.schedule == "plateau" else None,
        record={**data.settings, "features": str(args.features), "train_splits": args.train_split},
    )
    if writes:
        plot_history(output / "history.png", this_run.history)
        best = this_run.best
        print(f"best epoch {best['epoch']}: development loss {best['val_loss']:.3f} per word")
        print(f"{output / model_name(best)}, also checkpoints/best_model.keras")


if __name__ == "__main__":
    run(main)
