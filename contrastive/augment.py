"""Random views of whole batches of pictures, on the device: crop, flip, colours, blur, solarise.

Every operation but the last clip and the solarisation is linear in the pixels, so a view is three
small matrix products: rows resampled, columns resampled, colours mixed. The random numbers of a
picture only choose its three matrices, which costs a few per cent of the network's time.

Three deviations from the papers' code follow. A crop that would be wider or higher than the picture
is cut off there, where torchvision draws again: the largest cover a little less than was drawn.
Pixels are clipped once at the end rather than after each of the four colour operations, and hue
turns in the YIQ plane rather than in HSV. Without clips between them, and with all four keeping or
scaling the luma alike, the operations commute: the random order in which the papers apply them
changes nothing here.
"""

import math

import keras
import numpy as np
from keras import ops

from contrastive.presets import View

GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma
_YIQ = np.array([GREY, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)], np.float32)


class Augmentation(keras.layers.Layer):
    """A random view of every picture: resized crop, flip, colour jitter, grey, blur, solarisation.

    In: uint8 pixels (B, S, S, 3). Out: float32 pixels (B, size, size, 3), 0 to 255. Every picture
    draws its own numbers, anew at every call, from the layer's own generator, whose state is
    saved with the model.
    """

    def __init__(self, view: View, seed: int = 0) -> None:
        super().__init__(dtype="float32")
        self.view = view
        self.generator = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, images):
        """A view (B, size, size, 3) of each picture (B, S, S, 3)."""
        count, side, size = ops.shape(images)[0], images.shape[1], self.view.size
        top, height, left, width, mirrored = self._crop(count)
        blur = self._blur_matrix(count)
        rows = blur @ resampling_matrix(top, height, side, size)
        columns = blur @ resampling_matrix(left, width, side, size, mirrored)
        # The colour axis rides along with the rows, then with the columns: two batched products.
        views = ops.reshape(ops.cast(images, "float32"), (count, side, side * 3))
        views = ops.reshape(rows @ views, (count, size, side, 3))
        views = ops.reshape(ops.transpose(views, (0, 2, 1, 3)), (count, side, size * 3))
        views = ops.reshape(columns @ views, (count, size * size, 3))
        views = self._solarize(self._recolour(views, count), count)
        views = ops.reshape(views, (count, size, size, 3))
        # Columns came out first. A square view may as well be read transposed, then mixed once.
        return ops.transpose(views, (0, 2, 1, 3))

    def _uniform(self, count, low: float, high: float):
        return keras.random.uniform((count,), low, high, seed=self.generator)

    def _happens(self, count, probability: float):
        return self._uniform(count, 0.0, 1.0) < probability

    def _crop(self, count):
        """Top, height, left and width (B,) as shares of the picture, and whether it is mirrored."""
        area = self._uniform(count, self.view.min_area, self.view.max_area)
        widest = math.log(self.view.aspect)
        stretch = ops.exp(self._uniform(count, -widest, widest) / 2)
        side = ops.sqrt(area)
        height, width = ops.minimum(side / stretch, 1.0), ops.minimum(side * stretch, 1.0)
        top = self._uniform(count, 0.0, 1.0) * (1.0 - height)
        left = self._uniform(count, 0.0, 1.0) * (1.0 - width)
        return top, height, left, width, self._happens(count, self.view.flip)

    def _blur_matrix(self, count):
        """(B, size, size): Gaussian weights of the pixels along one axis; identity without blur."""
        std = self._uniform(count, 0.1, 2.0) * self.view.size / 224
        # So narrow a Gaussian has no weight but its centre's.
        std = ops.where(self._happens(count, self.view.blur), std, 0.05)
        position = np.arange(self.view.size, dtype=np.float32)
        distance = np.square(position[:, None] - position[None, :])
        weights = ops.exp(-distance / (2 * ops.square(ops.maximum(std, 0.05))[:, None, None]))
        return weights / ops.sum(weights, axis=-1, keepdims=True)

    def _recolour(self, pixels, count):
        """Pixels (B, P, 3) through each picture's own colour matrix (3, 3) and offset (3,)."""
        jittered = self._happens(count, self.view.jitter)

        def draw(centre: float, most: float):
            least = max(0.0, centre - most) if centre else -most  # no negative of the picture
            drawn = self._uniform(count, least, centre + most)
            return ops.where(jittered, drawn, centre)

        brightness, contrast = draw(1.0, self.view.brightness), draw(1.0, self.view.contrast)
        saturation = draw(1.0, self.view.saturation)
        turn = draw(0.0, self.view.hue) * 2 * math.pi
        saturation = ops.where(self._happens(count, self.view.grey), 0.0, saturation)

        # In YIQ, saturation scales the colour plane and hue turns it.
        cos, sin, zero = saturation * ops.cos(turn), saturation * ops.sin(turn), turn * 0
        plane = ops.stack([zero + 1, zero, zero, zero, cos, -sin, zero, sin, cos], axis=-1)
        colour = np.linalg.inv(_YIQ) @ ops.reshape(plane, (-1, 3, 3)) @ _YIQ
        # Contrast pulls towards the mean grey of the view, which no colour operation moves.
        grey = ops.sum(ops.mean(pixels, axis=1) * np.array(GREY, np.float32), axis=-1)
        matrix = colour * (brightness * contrast)[:, None, None]
        offset = brightness * (1 - contrast) * grey
        mixed = pixels @ ops.transpose(matrix, (0, 2, 1)) + offset[:, None, None]
        return ops.clip(mixed, 0.0, 255.0)

    def _solarize(self, pixels, count):
        """Pixels (B, P, 3), of some pictures those of 128 and more inverted."""
        if not self.view.solarize:
            return pixels
        chosen = self._happens(count, self.view.solarize)[:, None, None]
        return ops.where(ops.logical_and(chosen, pixels >= 128), 255.0 - pixels, pixels)


def resampling_matrix(start, extent, source: int, target: int, mirrored=None):
    """Weights (B, target, source) that resample a stretch of one axis, antialiased bilinear.

    `start` and `extent` (B,) say where the stretch lies, as shares of the axis; `mirrored` (B,)
    turns it round. A stretch that shrinks is averaged over a triangle as wide as two of the new
    pixels, as Pillow's and torchvision's resizing do.
    """
    position = (np.arange(target, dtype=np.float32) + 0.5) / target
    position = ops.broadcast_to(position[None, :], (ops.shape(start)[0], target))
    if mirrored is not None:
        position = ops.where(mirrored[:, None], 1.0 - position, position)
    centre = (start[:, None] + position * extent[:, None]) * source - 0.5
    reach = ops.maximum(extent * source / target, 1.0)
    distance = ops.abs(centre[:, :, None] - np.arange(source, dtype=np.float32))
    weights = ops.maximum(1.0 - distance / reach[:, None, None], 0.0)
    return weights / ops.sum(weights, axis=-1, keepdims=True)
