"""How an encoder wants its pictures: as a text that lies with its weights, features and models."""

import math
import re
from typing import NamedTuple

from PIL import Image

from captioning.cli import UserError
from captioning.images.reading import squash

Channels = tuple[float, float, float]
IMAGE_SIZE = 224  # pixels, of encoders whose weights do not say otherwise

# Mean and std of pixels, 0 to 255, by which they are normalised: the statistics of ImageNet
# (torchvision's), 127 and 128 (EfficientNet-Lite's), pixels from 0 to 1 (official SimCLR's), or
# each image's own (a puzzle solver's, whose tiles were normalised so).
SCALES: dict[str, tuple[Channels, Channels] | tuple[None, None]] = {
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    "centred": ((127.0, 127.0, 127.0), (128.0, 128.0, 128.0)),
    "unit": ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0)),
    "standardized": (None, None),
}
FORM = (
    "squash(SIZE) or resize(SIDE)|crop(SIZE), then |imagenet, |unit (pixels from 0 to 1), "
    "|centred, |standardized (mean 0 and std 1 in each channel of an image) or "
    "|mean(R,G,B)|std(R,G,B) of pixels from 0 to 255, stds above 0; sizes are "
    "from 8 to 4096 pixels, SIZE no more than SIDE"
)
_PARTS = re.compile(
    r"(?:squash\((?P<squash>\d{1,5})\)|resize\((?P<resize>\d{1,5})\)\|crop\((?P<crop>\d{1,5})\))"
    r"(?:\|(?P<scale>[a-z]+)|\|mean\((?P<mean>[^()]+)\)\|std\((?P<std>[^()]+)\))?"
)


class Preprocessing(NamedTuple):
    """From an RGB picture to what the network takes.

    The whole picture is squashed to `size` pixels a side, or, with `resize`, its shorter side is
    made so long and the middle `size` pixels are taken. Then it is normalised, as a part of the
    network, by `mean` and `std` (of pixels from 0 to 255), or if these are None by those of
    each of its channels.
    """

    size: int = IMAGE_SIZE
    resize: int | None = None
    mean: Channels | None = SCALES["imagenet"][0]
    std: Channels | None = SCALES["imagenet"][1]

    def __str__(self) -> str:
        size, resize = self.size, self.resize
        square = f"resize({resize})|crop({size})" if resize else f"squash({size})"
        for name, scale in SCALES.items():
            if scale == (self.mean, self.std):
                return f"{square}|{name}"
        numbers = "{:g},{:g},{:g}".format
        return f"{square}|mean({numbers(*self.mean)})|std({numbers(*self.std)})"

    def resized(self, size: int | None) -> "Preprocessing":
        """The same of pictures of `size`, if any is given: as much of each, at another scale.

        Raises:
            UserError: a size that `parse` would refuse.
        """
        size = self.size if size is None else size
        resize = self.resize and round(self.resize * size / self.size)
        other = self._replace(size=size, resize=resize)
        parse(str(other), other)
        return other

    def square(self, image: Image.Image, size: int) -> Image.Image:
        """The picture as a square of `size`, which is `self.size` or in proportion to it."""
        if not self.resize:
            return squash(image, size)
        side = min(image.size) * self.size / self.resize
        left, top = ((length - side) / 2 for length in image.size)
        box = (left, top, left + side, top + side)
        return image.resize((size, size), Image.Resampling.BILINEAR, box)


def parse(text: str, default: Preprocessing) -> Preprocessing:
    """The inverse of `str`; where the text names no scale, that of `default`.

    Raises:
        UserError: the text is of another form, or its numbers cannot be.
    """
    match = _PARTS.fullmatch(text)
    try:
        size = int(match["squash"] or match["crop"])
        resize = int(match["resize"]) if match["resize"] else None
        if not 8 <= size <= (resize or size) <= 4096:
            raise ValueError
        mean, std = default.mean, default.std
        if match["scale"]:
            mean, std = SCALES[match["scale"]]
        elif match["mean"]:
            mean, std = (tuple(map(float, match[name].split(","))) for name in ("mean", "std"))
            finite = all(map(math.isfinite, mean + std))
            if not (len(mean) == len(std) == 3 and finite and min(std) > 0):
                raise ValueError
    except (TypeError, KeyError, ValueError) as error:
        raise UserError(f"preprocessing {text!r:.60}: must be {FORM}") from error
    return Preprocessing(size, resize, mean, std)
