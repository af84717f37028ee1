"""Images in batches with their captions, seen otherwise in every epoch, and a pass of training."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from captioning.cli import check_most_read, report_skipped
from captioning.images.preprocessing import Preprocessing
from captioning.images.reading import decode_batches
from captioning.images.views import LEAST_AREA, view
from captioning.training.run import Run

REPEATED = 1 << 20  # more than there are views, 2 an epoch: what comes again has others
ROUND = 4  # lengths of captions are rounded up to it, because each is a graph to compile


@dataclass
class ImageBatches:
    """Images with their captions, in an order, views and captions that follow from seed and epoch.

    Two images of three are seen in part, of `least_area` or more (`captioning.images.views`); with
    `colour_jitter` brightness, contrast and saturation are drawn anew, too.
    """

    images: Mapping[str, Path]  # by `image_id`
    captions: Mapping[str, Sequence[list[int]]]  # of each image, as numbers of words
    preprocessing: Preprocessing  # the encoder's
    batch_size: int  # images
    per_image: int  # captions of an image in a batch
    seed: int = 0
    repeats: Mapping[str, int] | None = None  # an image's in an epoch, each in a view of its own
    least_area: float = LEAST_AREA
    colour_jitter: bool = False

    def __post_init__(self) -> None:
        self.shown = []
        for image_id, path in self.images.items():
            self.shown += [(image_id, path)] * (self.repeats or {}).get(image_id, 1)

    def __len__(self) -> int:
        return -(-len(self.shown) // self.batch_size)

    def epoch(
        self, epoch: int, whole: bool = False
    ) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
        """Batches of an epoch; with `whole` all images are seen whole.

        Yields ({"pixels": (n, size, size, 3), "tokens": (n * per_image, T)}, next words
        (n * per_image, T)): an image's captions are neighbours, and shorter ones end in 0.
        Unreadable images are left out, and their names printed at the end.

        Raises:
            UserError: most images cannot be read.
        """
        random = np.random.default_rng((self.seed, epoch))
        colour = np.random.default_rng((self.seed, epoch, 1))
        shown = list(self.shown)
        random.shuffle(shown)
        view_numbers = iter(random.integers(1 if whole else 3, size=len(shown)))  # 0: the whole
        seen: Counter[Path] = Counter()
        unreadable: list[str] = []

        def square_of(path: Path):
            view_number, before = int(next(view_numbers)), seen[path]
            seen[path] += 1
            number = 2 * epoch + view_number + REPEATED * before if view_number else 0
            return view(number, path.name, self.preprocessing.square, self.least_area)

        size = self.preprocessing.size
        for read, pixels, errors in decode_batches(shown, size, self.batch_size, None, square_of):
            unreadable += map(str, errors)
            if not read:
                continue
            chosen: list[list[int]] = []
            for image_id in read:
                captions = self.captions[image_id]
                order = np.resize(random.permutation(len(captions)), self.per_image)
                chosen += [captions[number] for number in order]
            longest = max(map(len, chosen)) - 1
            tokens = np.zeros((len(chosen), longest + -longest % ROUND + 1), np.int32)
            for row, words in zip(tokens, chosen, strict=True):
                row[: len(words)] = words
            if self.colour_jitter:
                pixels = jitter(pixels, colour)
            yield {"pixels": pixels, "tokens": tokens[:, :-1]}, tokens[:, 1:]
        check_most_read(unreadable, len(shown), "images")
        with tqdm.external_write_mode():
            report_skipped("unreadable images", sorted({*unreadable}))


def jitter(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Images (B, H, W, 3), 0 to 255, of other brightness, contrast and saturation, each drawn."""
    count = len(pixels)
    brightness, contrast, saturation = (
        random.uniform(least, most, count).astype(np.float32).reshape(count, 1, 1, 1)
        for least, most in ((0.6, 1.4), (0.6, 1.4), (0.5, 1.5))
    )
    pixels = pixels.astype(np.float32) * brightness
    for axes, factor in (((1, 2, 3), contrast), ((3,), saturation)):
        mean = pixels.mean(axes, keepdims=True)
        pixels = mean + factor * (pixels - mean)
    return pixels.clip(0, 255).astype(np.uint8)


def train_epoch(
    run: Run, batches: ImageBatches, epoch: int, passed: Iterable[tuple[dict[str, Any], np.ndarray]]
) -> None:
    """Train on what is `passed` of an epoch of `batches`, a row of the run."""
    run.model.reset_metrics()
    with run.row(f"epoch {epoch + 1}", len(batches), len(batches.shown)):
        for number, (inputs, targets) in enumerate(passed, start=1):
            # The metrics are means since the reset.
            logs = run.model.train_on_batch(inputs, targets, return_dict=True)
            run.after_step(number, logs, len(inputs["pixels"]))
