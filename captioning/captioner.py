"""Images to captions: an encoder and the decoder that was trained on its features."""

import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from captioning.captioners.loading import encoder_of, find_captioner, load_captioner
from captioning.cli import UserError
from captioning.decoders.search import generate_n_best
from captioning.decoders.search_settings import BEST, Search
from captioning.images.folders import list_images
from captioning.images.reading import UnreadableImage, decode_batches
from captioning.output.captions import Captioned

FEW = 8  # images up to which compiling the encoder's graph costs more than it saves
BATCH = 128  # images whose captions are searched for together
ENCODED = 16  # of them, those that pass the encoder together; most of the memory is its


class Captioner:
    """A caption model with its encoder and a search.

    Args:
        model: a `.keras` file, or the original project's `.h5`; default: `best_model.keras` of
            stage 2 in the working folder, else the one in `Pre-trained/`.
        search: how captions are searched for; default: a beam of 10, ranked by expected words.
        captions: alternatives for each image, the best first; at most the search's beam width.
        tokenizer, encoder, weights: what the model does not record; see `5_test.py --help`.

    Raises:
        UserError: a file is missing, damaged or does not fit; fewer beams than captions.
    """

    def __init__(
        self,
        model: str | os.PathLike | None = None,
        *,
        search: Search = BEST,
        captions: int = 1,
        tokenizer: str | os.PathLike | None = None,
        encoder: str | None = None,
        weights: str | os.PathLike | None = None,
    ) -> None:
        if captions > search.beam_width:
            raise UserError(f"{captions} captions: give a beam width of as many, or more")
        self.path, self.search, self.captions = Path(model or find_captioner()), search, captions
        self.model = load_captioner(self.path, tokenizer)
        search.check_length(self.model.vocabulary)
        self.encoder = encoder_of(self.model, self.path, encoder, weights)

    def caption(
        self, images: str | os.PathLike | Sequence[str | os.PathLike]
    ) -> Captioned | list[Captioned]:
        """The caption of an image file, or a list of captions for a folder or a list of paths.

        A `Captioned` has `path`, `caption`, `log_probability` (natural, end word included),
        `confidence` (0 to 1) and `alternatives`. From a folder or a list, images that cannot be
        read are left out with a warning.

        Raises:
            UserError: a path does not exist, a folder holds no image, or, as `UnreadableImage`, a
                single file cannot be read.
        """
        path = images if isinstance(images, str | os.PathLike) else None
        single = path is not None and not os.path.isdir(path)
        results = []
        for result in self.stream(list_images(images if path is None else [path])):
            if isinstance(result, Captioned):
                results.append(result)
            elif single:
                raise result
            else:
                warnings.warn(str(result), stacklevel=2)
        return results[0] if single else results

    def stream(
        self, paths: Sequence[Path], few: int = FEW
    ) -> Iterator[Captioned | UnreadableImage]:
        """Yield a caption or an error for each image, in batches, a batch's errors last.

        Up to `few` pass the encoder op by op, more in its compiled graph. A batch is encoded while
        the one before is searched for: the search by itself does not keep two cores busy.
        """
        batches = self._encoded(paths, few)
        with ThreadPoolExecutor(1) as thread:
            coming = thread.submit(next, batches, None)
            while batch := coming.result():
                coming = thread.submit(next, batches, None)
                read, features, unreadable = batch
                n_best = generate_n_best(self.model, features, self.search) if read else []
                for path, (best, *others) in zip(read, n_best, strict=True):
                    yield Captioned(path, *best, tuple(others[: self.captions - 1]))
                yield from unreadable

    def _encoded(self, paths: Sequence[Path], few: int) -> Iterator[tuple]:
        """Batches of images that could be read, their features, and the errors of the others."""
        size, encoded = min(BATCH, len(paths)), min(ENCODED, len(paths))
        wanted, grid = self.encoder.preprocessing, self.model.grid
        jobs = [(path, path) for path in paths]
        squares = decode_batches(jobs, wanted.size, size, square_of=lambda path: wanted.square)
        for read, pixels, unreadable in squares:
            if not read:
                features = None
            elif len(paths) <= few:
                features = self.encoder.encode_few(pixels, grid=grid)
            else:
                features = self.encoder.encode(pixels, encoded, grid=grid)
            yield read, features, unreadable
