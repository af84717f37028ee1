#!/usr/bin/env python3
"""Stage 2: features.pkl and descriptions.txt to a trained caption decoder."""

import shutil
import tempfile
from pathlib import Path

from captioning.cli import (
    ArgumentParser,
    import_keras,
    natural,
    positive_int,
    run,
    seed,
)
from captioning.decoders.table import TABLE
from captioning.files import artifact_path
from captioning.training import recipes


def parse_arguments():
    parser = ArgumentParser(__doc__)
    add = parser.add_argument
    recipes.add_arguments(parser)
    add(
        "--views",
        nargs="+",
        default=[],
        metavar="FILE",
        help="features of the same pictures by 1_data_preprocessor.py --view 1 (2, ...): training "
        "sees a picture as it is or in one of these, drawn anew in every epoch",
    )
    what = "from 1_data_preprocessor.py, here or in Pre-trained/"
    add("--descriptions", default=artifact_path("descriptions.txt"), help=what)
    add(
        "--train-split",
        nargs="+",
        default=["data/flickr8k/Flickr8k_text/Flickr_8k.trainImages.txt"],
        metavar="SPLIT",
        help="the training images: a file that names one a line, COCO's captions_train*.json, "
        "FILE.json:train of Karpathy's, or train, which --split-seed draws; of several data sets "
        "one for each, where CAPTIONS_FILE:train is drawn",
    )
    add(
        "--dev-split",
        nargs="+",
        default=["data/flickr8k/Flickr8k_text/Flickr_8k.devImages.txt"],
        metavar="SPLIT",
        help="likewise the images that choose the best epoch",
    )
    add(
        "--repeat",
        nargs="+",
        type=positive_int,
        metavar="N",
        help="how often an epoch sees the captions of each training split; raise it for a small "
        "data set beside a large one; default: once",
    )
    add("--split-seed", type=seed, default=0, help="draws the splits train, dev and test (8:1:1)")
    add(
        "--epochs",
        type=positive_int,
        default=20,
        help="at most; the learning rate falls to 0 over them",
    )
    add(
        "--patience",
        type=natural,
        default=3,
        help="stop early when the development loss has not improved for so many epochs; 0: never",
    )
    add(
        "--batch-size",
        type=positive_int,
        default=128,
        help="captions a step on average: every step has about the same number of words",
    )
    add(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="bfloat16 trains faster where the processor has it; the model is kept in float32",
    )
    add("--seed", type=seed, default=0, help="of weights, dropout and order; change it for a rerun")
    add("--limit", type=positive_int, help="train on the first N images of each split, for a try")
    add("--output-dir", default=".", help="takes model-ep*.keras, checkpoints/ and history.*")
    add("--resume", action="store_true", help="go on after the last finished epoch")
    return parser.parse_args()  # fmt: skip


def main() -> None:
    args = parse_arguments()
    recipes.complete(args)
    output_dir = Path(args.output_dir)

    # 1. The hand-off files of stage 1, and which images train and which judge.
    from captioning.datasets import described, fingerprint, select_for_training
    from captioning.datasets.descriptions import read_descriptions
    from captioning.features.reading import check_kind, read_features, read_views
    from captioning.files import check_writable, hold, write_json
    from captioning.text import build_vocabulary

    features = read_features(args.features)
    decoder = f"the {args.decoder} decoder"
    check_kind(features, args.features, grid=TABLE[args.decoder].grid, reader=decoder)
    views = read_views(args.views, features, args.features)
    descriptions, text_rules = read_descriptions(args.descriptions)
    times, dev_ids = select_for_training(
        args.train_split, args.dev_split, descriptions,
        seed=args.split_seed, repeat=args.repeat, limit=args.limit, features=features,
    )  # fmt: skip
    train_ids = list(times)
    seen_ids = [image_id for image_id, count in times.items() for _ in range(count)]
    vocabulary = build_vocabulary(descriptions, train_ids, text_rules, args.min_count)
    (output_dir / "checkpoints").mkdir(parents=True, exist_ok=True)
    check_writable(output_dir / "history.csv")

    # 2. The model, new or as the last epoch left it.
    keras = import_keras()
    from captioning.distribution import use_all_devices
    from captioning.training.batches import CaptionBatches
    from captioning.training.plots import plot_history
    from captioning.training.teacher_forcing import CaptionRun, model_name

    share = use_all_devices()
    if share.process == 0:
        hold(output_dir)
    train_batches, dev_batches = (
        CaptionBatches(
            features,
            descriptions,
            chosen,
            vocabulary,
            batch_size=args.batch_size,
            seed=seed,
            share=share,
            views=seen,
            keep_unknown=args.min_count > 1,
        )
        for chosen, seed, seen in ((seen_ids, args.seed, views), (dev_ids, None, ()))
    )
    keras.utils.set_random_seed(args.seed)
    model = recipes.build(args, features, train_ids, vocabulary, args.epochs * len(train_batches))
    names = ("decoder", "epochs", "batch_size", *recipes.SETTINGS, "dtype", "seed", "limit",
             "train_split", "dev_split", "split_seed", "views")  # fmt: skip
    settings = {name: vars(args)[name] for name in names}
    settings["train_split"] = described(args.train_split, args.repeat)
    settings["dev_split"] = described(args.dev_split)
    # The features' path is not compared: they may lie elsewhere when a run is resumed.
    compared = {
        **settings, "features_of": features.origin, "vocabulary_sha256": vocabulary.digest,
        "captions_of_splits_sha256": fingerprint(times, dev_ids, descriptions),
    }  # fmt: skip

    # 3. Teacher forcing, then what a person wants to see of it.
    with tempfile.TemporaryDirectory() as scratch:
        # Saving takes all processes of a job, but one file is enough.
        folder = output_dir if share.process == 0 else Path(scratch)
        this_run = CaptionRun(model, folder, compared)
        saved = output_dir / "checkpoints" / "state.npz"
        if args.resume and share.process and saved.is_file():
            shutil.copy(saved, this_run.state_path)  # all processes go on from the same
        this_run.start(resume=args.resume)
        if share.process == 0:
            write_json(
                recipes.settings_path(output_dir), {**settings, "features": str(args.features)}
            )
        print(f"features {args.features}\ndescriptions {args.descriptions}")
        print(
            f"{args.decoder}: {len(train_ids)} images, {len(vocabulary)} words, captions of at "
            f"most {vocabulary.max_length}; {len(this_run.history)} epochs already trained"
        )
        this_run.train(
            train_batches, dev_batches, epochs=args.epochs, patience=args.patience,
            plateau_from=args.learning_rate if args.schedule == "plateau" else None,
        )  # fmt: skip
    if share.process != 0:
        return
    plot_history(output_dir / "history.png", this_run.history)
    best = this_run.best
    print(f"best epoch {best['epoch']}: development loss {best['val_loss']:.3f} per word")
    print(f"{output_dir / model_name(best)}, also checkpoints/best_model.keras")


if __name__ == "__main__":
    run(main)
