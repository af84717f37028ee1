#!/usr/bin/env python3
"""Word prediction: train an encoder to predict the words of an image's captions.

    python tools/word_prediction.py --encoder resnet18 --weights FILE

It is a first, cheap fine-tuning, without a decoder, of all stages of an encoder that never saw a
label. It leaves the encoder's weights, which are for `1_data_preprocessor.py --weights`.
"""

import sys
from itertools import chain, islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from captioning.arguments import not_negative, number, positive_int, shared
from captioning.cli import ArgumentParser, import_keras, run
from captioning.encoders.table import TABLE

SAMPLE = 2000  # images for batch statistics


def parse_arguments():
    parser = ArgumentParser(__doc__.split("\n")[0], epilog="example:" + __doc__.split("\n")[2])
    add = parser.add_argument
    shared(parser, "--encoder", choices=TABLE, default="resnet18", help="network to train")
    shared(parser, "--weights", help="initial weights; default: the supervised, or random ones")
    shared(parser, "--images", "--descriptions", "--train-split", "--dev-split", "--repeat")
    shared(parser, "--split-seed", "--seed", "--limit", "--dtype", "--resume", "--restart")
    shared(parser, "--epochs", default=20)
    shared(parser, "--batch-size", type=number(int, least=2), default=64)
    shared(parser, "--image-size")
    shared(parser, "--learning-rate", default=1e-3)
    shared(parser, "--output-dir", default="word_prediction")
    add("--min-count", type=positive_int, default=5, help="leave out words that occur fewer times")
    add("--mixup", type=not_negative, default=0.4, help="alpha of its Beta distribution; 0: none")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()

    # 1. Images, captions, and which of them train and which validate.
    from captioning.training.setup import set_up

    data = set_up(args)
    output = Path(args.output_dir)

    # 2. The encoder, with a layer that says the words.
    keras = import_keras()
    from captioning.encoders.loading import load_encoder
    from captioning.encoders.networks.batch_norm import estimate_statistics
    from captioning.training import word_prediction as words
    from captioning.training.end_to_end import save_trained, unfreeze
    from captioning.training.image_batches import ImageBatches, train_epoch
    from captioning.training.optimizers import AdamW, learning_rate_schedule
    from captioning.training.run import Run

    encoder = load_encoder(args.encoder, args.weights, dtype=args.dtype, seed=args.seed)
    encoder.resize(args.image_size)
    keras.utils.set_random_seed(args.seed)
    unfreeze(encoder.network, args.encoder, "all")
    train, dev = map(data.images_of, (data.repeats, data.dev_ids))
    captions = {
        image_id: [data.vocabulary.encode(text) for text in data.descriptions[image_id]]
        for image_id in (*train, *dev)
    }
    most = max(map(len, captions.values()))
    options = (encoder.preprocessing, args.batch_size, most, args.seed)
    batches = ImageBatches(
        train, captions, *options, data.repeats, words.LEAST_AREA, colour_jitter=True
    )
    whole, dev_batches = (ImageBatches(images, captions, *options) for images in (train, dev))
    learned = chain.from_iterable(captions[image_id] for image_id in train)
    weights = words.word_weights(learned, len(data.vocabulary) + 1)
    model = words.word_predictor(encoder.network, len(weights))
    rate = learning_rate_schedule(args.learning_rate, args.epochs * len(batches))
    model.compile(
        AdamW(rate, weight_decay=0.05, global_clipnorm=1.0),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        jit_compile=keras.backend.backend() != "tensorflow",
    )
    settings = {**data.settings, "weights_sha256": encoder.info["weights_sha256"]}
    this_run = Run(model, output, settings, advice="lower --learning-rate and start again")
    this_run.start(resume=args.resume)

    # 3. Train; validate by the words of the development images.
    path = output / f"{args.encoder}-words.weights.h5"

    def train_words(epoch: int) -> None:
        passed = words.batches_of_words(
            batches.epoch(epoch), weights, mixup=args.mixup, seed=(args.seed, epoch, 1)
        )
        train_epoch(this_run, batches, epoch, passed)

    def validate() -> dict[str, float]:
        # Training leaves the statistics of mixed crops, and whole images are what is encoded.
        some = islice(whole.epoch(0, whole=True), -(-SAMPLE // args.batch_size))
        estimate_statistics(model, ({"pixels": inputs["pixels"]} for inputs, _ in some))
        model.reset_metrics()
        for batch in words.batches_of_words(dev_batches.epoch(0, whole=True), weights):
            logs = model.test_on_batch(*batch, return_dict=True)
        return {"val_loss": float(logs["loss"])}

    done = f"{len(this_run.history)} epochs already trained"
    print(f"{len(train)} images; {len(weights) - 1} words; {done}")
    this_run.train(args.epochs, train_words, validate, lambda _row: save_trained(encoder, path))
    print(f"best epoch {this_run.best['epoch']}: {path}")


if __name__ == "__main__":
    run(main)
