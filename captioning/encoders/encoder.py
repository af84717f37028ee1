"""An encoder ready for use: uint8 RGB pixels to one feature vector a picture, or a grid of them."""

from typing import Any

import keras
import numpy as np
from keras import ops

from captioning.cli import UserError
from captioning.images.preprocessing import IMAGE_SIZE, Preprocessing


class Encoder:
    """A network with its weights, ready to encode, and the record of where those came from."""

    def __init__(
        self, network: keras.Model, info: dict[str, Any], preprocessing: Preprocessing | None = None
    ) -> None:
        self.network = network
        self.info = info
        self.preprocessing = preprocessing or Preprocessing(info.get("image_size", IMAGE_SIZE))
        # Graph compilation by tf.function; XLA is slower than oneDNN at convolutions on a CPU.
        network.compile(jit_compile=keras.backend.backend() != "tensorflow")

    @property
    def width(self) -> int:
        """Length D of a feature vector."""
        return self.network.output["pooled"].shape[-1]

    @property
    def positions(self) -> int:
        """Number L of vectors in a grid."""
        size = self.preprocessing.size
        shape = self.network.compute_output_shape((1, size, size, 3))["grid"]
        return shape[1] * shape[2]

    def resize(self, size: int | None) -> None:
        """Take pictures of another size, if one is given, prepared as before but for that.

        Raises:
            UserError: a size that no encoder takes.
        """
        self.preprocessing = wanted = self.preprocessing.resized(size)
        self.info |= {"image_size": wanted.size, "preprocessing": str(wanted)}

    def encode_few(self, pixels: np.ndarray, *, grid: bool = False) -> np.ndarray:
        """`encode` for a few pictures, op by op: no seconds spent on compiling a graph."""
        outputs = self.network(pixels, training=False)
        return self._features({name: ops.convert_to_numpy(outputs[name]) for name in outputs}, grid)

    def encode(self, pixels: np.ndarray, batch_size: int, *, grid: bool = False) -> np.ndarray:
        """Features of pictures, `batch_size` of them at a time in the compiled graph.

        A last, smaller batch is filled up, because another size would compile another graph.

        Returns:
            Vectors (n, D), float32; with `grid`, L = h * w vectors a picture, row by row of the
            grid, (n, L, D), float16: rounded as in the features file that a decoder trains on.

        Raises:
            UserError: the encoder has no grid, or gives numbers that are not finite, or in a grid
                beyond half precision.
        """
        parts = []
        for first in range(0, len(pixels), batch_size):
            batch = pixels[first : first + batch_size]
            filled = np.pad(batch, [(0, batch_size - len(batch)), (0, 0), (0, 0), (0, 0)])
            outputs = self.network.predict_on_batch(filled)
            outputs = {name: outputs[name][: len(batch)] for name in outputs}
            parts.append(self._features(outputs, grid))
        return np.concatenate(parts)

    def _features(self, outputs: dict[str, np.ndarray], grid: bool) -> np.ndarray:
        encoder = f"the encoder {self.info.get('encoder')} ({self.info.get('weights')})"
        if grid and "grid" not in outputs:
            raise UserError(f"{encoder} gives one vector a picture, and no grid")
        features = outputs["grid" if grid else "pooled"]
        if grid:
            features = features.reshape(len(features), -1, features.shape[-1])
            with np.errstate(over="ignore"):
                features = features.astype(np.float16)
        if not np.isfinite(features).all():
            raise UserError(
                f"{encoder} gives features that are not finite, or too large for half precision; "
                "are these the weights it was trained to?"
            )
        return features
