#!/usr/bin/env python3
"""Self-critical training: a decoder learns from its own captions, by what CIDEr-D says of them.

    python tools/self_critical.py --model checkpoints/best_model.keras --features features.h5

It takes what stage 2 has trained, and leaves the decoder in a folder of its own. Why, and how:
`captioning/training/self_critical.py`.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from captioning.arguments import number, shared
from captioning.cli import ArgumentParser, UserError, import_keras, run


def parse_arguments():
    parser = ArgumentParser(__doc__.split("\n")[0])
    shared(parser, "--model", required=True, help="a decoder that stage 2 has trained")
    shared(parser, "--features", required=True, help="those it was trained on")
    shared(parser, "--descriptions", "--train-split", "--dev-split", "--split-seed")
    shared(parser, "--epochs", default=4)
    shared(parser, "--batch-size", default=50)
    what = "of Adam; lower it if the reward falls"
    shared(parser, "--learning-rate", default=5e-5, help=what)
    what = "captions drawn for an image, each judged by the others"
    parser.add_argument("--samples", type=number(int, least=2), default=5, help=what)
    shared(parser, "--seed", help="random seed of the order and of the draws")
    shared(parser, "--output-dir", default="self_critical")
    shared(parser, "--resume")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()

    # 1. The hand-off files, and the model as stage 2 or the last epoch left it.
    from captioning.files import atomic_path, lock, sha256
    from captioning.training.setup import set_up

    data = set_up(args)
    features, train_ids = data.source, list(data.repeats)
    if min(len(train_ids), len(data.dev_ids)) < 2:
        raise UserError(
            "CIDEr-D asks how rare words are among the images: with one image to train or judge "
            "all rewards are 0; give splits of two or more"
        )
    output = Path(args.output_dir)
    lock(output)

    keras = import_keras()
    from captioning.captioners.loading import check_features, check_text_rules, load_trained
    from captioning.training.run import Run
    from captioning.training.self_critical import COLUMNS, scorer, train_epoch, validate

    trained = load_trained(args.model, output)
    check_features(trained, args.model, features, args.features)
    check_text_rules(trained, args.model, data.text_rules, args.descriptions)
    # Without dropout, so that what is made more probable is what was drawn.
    off = ("dropout", "output_dropout", "label_smoothing", "penalty")
    model = trained.copy_with(**{k: 0.0 for k in off if k in trained.get_config()})
    model.compile(
        keras.optimizers.Adam(args.learning_rate, global_clipnorm=1.0),
        jit_compile=keras.backend.backend() != "tensorflow",
    )
    this_run = Run(
        model,
        output,
        {**data.settings, "model_sha256": sha256(args.model)},
        columns=COLUMNS,
        means=("reward",),
        may_change=("epochs",),  # which the learning rate does not go by
        by="val_cider",
        sign=-1,
        unit="image",
        advice="lower --learning-rate",
    )
    this_run.start(resume=args.resume)
    train_reward = scorer(data.descriptions, train_ids)
    dev_reward = scorer(data.descriptions, data.dev_ids)
    before = validate(trained, features, data.dev_ids, dev_reward)
    print(f"development CIDEr-D {before:.3f} before the first epoch")

    # 2. Draw, score, learn.
    best = output / "checkpoints" / "best_model.keras"
    options = {"samples": args.samples, "batch_size": args.batch_size, "seed": args.seed}

    def save(row) -> None:
        with atomic_path(best) as temporary:
            model.copy_with().save(temporary)  # never compiled, so without the optimizer

    this_run.train(
        args.epochs,
        lambda epoch: train_epoch(this_run, features, train_ids, train_reward, epoch, **options),
        lambda: validate(model, features, data.dev_ids, dev_reward),
        save,
    )
    print(f"best epoch {this_run.best['epoch']}: {best}")
    if this_run.best["val_cider"] < before:
        print(f"which is worse than {before:.3f}, what it began from; lower --learning-rate")


if __name__ == "__main__":
    run(main)
