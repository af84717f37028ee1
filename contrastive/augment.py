"""Random views of whole batches of pictures, on the device: crop, flip, colours, blur, solarise.

Which method draws from which ranges is in `presets.TABLE`. Every operation but the last clip and
the solarisation is linear in the pixels, so a view is three small matrix products: rows resampled,
columns resampled, colours mixed. The random numbers of a picture only choose its three matrices.
That is what makes it cheap: on two cores it costs a few per cent of the network's time, and the
pictures stay uint8 until here.

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

GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma
_YIQ = np.array([GREY, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)], np.float32)


@keras.saving.register_keras_serializable(package="contrastive")
class Augmentation(keras.layers.Layer):
    """A random view of every picture: resized crop, flip, colour jitter, grey, blur, solarisation.

    In: uint8 pixels (B, S, S, 3). Out: float32 pixels (B, size, size, 3), 0 to 255. Every picture
    draws its own numbers, anew at every call, from the layer's own generator, whose state is
    saved with the model.

    Args:
        size: side of the views in pixels.
        min_area, max_area: share of the picture that a crop covers, or less where its width or
            height would be more than the picture's.
        aspect: a crop's width to height, beside the picture's, is between 1 / aspect and aspect.
        flip: probability of a mirrored view.
        jitter: probability of a colour jitter.
        brightness, contrast, saturation: a factor is drawn from 1 - x to 1 + x.
        hue: part of a full turn, drawn from -x to x.
        grey: probability of a view without colour.
        blur: probability of a Gaussian blur. Its deviation is 0.1 to 2 pixels in a view of 224,
            and shrinks with the view.
        solarize: probability that pixels of 128 and more are inverted.
        seed: of the generator.
    """

    def __init__(
        self,
        size: int,
        min_area: float = 0.08,
        max_area: float = 1.0,
        aspect: float = 4 / 3,
        flip: float = 0.5,
        jitter: float = 0.8,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.4,
        hue: float = 0.1,
        grey: float = 0.2,
        blur: float = 0.5,
        solarize: float = 0.0,
        seed: int = 0,
        **kwargs,
    ) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.size = size
        self.settings = {
            "min_area": min_area, "max_area": max_area, "aspect": aspect, "flip": flip,
            "jitter": jitter, "brightness": brightness, "contrast": contrast,
            "saturation": saturation, "hue": hue, "grey": grey, "blur": blur,
            "solarize": solarize, "seed": seed,
        }  # fmt: skip
        self.generator = keras.random.SeedGenerator(seed)
        self.built = True

    def call(self, pictures):
        """A view (B, size, size, 3) of each picture (B, S, S, 3)."""
        count, side = ops.shape(pictures)[0], pictures.shape[1]
        top, height, left, width, mirrored = self._crop(count)
        blur = self._blur_matrix(count)
        rows = blur @ resampling_matrix(top, height, side, self.size)
        columns = blur @ resampling_matrix(left, width, side, self.size, mirrored)
        # The colour axis rides along with the rows, then with the columns: two batched products
        # of (size, S) by (S, anything), which is what processors and GPUs do best.
        views = ops.reshape(ops.cast(pictures, "float32"), (count, side, side * 3))
        views = ops.reshape(rows @ views, (count, self.size, side, 3))
        views = ops.reshape(ops.transpose(views, (0, 2, 1, 3)), (count, side, self.size * 3))
        views = ops.reshape(columns @ views, (count, self.size * self.size, 3))
        views = self._solarize(self._recolour(views, count), count)
        views = ops.reshape(views, (count, self.size, self.size, 3))
        # Columns came out first. A square view may as well be read transposed, then mixed once.
        return ops.transpose(views, (0, 2, 1, 3))

    def _uniform(self, count, low: float, high: float):
        return keras.random.uniform((count,), low, high, seed=self.generator)

    def _happens(self, count, probability: float):
        return self._uniform(count, 0.0, 1.0) < probability

    def _crop(self, count):
        """Top, height, left and width (B,) as shares of the picture, and whether it is mirrored."""
        area = self._uniform(count, self.settings["min_area"], self.settings["max_area"])
        widest = math.log(self.settings["aspect"])
        stretch = ops.exp(self._uniform(count, -widest, widest) / 2)
        side = ops.sqrt(area)
        height, width = ops.minimum(side / stretch, 1.0), ops.minimum(side * stretch, 1.0)
        top = self._uniform(count, 0.0, 1.0) * (1.0 - height)
        left = self._uniform(count, 0.0, 1.0) * (1.0 - width)
        return top, height, left, width, self._happens(count, self.settings["flip"])

    def _blur_matrix(self, count):
        """(B, size, size): Gaussian weights of the pixels along one axis; identity without blur."""
        deviation = self._uniform(count, 0.1, 2.0) * self.size / 224
        # So narrow a Gaussian has no weight but its centre's.
        deviation = ops.where(self._happens(count, self.settings["blur"]), deviation, 0.05)
        place = np.arange(self.size, dtype=np.float32)
        distance = np.square(place[:, None] - place[None, :])
        weights = ops.exp(-distance / (2 * ops.square(ops.maximum(deviation, 0.05))[:, None, None]))
        return weights / ops.sum(weights, axis=-1, keepdims=True)

    def _recolour(self, pixels, count):
        """Pixels (B, P, 3) through each picture's own colour matrix (3, 3) and offset (3,)."""
        s = self.settings
        jittered = self._happens(count, s["jitter"])

        def factor(spread: float):
            return ops.where(jittered, self._uniform(count, 1 - spread, 1 + spread), 1.0)

        brightness, contrast = factor(s["brightness"]), factor(s["contrast"])
        saturation = factor(s["saturation"])
        turn = ops.where(jittered, self._uniform(count, -s["hue"], s["hue"]), 0.0) * 2 * math.pi
        saturation = ops.where(self._happens(count, s["grey"]), 0.0, saturation)

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
        if not self.settings["solarize"]:
            return pixels
        chosen = self._happens(count, self.settings["solarize"])[:, None, None]
        return ops.where(ops.logical_and(chosen, pixels >= 128), 255.0 - pixels, pixels)

    def get_config(self) -> dict:
        """The constructor's arguments."""
        return {**super().get_config(), "size": self.size, **self.settings}


def resampling_matrix(start, extent, source: int, target: int, mirrored=None):
    """Weights (B, target, source) that resample a stretch of one axis, antialiased bilinear.

    `start` and `extent` (B,) say where the stretch lies, as shares of the axis; `mirrored` (B,)
    turns it round. A stretch that shrinks is averaged over a triangle as wide as two of the new
    pixels, as Pillow's and torchvision's resizing do.
    """
    place = (np.arange(target, dtype=np.float32) + 0.5) / target
    place = ops.broadcast_to(place[None, :], (ops.shape(start)[0], target))
    if mirrored is not None:
        place = ops.where(mirrored[:, None], 1.0 - place, place)
    centre = (start[:, None] + place * extent[:, None]) * source - 0.5
    reach = ops.maximum(extent * source / target, 1.0)
    distance = ops.abs(centre[:, :, None] - np.arange(source, dtype=np.float32))
    weights = ops.maximum(1.0 - distance / reach[:, None, None], 0.0)
    return weights / ops.sum(weights, axis=-1, keepdims=True)
