"""An encoder's network and a caption decoder as one model, to be trained together."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import ops

from captioning.cli import UserError
from captioning.decoders.base import Decoder
from captioning.encoders.table import TABLE


class EndToEnd(keras.Model):
    """Pixels and words to the next words; several captions of a picture are neighbours.

    The encoder's batch normalisation goes by the statistics that it came with: those of a few
    pictures would be too rough.

    Args:
        network: an encoder's network (`Encoder.network`).
        decoder: takes the network's grid, or its vector.
        captions: of each picture.
    """

    def __init__(self, network: keras.Model, decoder: Decoder, captions: int) -> None:
        super().__init__()
        self.network, self.decoder, self.captions = network, decoder, captions
        self.token_loss = decoder.token_loss  # Keras does not show the metrics of inner models
        self.built = True

    def call(self, inputs: dict[str, Any], training: bool = False):
        """What the decoder's `call` gives, for `pixels` (B, H, W, 3) and `tokens` (B * n, T)."""
        outputs = self.network(inputs["pixels"], training=False)
        features = outputs["pooled"]
        if self.decoder.grid:
            features = ops.reshape(outputs["grid"], (-1, *self.decoder.feature_shape))
        features = ops.repeat(features, self.captions, axis=0)
        return self.decoder({"features": features, "tokens": inputs["tokens"]}, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The decoder's."""
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


def thaw(network: keras.Model, encoder: str, stages: str = "last") -> dict[str, int]:
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
    if stages != "all" and not 1 <= (count := 1 if stages == "last" else int(stages)) <= len(known):
        raise UserError(f"--stages {count}: the encoder {encoder} has {len(known)}, and a stem")
    count = len(known) + 1 if stages == "all" else count
    reached = 0  # stages, the stem not counted
    learning = {}
    for layer in network.layers:
        if reached < len(known) and layer.name.startswith(known[reached]):
            reached += 1
        depth = len(known) - reached
        layer.trainable = depth < count
        learning |= {variable.path: depth for variable in layer.trainable_variables}
    return learning
