#!/usr/bin/env python3
"""Fine-tuning: train an encoder together with a decoder that stage 2 has trained on it.

    python tools/fine_tuning.py --model checkpoints/best_model.keras

It takes the model, the images and descriptions.txt, and leaves the decoder with the encoder's
weights, which are for `1_data_preprocessor.py --weights` and for any decoder.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from captioning.arguments import fraction, positive_float, positive_int, shared
from captioning.cli import ArgumentParser, UserError, first_ten, import_keras, run
from captioning.images.views import LEAST_AREA


def stages(text: str) -> str:
    """An argparse type: `last`, `all` or a number of stages."""
    return text if text in ("last", "all") else str(positive_int(text))


def parse_arguments():
    parser = ArgumentParser(__doc__.split("\n")[0], epilog="example:" + __doc__.split("\n")[2])
    add = parser.add_argument
    shared(parser, "--model", required=True, help="decoder trained by stage 2")
    shared(parser, "--images", "--weights", "--descriptions", "--train-split", "--dev-split")
    shared(
        parser, "--repeat", "--split-seed", "--seed", "--limit", "--dtype", "--resume", "--restart"
    )
    shared(parser, "--epochs", default=5)
    shared(parser, "--batch-size", default=32)
    shared(parser, "--learning-rate", default=3e-4)
    shared(parser, "--output-dir", default="fine_tuned")
    add("--captions", type=positive_int, default=5, help="captions per image and step")
    add("--stages", type=stages, default="last", help="stages to train: last, last N, all")
    add("--stage-decay", type=positive_float, default=1.0, help="factor of the rate a stage")
    what = "side of the images; default: the encoder's; a decoder of grids needs the default"
    shared(parser, "--image-size", help=what)
    add("--least-area", type=fraction, default=LEAST_AREA, help="minimum share of a crop")
    add("--colour-jitter", action="store_true", help="random brightness, contrast, saturation")
    what = "validate and save an exponential moving average of the weights, such as 0.999; 0: none"
    add("--ema", type=fraction, default=0.0, metavar="MOMENTUM", help=what)
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()

    # 1. Images, captions, and which of them train and which validate.
    from captioning.files import sha256
    from captioning.training.setup import set_up

    data = set_up(args)
    output = Path(args.output_dir)
    train, dev = map(data.images_of, (data.repeats, data.dev_ids))

    # 2. The encoder that the decoder was trained on, and both as one model.
    keras = import_keras()
    from captioning.captioners.loading import encoder_of, load_trained
    from captioning.training import end_to_end
    from captioning.training.image_batches import ImageBatches, train_epoch
    from captioning.training.optimizers import AdamW, learning_rate_schedule
    from captioning.training.plots import plot_history
    from captioning.training.run import Run

    trained = load_trained(args.model, output)
    if trained.vocabulary.text_rules != data.text_rules:
        raise UserError(
            f"{args.descriptions}: cleaned by the rules {data.text_rules}, but {args.model} was "
            f"trained on {trained.vocabulary.text_rules}; make them with 1_data_preprocessor.py"
        )
    encoder = encoder_of(trained, Path(args.model), weights=args.weights, dtype=args.dtype)
    encoder.resize(args.image_size)
    if trained.grid and encoder.positions != trained.positions:
        raise UserError(
            f"--image-size {encoder.preprocessing.size}: gives grids of {encoder.positions} "
            f"positions, but {args.model} takes {trained.positions}; extract features at that "
            "size, and train a decoder on them"
        )
    keras.utils.set_random_seed(args.seed)  # which its dropout draws from
    on_xla = keras.backend.backend() != "tensorflow"
    decoder = trained.copy_with(dtype="mixed_bfloat16" if args.dtype == "bfloat16" else "float32")
    decoder.compile(jit_compile=on_xla)
    # Words that the decoder does not know are read, and not learned.
    texts = {image_id: data.descriptions[image_id] for image_id in train}
    words = {word for some in texts.values() for text in some for word in text.split()}
    unknown = words - {*decoder.vocabulary.words}
    if unknown == words:
        raise UserError(f"{args.descriptions}: no word of the captions is known to {args.model}")
    if unknown:
        print(
            f"{len(unknown)} words unknown to the model, not learned: {first_ten(sorted(unknown))}"
        )
    captions = {
        image_id: [decoder.vocabulary.encode(text, bool(unknown)) for text in some]
        for image_id, some in texts.items()
    }
    options = (encoder.preprocessing, args.batch_size, args.captions, args.seed, data.repeats)
    batches = ImageBatches(train, captions, *options, args.least_area, args.colour_jitter)
    depths = end_to_end.unfreeze(encoder.network, encoder.info["encoder"], args.stages)
    model = end_to_end.EndToEnd(encoder.network, decoder, args.captions)
    optimizer = AdamW(
        learning_rate_schedule(args.learning_rate, args.epochs * len(batches)),
        weight_decay=0.01,
        factors={path: args.stage_decay**depth for path, depth in depths.items()},
        global_clipnorm=1.0,
        use_ema=args.ema > 0,
        ema_momentum=args.ema or 0.99,
    )
    model.compile(optimizer, jit_compile=on_xla)
    settings = {**data.settings, "weights_sha256": encoder.info["weights_sha256"]}
    settings["model_sha256"] = sha256(args.model)
    advice = "lower --learning-rate and start again"
    this_run = Run(model, output, settings, means=("token_loss",), advice=advice)
    this_run.start(resume=args.resume)

    # 3. Train; validate by the decoder's loss on the development images as they are now encoded.
    def train_images(epoch: int) -> None:
        train_epoch(this_run, batches, epoch, batches.epoch(epoch))

    def loss() -> float:
        return end_to_end.validation_loss(encoder, decoder, dev, data.descriptions, bool(unknown))

    def validate() -> dict[str, float]:
        with end_to_end.averaged(model):
            return {"val_loss": loss()}

    def save(_row) -> None:
        with end_to_end.averaged(model):
            end_to_end.save_both(output / "checkpoints", encoder, decoder)

    print(f"{len(train)} images; {len(this_run.history)} epochs already trained")
    if not this_run.history:
        print(f"development loss {loss():.3f} before the first epoch")
    this_run.train(args.epochs, train_images, validate, save)
    plot_history(output / "history.png", this_run.history)
    print(f"best epoch {this_run.best['epoch']}: {output / 'checkpoints'}")


if __name__ == "__main__":
    run(main)
