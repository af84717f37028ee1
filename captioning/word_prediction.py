"""Word prediction: an encoder learns from the training captions which words a picture calls for.

    python -m captioning.word_prediction --encoder resnet18 --weights FILE

It is a first, cheap fine-tuning, without a decoder, of all stages of an encoder that never saw a
label. It leaves the encoder's weights, which are for `1_data_preprocessor.py --weights`. Why, and
how: `training/word_prediction.py`.
"""

import time
from pathlib import Path

from captioning.cli import (
    ArgumentParser,
    UserError,
    import_keras,
    not_negative,
    positive_float,
    positive_int,
    report_skipped,
    run,
    seed,
)
from captioning.encoders.table import TABLE
from captioning.files import artifact_path


def parse_arguments():
    parser = ArgumentParser(__doc__.split("\n")[0])
    add = parser.add_argument
    add("--encoder", choices=TABLE, default="resnet18", help="which network learns")
    add("--weights", help="what it has learned before, such as contrastive/main.py's; else random")
    add(
        "--images", nargs="+", default=["data/flickr8k/Flicker8k_Dataset"], metavar="FOLDER",
        help="folder of the pictures, or all those that 1_data_preprocessor.py was given",
    )  # fmt: skip
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
    add("--split-seed", type=seed, default=0, help="draws the splits train, dev and test (8:1:1)")
    add("--image-size", type=positive_int, help="side of the pictures; default: the encoder's")
    add("--min-count", type=positive_int, default=5, help="of a word in the training captions")
    add("--epochs", type=positive_int, default=20, help="passes over the training images")
    add("--batch-size", type=positive_int, default=64, help="pictures a step")
    add("--learning-rate", type=positive_float, default=1e-3, help="of AdamW at its peak")
    add(
        "--mixup", type=not_negative, default=0.4,
        help="alpha of the Beta distribution by which pictures are mixed in pairs; 0: not",
    )  # fmt: skip
    add(
        "--dtype", choices=("float32", "bfloat16"), default="float32",
        help="bfloat16 trains faster where the processor has it",
    )  # fmt: skip
    add("--seed", type=seed, default=0, help="of order, views, dropout and random weights")
    add("--limit", type=positive_int, help="use the first N images of each split only, for a try")
    add("--output-dir", default="word_prediction", help="takes history.csv and the weights")
    add("--resume", action="store_true", help="go on after the last epoch that was completed")
    args = parser.parse_args()  # fmt: skip
    if args.batch_size < 2:
        parser.error("--batch-size 1: features are standardised over a batch; give more")
    return args


def main() -> None:
    args = parse_arguments()
    from captioning.datasets import (
        described,
        find_all_pictures,
        fingerprint,
        select_for_training,
    )
    from captioning.datasets.descriptions import read_descriptions
    from captioning.files import check_writable, hold
    from captioning.text import build_vocabulary

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
    vocabulary = build_vocabulary(descriptions, times, rules, args.min_count)
    captions = {
        image_id: [vocabulary.encode(text) for text in descriptions[image_id]]
        for image_id in {**train, **dev}
    }
    output = Path(args.output_dir)
    output.mkdir(parents=True, exist_ok=True)
    check_writable(output / "history.csv")
    hold(output)

    # 2. The encoder, all of which learns, and one layer of words above it.
    keras = import_keras()
    import numpy as np

    from captioning.encoders.loading import load_encoder
    from captioning.encoders.weights import save_encoder
    from captioning.training.end_to_end import thaw
    from captioning.training.fine_tuning import batches
    from captioning.training.optimizers import AdamW, learning_rate_schedule
    from captioning.training.run import Run
    from captioning.training.teacher_forcing import COLUMNS
    from captioning.training.word_prediction import (
        LEAST_AREA,
        WordPrediction,
        mix,
        word_shares,
        word_weights,
    )

    encoder = load_encoder(args.encoder, args.weights, dtype=args.dtype, seed=args.seed)
    if args.image_size:
        encoder.resize(args.image_size)
    keras.utils.set_random_seed(args.seed)
    thaw(encoder.network, args.encoder, "all")
    weights = word_weights(
        (caption for image_id in train for caption in captions[image_id]), len(vocabulary) + 1
    )
    model = WordPrediction(encoder.network, len(weights))
    epoch_steps = -(-sum(times.values()) // args.batch_size)
    rate = learning_rate_schedule(args.learning_rate, args.epochs * epoch_steps)
    model.compile(
        AdamW(rate, weight_decay=0.05, global_clipnorm=1.0),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        jit_compile=keras.backend.backend() != "tensorflow",
    )
    names = (
        "image_size", "descriptions", "split_seed", "epochs", "limit", "batch_size", "min_count",
        "learning_rate", "mixup", "dtype", "seed",
    )  # fmt: skip
    settings = {
        **{name: vars(args)[name] for name in names},
        "train_split": described(args.train_split, args.repeat),
        "dev_split": described(args.dev_split),
        "encoder": args.encoder, "weights_sha256": encoder.info["weights_sha256"],
        "vocabulary_sha256": vocabulary.digest,
        "captions_of_splits_sha256": fingerprint(times, dev, descriptions),
    }  # fmt: skip
    this_run = Run(model, output, settings, columns=COLUMNS,
                   advice="lower --learning-rate and start again")  # fmt: skip
    this_run.start(resume=args.resume)
    history = this_run.history

    # 3. Train; judge by the words of the development pictures.
    def passes(images, epoch: int, **options):
        for inputs, following in batches(
            images, captions, encoder.preprocessing, batch_size=args.batch_size,
            count=max(map(len, captions.values())), seed=args.seed, epoch=epoch, **options,
        ):  # fmt: skip
            pixels = inputs["pixels"]
            yield pixels, word_shares(following, len(pixels), weights)

    path = output / f"{args.encoder}-words.weights.h5"
    recipe = {"encoder": args.encoder, "image_size": encoder.preprocessing.size,
              "preprocessing": str(encoder.preprocessing),
              "from": encoder.info["weights"]}  # fmt: skip
    print(f"descriptions {args.descriptions}")
    print(f"{len(train)} pictures; {len(weights) - 1} words; {len(history)} epochs already trained")
    for epoch in range(len(history), args.epochs):
        unreadable: list[str] = []
        model.reset_metrics()
        passed = passes(
            train, epoch, times=times, unreadable=unreadable, least_area=LEAST_AREA, colours=True
        )  # fmt: skip
        random = np.random.default_rng((args.seed, epoch, 1))
        with this_run.row(f"epoch {epoch + 1}", epoch_steps, sum(times.values())):
            for number, batch in enumerate(passed, start=1):
                pixels, shares = mix(*batch, random, args.mixup) if args.mixup else batch
                logs = model.train_on_batch(pixels, shares, return_dict=True)
                this_run.after_step(number, logs, len(pixels))
        if 2 * len(unreadable) > sum(times.values()):
            raise UserError(
                f"{len(unreadable)} of the pictures could not be read, the first: {unreadable[0]}"
            )
        model.reset_metrics()
        val_loss = None
        for pixels, shares in passes(dev, 0, whole=True, unreadable=unreadable):
            val_loss = float(model.test_on_batch(pixels, shares, return_dict=True)["loss"])
        if val_loss is None:
            raise UserError(f"{unreadable[-1]}; nor can any other picture that judges be read")
        this_run.check_number(val_loss, "development loss")
        row = {
            "epoch": epoch + 1, "loss": round(this_run.part["loss"], 5),
            "val_loss": round(val_loss, 5),
            "seconds": round(time.monotonic() - this_run.began, 1),
        }  # fmt: skip
        report_skipped("unreadable pictures", sorted({*unreadable}))
        print("loss {loss:.3f}, development loss {val_loss:.3f}".format(**row))
        this_run.end_row(row, keep=lambda: save_encoder(encoder.network, path, recipe))
    print(f"best epoch {this_run.best['epoch']}: {path}")


if __name__ == "__main__":
    run(main)
