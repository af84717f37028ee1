"""Fine-tuning: an encoder learns along with a decoder that stage 2 has trained on it.

    python -m captioning.fine_tuning --model checkpoints/best_model.keras

It takes the model, the pictures and descriptions.txt, and leaves the decoder with the encoder's
weights, which are for `1_data_preprocessor.py --weights` and for any decoder. Why, and how:
`training/fine_tuning.py`.
"""

import time
from pathlib import Path

from captioning.cli import (
    ArgumentParser,
    UserError,
    fraction,
    import_keras,
    positive_float,
    positive_int,
    report_skipped,
    run,
    seed,
)
from captioning.files import artifact_path
from captioning.images.views import LEAST_AREA


def stages(text: str) -> str:
    """An argparse type: `last`, `all` or a number of stages."""
    return text if text in ("last", "all") else str(positive_int(text))


def parse_arguments():
    parser = ArgumentParser(__doc__.split("\n")[0])
    add = parser.add_argument
    add("--model", required=True, help="a decoder that stage 2 has trained")
    add(
        "--images", nargs="+", default=["data/flickr8k/Flicker8k_Dataset"], metavar="FOLDER",
        help="folder of the pictures, or all those that 1_data_preprocessor.py was given",
    )  # fmt: skip
    add("--weights", help="the encoder's, where the model's record of them is not enough")
    what = "from 1_data_preprocessor.py, here or in Pre-trained/"
    add("--descriptions", default=artifact_path("descriptions.txt"), help=what)
    for name, what in (("train", "it learns from"), ("dev", "choose the best epoch")):
        default = [f"data/flickr8k/Flickr8k_text/Flickr_8k.{name}Images.txt"]
        text = f"which images {what}; of several data sets a split for each"
        add(f"--{name}-split", nargs="+", default=default, metavar="SPLIT", help=text)
    add(
        "--repeat", nargs="+", type=positive_int, metavar="N",
        help="how often an epoch sees the pictures of each training split; default: once",
    )  # fmt: skip
    add("--split-seed", type=seed, default=0, help="the one given to 2_train_IC_model.py")
    add("--epochs", type=positive_int, default=5, help="passes over the training images")
    add("--batch-size", type=positive_int, default=32, help="pictures a step")
    add(
        "--captions", type=positive_int, default=5,
        help="of each picture, in a step; fewer where the decoder costs more than the encoder",
    )  # fmt: skip
    add(
        "--stages", type=stages, default="last",
        help="which of the encoder learn: last, a number of the last ones, or all with the stem, "
        "as an encoder that never saw a label wants it",
    )  # fmt: skip
    add(
        "--stage-decay", type=positive_float, default=1.0,
        help="what the rate of a stage is multiplied by for each stage that comes after it",
    )  # fmt: skip
    add(
        "--image-size", type=positive_int,
        help="side of the pictures; default: the encoder's. Smaller ones cost less; a decoder of "
        "grids must have been trained on grids of as many places",
    )  # fmt: skip
    add(
        "--least-area", type=fraction, default=LEAST_AREA,
        help="share of an image that a training view shows at least; lower it in longer runs",
    )  # fmt: skip
    add(
        "--colour-jitter", action="store_true",
        help="training views have brightness, contrast and saturation drawn anew",
    )  # fmt: skip
    add(
        "--ema", type=fraction, default=0.0, metavar="MOMENTUM",
        help="validate and save an exponential moving average of the weights, such as 0.999; "
        "default: the weights themselves",
    )  # fmt: skip
    add(
        "--learning-rate",
        type=positive_float,
        default=3e-4,
        help="of AdamW at its peak; lower it if the development loss rises from the start",
    )
    add(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="bfloat16 trains faster where the processor has it; what is kept is float32",
    )
    add("--seed", type=seed, default=0, help="of order, views and dropout")
    add("--limit", type=positive_int, help="use the first N images of each split only, for a try")
    add("--output-dir", default="fine_tuned", help="takes history.csv, checkpoints/ and weights")
    add("--resume", action="store_true", help="go on after the last epoch that was completed")
    return parser.parse_args()  # fmt: skip


def main() -> None:
    args = parse_arguments()
    from captioning.datasets import (
        described,
        find_all_pictures,
        fingerprint,
        select_for_training,
    )
    from captioning.datasets.descriptions import read_descriptions
    from captioning.files import check_writable, hold, sha256

    # 1. Pictures, captions, and which of them train and which judge.
    descriptions, rules = read_descriptions(args.descriptions)
    pictures = find_all_pictures(args.images, descriptions)
    times, dev_ids = select_for_training(
        args.train_split, args.dev_split, descriptions,
        seed=args.split_seed, repeat=args.repeat, limit=args.limit, pictures=pictures,
    )  # fmt: skip
    train, dev = (
        {image_id: pictures[image_id] for image_id in ids} for ids in (times, dev_ids[: args.limit])
    )
    seen = sum(times.values())  # pictures an epoch
    output = Path(args.output_dir)
    (output / "checkpoints").mkdir(parents=True, exist_ok=True)
    check_writable(output / "history.csv")
    hold(output)

    # 2. The encoder that the decoder was trained on, and both as one model.
    keras = import_keras()
    from captioning.captioners.loading import check_text_rules, encoder_of, load_trained
    from captioning.training.end_to_end import EndToEnd, averaged, thaw
    from captioning.training.fine_tuning import batches, judge, keep, train_epoch
    from captioning.training.optimizers import AdamW, learning_rate_schedule
    from captioning.training.run import Run
    from captioning.training.teacher_forcing import COLUMNS

    trained = load_trained(args.model, output)
    check_text_rules(trained, args.model, rules, args.descriptions)
    encoder = encoder_of(trained, Path(args.model), weights=args.weights, dtype=args.dtype)
    if args.image_size:
        encoder.resize(args.image_size)
    if trained.grid and (places := encoder.places) != trained.positions:
        raise UserError(
            f"--image-size {encoder.preprocessing.size}: gives grids of {places} places, but "
            f"{args.model} looks at {trained.positions}; extract features at that size, and train "
            "a decoder on them"
        )
    policy = "mixed_bfloat16" if args.dtype == "bfloat16" else "float32"
    keras.utils.set_random_seed(args.seed)  # which its dropout draws from
    decoder = trained.copy_with(dtype=policy)
    decoder.compile(jit_compile=keras.backend.backend() != "tensorflow")
    learning = thaw(encoder.network, encoder.info["encoder"], args.stages)
    model = EndToEnd(encoder.network, decoder, args.captions)
    epoch_steps = -(-seen // args.batch_size)
    model.compile(
        optimizer=AdamW(
            learning_rate_schedule(args.learning_rate, args.epochs * epoch_steps),
            weight_decay=0.01,
            global_clipnorm=1.0,
            use_ema=args.ema > 0,
            ema_momentum=args.ema or 0.99,
        ),
        jit_compile=keras.backend.backend() != "tensorflow",
    )
    model.optimizer.slow_down({p: args.stage_decay**depth for p, depth in learning.items()})
    names = (
        "stages", "stage_decay", "image_size", "descriptions", "train_split", "dev_split",
        "split_seed", "epochs", "limit", "batch_size", "captions", "learning_rate",
        "least_area", "colour_jitter", "ema", "dtype", "seed",
    )  # fmt: skip
    settings = {
        **{name: vars(args)[name] for name in names},
        "train_split": described(args.train_split, args.repeat),
        "dev_split": described(args.dev_split),
        "model_sha256": sha256(args.model), "weights_sha256": encoder.info["weights_sha256"],
        "captions_of_splits_sha256": fingerprint(times, dev, descriptions),
    }  # fmt: skip
    this_run = Run(
        model, output, settings, columns=COLUMNS, means=("token_loss",),
        advice="lower --learning-rate and start again",
    )  # fmt: skip
    this_run.start(resume=args.resume)

    # 3. Train; judge by the decoder's loss on the development pictures as they are now encoded.
    vocabulary = decoder.vocabulary
    said = {word for image_id in train for text in descriptions[image_id] for word in text.split()}
    rare = not said <= {*vocabulary.words}  # then they are read, and not learned
    captions = {
        image_id: [vocabulary.encode(text, rare) for text in descriptions[image_id]]
        for image_id in train
    }
    history = this_run.history
    print(f"descriptions {args.descriptions}")
    print(f"{len(train)} pictures; {len(history)} epochs already trained")
    if not history:
        before = judge(encoder, decoder, dev, descriptions, keep_unknown=rare)
        print(f"{settings['dev_split']}: loss {before:.3f} before the first epoch")
    for epoch in range(len(history), args.epochs):
        unreadable: list[str] = []
        passed = batches(
            train, captions, encoder.preprocessing, batch_size=args.batch_size,
            count=args.captions, seed=args.seed, epoch=epoch, unreadable=unreadable, times=times,
            least_area=args.least_area, colours=args.colour_jitter,
        )  # fmt: skip
        train_epoch(this_run, passed, seen, epoch_steps)
        if 2 * len(unreadable) > seen:
            raise UserError(
                f"{len(unreadable)} of {seen} pictures could not be read, the first: "
                f"{unreadable[0]}"
            )
        with averaged(model):
            val_loss = judge(encoder, decoder, dev, descriptions, keep_unknown=rare)
        this_run.check_number(val_loss, "development loss")
        row = {
            "epoch": epoch + 1, "loss": round(this_run.part["token_loss"], 5),
            "val_loss": round(val_loss, 5),
            "seconds": round(time.monotonic() - this_run.began, 1),
        }  # fmt: skip
        report_skipped("unreadable pictures", sorted({*unreadable}))
        print("loss {loss:.3f}, development loss {val_loss:.3f}".format(**row))

        def keep_best() -> None:
            with averaged(model):
                keep(output / "checkpoints", encoder, decoder)

        this_run.end_row(row, keep=keep_best)
    print(f"best epoch {this_run.best['epoch']}: {output / 'checkpoints'}")


if __name__ == "__main__":
    run(main)
