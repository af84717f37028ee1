"""Self-critical training: a decoder learns from its own captions, by what CIDEr-D says of them.

    python -m captioning.self_critical --model checkpoints/best_model.keras \\
        --features features.h5

It takes what stage 2 has trained, and leaves the decoder in a folder of its own. Why, and how:
`training/self_critical.py`.
"""

import time
from pathlib import Path

from captioning.cli import (
    ArgumentParser,
    UserError,
    import_keras,
    positive_float,
    positive_int,
    run,
    seed,
)
from captioning.files import artifact_path


def parse_arguments():
    parser = ArgumentParser(__doc__.split("\n")[0])
    add = parser.add_argument
    add("--model", required=True, help="a decoder that stage 2 has trained")
    add("--features", required=True, help="those it was trained on")
    what = "from 1_data_preprocessor.py, here or in Pre-trained/"
    add("--descriptions", default=artifact_path("descriptions.txt"), help=what)
    for name, what in (("train", "it learns from"), ("dev", "choose the best epoch")):
        default = [f"data/flickr8k/Flickr8k_text/Flickr_8k.{name}Images.txt"]
        text = f"which images {what}; of several data sets a split for each"
        add(f"--{name}-split", nargs="+", default=default, metavar="SPLIT", help=text)
    add("--split-seed", type=seed, default=0, help="the one given to 2_train_IC_model.py")
    add("--epochs", type=positive_int, default=4, help="passes over the training images")
    add("--samples", type=positive_int, default=5, help="captions drawn for an image, at least 2")
    add("--batch-size", type=positive_int, default=50, help="images a step")
    add(
        "--learning-rate",
        type=positive_float,
        default=5e-5,
        help="of Adam; lower it if the reward falls",
    )
    add("--seed", type=seed, default=0, help="of the order and of the draws")
    add("--output-dir", default="self_critical", help="where history.csv and checkpoints/ go")
    add("--resume", action="store_true", help="go on after the last epoch that was completed")
    return parser.parse_args()  # fmt: skip


def main() -> None:
    args = parse_arguments()
    if args.samples < 2:
        raise UserError(
            "--samples 1: a caption is judged by the others of its image; give 2 or more"
        )
    from captioning.datasets import described, fingerprint, select_for_training
    from captioning.datasets.descriptions import read_descriptions
    from captioning.features.reading import read_features
    from captioning.files import atomic_path, check_writable, hold, sha256

    # 1. The hand-off files, and the model as stage 2 or the last epoch left it.
    features = read_features(args.features)
    descriptions, rules = read_descriptions(args.descriptions)
    times, dev_ids = select_for_training(
        args.train_split, args.dev_split, descriptions, seed=args.split_seed, features=features
    )
    train_ids = list(times)
    if min(len(train_ids), len(dev_ids)) < 2:
        raise UserError(
            "CIDEr-D asks how rare words are among the images: with one image to train or judge "
            "all rewards are 0; give splits of two or more"
        )
    output = Path(args.output_dir)
    (output / "checkpoints").mkdir(parents=True, exist_ok=True)
    check_writable(output / "history.csv")
    hold(output)

    keras = import_keras()
    from captioning.captioners.loading import (
        check_features,
        check_text_rules,
        load_trained,
    )
    from captioning.training.run import Run
    from captioning.training.self_critical import COLUMNS, judge, scorer, train_epoch
    from captioning.training.teacher_forcing import forget_old_state

    names = ("descriptions", "train_split", "dev_split", "split_seed", "samples", "batch_size",
             "learning_rate", "seed")  # fmt: skip
    settings = {
        **{name: vars(args)[name] for name in names},
        "train_split": described(args.train_split),
        "dev_split": described(args.dev_split),
        "model_sha256": sha256(args.model), "features_of": features.origin,
        "captions_of_splits_sha256": fingerprint(times, dev_ids, descriptions),
    }  # fmt: skip
    trained = load_trained(args.model, output)
    check_features(trained, args.model, features, args.features)
    check_text_rules(trained, args.model, rules, args.descriptions)
    # Without dropout, so that what is made more probable is what was drawn.
    off = ("dropout", "output_dropout", "label_smoothing", "penalty")
    model = trained.copy_with(**{k: 0.0 for k in off if k in trained.get_config()})
    model.compile(
        optimizer=keras.optimizers.Adam(args.learning_rate, global_clipnorm=1.0),
        jit_compile=keras.backend.backend() != "tensorflow",
    )
    this_run = Run(
        model, output, settings, columns=COLUMNS, means=("reward",), unit="image",
        by="val_cider", sign=-1,
        advice="lower --learning-rate",
    )  # fmt: skip
    forget_old_state(output, keep=args.resume and not this_run.state_path.is_file())
    this_run.start(resume=args.resume)
    history = this_run.history
    train_reward, dev_reward = scorer(descriptions, train_ids), scorer(descriptions, dev_ids)
    print(f"descriptions {args.descriptions}")
    before = judge(trained, features, dev_ids, dev_reward)
    print(f"{settings['dev_split']}: CIDEr-D {before:.3f} before the first epoch")

    # 2. Draw, score, learn.
    kept = output / "checkpoints" / "best_model.keras"

    def keep() -> None:
        with atomic_path(kept) as temporary:
            model.copy_with().save(temporary)  # never compiled, so without the optimizer

    for epoch in range(len(history), args.epochs):
        train_epoch(
            this_run, features, train_ids, train_reward, samples=args.samples,
            batch_size=args.batch_size, seed=args.seed,
        )  # fmt: skip
        row = {
            "epoch": epoch + 1, "reward": round(this_run.part["reward"], 5),
            "val_cider": round(judge(model, features, dev_ids, dev_reward), 5),
            "seconds": round(time.monotonic() - this_run.began, 1),
        }  # fmt: skip
        print("reward {reward:.3f}, development CIDEr-D {val_cider:.3f}".format(**row))
        this_run.end_row(row, keep)
    print(f"best epoch {this_run.best['epoch']}: {kept}")
    if this_run.best["val_cider"] < before:
        print(f"which is worse than {before:.3f}, what it began from; lower --learning-rate")


if __name__ == "__main__":
    run(main)
