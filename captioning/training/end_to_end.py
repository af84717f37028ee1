"""Fine-tuning: an encoder's network and a caption decoder as one model, trained together.

What an encoder was trained for is not what captions speak of. First the decoder alone, then both
at a low learning rate, as Vinyals et al. do it (arXiv 1609.06647, section 5.1): from the start the
gradients of a decoder that knows nothing would spoil the encoder.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from captioning.cli import UserError
from captioning.decoders.base import Decoder
from captioning.encoders.encoder import Encoder
from captioning.encoders.networks.batch_norm import BatchNormalization
from captioning.encoders.table import TABLE
from captioning.encoders.weights import save_encoder
from captioning.features.reading import Features
from captioning.files import atomic_path, sha256
from captioning.images.reading import decode_batches
from captioning.training.batches import CaptionBatches

TOGETHER = 50  # images that are encoded together to validate


class EndToEnd(keras.Model):
    """Pixels and words to the next words; the `captions` of an image are neighbours.

    The encoder's batch normalisation goes by the statistics that it came with: those of a few
    images would be too rough.
    """

    def __init__(self, network: keras.Model, decoder: Decoder, captions: int) -> None:
        super().__init__()
        self.network, self.decoder, self.captions = network, decoder, captions
        self.token_loss = decoder.token_loss  # Keras does not show the metrics of inner models
        for layer in network.layers:
            if isinstance(layer, BatchNormalization):
                layer.frozen_statistics = True
        self.built = True

    def call(self, inputs: dict[str, Any], training: bool = False):
        """What the decoder's `call` gives, for `pixels` (B, H, W, 3) and `tokens` (B * n, T)."""
        outputs = self.network(inputs["pixels"], training=training)
        features = outputs["pooled"]
        if self.decoder.grid:
            features = ops.reshape(outputs["grid"], (-1, *self.decoder.feature_shape))
        features = ops.repeat(features, self.captions, axis=0)
        return self.decoder({"features": features, "tokens": inputs["tokens"]}, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return self.decoder.compute_loss(x, y, y_pred, sample_weight, training)


@contextmanager
def averaged(model: keras.Model) -> Iterator[None]:
    """Within the block, what learns holds its exponential average, if the optimizer keeps one."""
    if not model.optimizer.use_ema:
        yield
        return
    learning = model.trainable_variables
    values = [ops.convert_to_numpy(variable.value) for variable in learning]
    model.optimizer.finalize_variable_values(learning)
    try:
        yield
    finally:
        for variable, value in zip(learning, values, strict=True):
            variable.assign(value)


def unfreeze(network: keras.Model, encoder: str, stages: str = "last") -> dict[str, int]:
    """Let the last stages of an encoder's network learn, and nothing before them.

    `stages` is `last`, a number of stages, or `all`, with the stem. What comes before the last one
    sees edges and textures, which are the same for every purpose; unless the encoder never learned
    from labels.

    Returns:
        How many stages from the last one each variable is that learns, by its path.

    Raises:
        UserError: the encoder has no stages that are known, or not so many.
    """
    if encoder not in TABLE:
        raise UserError(f"the encoder {encoder} cannot be fine-tuned; {', '.join(TABLE)} can")
    known = TABLE[encoder].stages
    count = {"last": 1, "all": len(known) + 1}.get(stages) or int(stages)
    if stages != "all" and not 1 <= count <= len(known):
        raise UserError(f"--stages {count}: the encoder {encoder} has {len(known)}, and a stem")
    reached = 0  # stages, the stem not counted
    learning = {}
    for layer in network.layers:
        if reached < len(known) and layer.name.startswith(known[reached]):
            reached += 1
        depth = len(known) - reached
        layer.trainable = depth < count
        learning |= {variable.path: depth for variable in layer.trainable_variables}
    return learning


def validation_loss(
    encoder: Encoder,
    decoder: Decoder,
    images: Mapping[str, Path],
    captions: Mapping[str, Sequence[str]],
    keep_unknown: bool,
) -> float:
    """The decoder's loss a word on images as they are encoded now, whose features fit memory.

    Raises:
        UserError: no image can be read.
    """
    wanted = encoder.preprocessing
    ids: list[str] = []
    rows = []
    count, items = min(TOGETHER, len(images)), list(images.items())
    squares = decode_batches(items, wanted.size, count, square_of=lambda path: wanted.square)
    for read, pixels, _ in squares:
        if read:
            ids += read
            rows.append(encoder.encode(pixels, count, grid=decoder.grid))
    if not rows:
        first = next(iter(images.values()))
        raise UserError(f"{first}: like all images that validate, it cannot be read")
    features = Features(ids, np.concatenate(rows), encoder.info)
    batches = CaptionBatches(
        features, captions, ids, decoder.vocabulary, batch_size=128, keep_unknown=keep_unknown
    )
    return float(decoder.evaluate(batches, verbose=0, return_dict=True)["token_loss"])


def save_trained(encoder: Encoder, path: Path) -> None:
    """Write an encoder's weights, and what they were trained from."""
    recipe = {name: encoder.info[name] for name in ("encoder", "image_size", "preprocessing")}
    save_encoder(encoder.network, path, {**recipe, "from": encoder.info["weights"]})


def save_both(folder: Path, encoder: Encoder, decoder: Decoder) -> None:
    """Write encoder and decoder beside each other, the latter with a record of the former.

    Both are complete before either takes the place of an older one: they go by a digest.
    """
    folder.mkdir(exist_ok=True)
    weights = folder / f"{encoder.info['encoder']}-captions.weights.h5"
    record = {**encoder.info, "dtype": "float32", "weights": weights.name}
    for name in ("weights_name", "weights_address"):  # of the weights that it began from
        record.pop(name, None)
    with atomic_path(folder / "best_model.keras") as model, atomic_path(weights) as finished:
        save_trained(encoder, finished)
        record["weights_sha256"] = sha256(finished)
        decoder.copy_with(dtype="float32", encoder=record).save(model)
