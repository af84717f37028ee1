"""Other views of a picture than the whole of it, for a decoder to train on."""

import math

import numpy as np
from PIL import Image

from captioning.images.names import image_id
from captioning.images.reading import ToSquare, squash

LEAST_AREA = 0.6  # of the picture: what its captions name should still be in the view


def view(
    number: int, name: str, whole: ToSquare = squash, least_area: float = LEAST_AREA
) -> ToSquare:
    """What makes view `number` of the picture in the file `name`; view 0 is `whole`.

    Others are a random part of at least `least_area` of it, squashed to a square, and every second
    one is mirrored. Which part follows from the number and the picture's `image_id` alone, so that
    a resumed run, or another machine, sees the same.
    """
    if number == 0:
        return whole
    random = np.random.default_rng([number, *image_id(name).encode("utf-8", "surrogateescape")])
    area = random.uniform(least_area, 1)
    # Uniform in its logarithm, so that wide parts come as often as high ones.
    ratio = math.exp(random.uniform(math.log(least_area), -math.log(least_area)))
    position, mirrored = random.uniform(size=2), random.uniform() < 0.5

    def part(image: Image.Image, size: int) -> Image.Image:
        # Shares of the picture's width and height; the ratio turns no more than there is room for.
        width = min(1.0, math.sqrt(area * ratio))
        height = area / width
        if height > 1:
            width, height = area, 1.0
        left, top = position * (1 - width, 1 - height)
        shares = np.array([left, top, left + width, top + height])
        box = tuple(shares * [*image.size, *image.size])
        square = image.resize((size, size), Image.Resampling.BILINEAR, box)
        return square.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else square

    return part
