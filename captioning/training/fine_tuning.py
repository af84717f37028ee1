"""Fine-tuning of an encoder along with a decoder: batches of pictures, a pass, a judgement.

What an encoder was trained for is not what captions speak of. First the decoder alone, then both
at a low learning rate, as Vinyals et al. do it (arXiv 1609.06647, section 5.1): from the start the
gradients of a decoder that knows nothing would spoil the encoder.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from captioning.cli import UserError
from captioning.encoders.weights import save_encoder
from captioning.features.reading import Features
from captioning.files import atomic_path, sha256
from captioning.images.reading import decode_batches
from captioning.images.views import LEAST_AREA, view
from captioning.training.batches import CaptionBatches
from captioning.training.run import Run
from captioning.training.word_prediction import jitter

JUDGED = 50  # pictures that are encoded together to judge
REPEATED = 1 << 20  # more than there are views, 2 an epoch: what comes again has others
ROUND = 4  # lengths of captions are rounded up to it, because each is a graph to compile


def batches(
    images: Mapping[str, Path],
    captions: Mapping[str, Sequence[list[int]]],
    preprocessing,
    *,
    batch_size: int,
    count: int,
    seed: int,
    epoch: int,
    unreadable: list[str],
    times: Mapping[str, int] | None = None,
    whole: bool = False,
    least_area: float = LEAST_AREA,
    colours: bool = False,
) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
    """One pass over `images`, in an order, views and captions that follow from seed and epoch.

    Yields ({"pixels": (n, size, size, 3), "tokens": (n * count, T)}, next words (n * count, T)): a
    picture's `count` captions are neighbours, and shorter ones end in 0. Two pictures of three are
    seen in part, of `least_area` or more (`captioning.images.views`), unless all are to be seen
    `whole`. An unreadable picture is left out, and added to `unreadable`. With `times` a picture
    comes so many times, each with a view of its own. With `colours` their brightness, contrast and
    saturation are drawn anew, too.
    """
    random = np.random.default_rng((seed, epoch))
    colour = np.random.default_rng((seed, epoch, 1))
    shown = [one for one in images.items() for _ in range(times[one[0]] if times else 1)]
    random.shuffle(shown)
    looks = iter(random.integers(1 if whole else 3, size=len(shown)))  # 0: the whole
    seen: Counter[Path] = Counter()

    def square_of(path: Path):
        look, before = int(next(looks)), seen[path]
        seen[path] += 1
        number = look and 2 * epoch + look + REPEATED * before
        return view(number, path.name, preprocessing.square, least_area)

    for read, pixels, errors in decode_batches(
        shown, preprocessing.size, batch_size, square_of=square_of
    ):
        unreadable += map(str, errors)
        chosen: list[list[int]] = []
        for image_id in read:
            own = captions[image_id]
            chosen += [own[n] for n in np.resize(random.permutation(len(own)), count)]
        if chosen:
            longest = max(map(len, chosen)) - 1
            tokens = np.zeros((len(chosen), longest + -longest % ROUND + 1), np.int32)
            for row, words in zip(tokens, chosen, strict=True):
                row[: len(words)] = words
            if colours:
                pixels = jitter(pixels, colour)
            yield {"pixels": pixels, "tokens": tokens[:, :-1]}, tokens[:, 1:]


def judge(encoder, decoder, pictures: Mapping[str, Path], captions, *, keep_unknown: bool) -> float:
    """The decoder's loss a word on pictures as they are encoded now, whose features fit memory."""
    wanted = encoder.preprocessing
    ids: list[str] = []
    rows = []
    together = min(JUDGED, len(pictures))
    for read, pixels, _ in decode_batches(
        list(pictures.items()), wanted.size, together, square_of=lambda path: wanted.square
    ):
        if read:
            ids += read
            rows.append(encoder.encode(pixels, together, grid=decoder.grid))
    if not rows:
        first = next(iter(pictures.values()))
        raise UserError(f"{first}: like all pictures that judge, it cannot be read")
    features = Features(ids, np.concatenate(rows), encoder.info)
    judged = CaptionBatches(
        features, captions, ids, decoder.vocabulary, batch_size=128, keep_unknown=keep_unknown
    )
    return float(decoder.evaluate(judged, verbose=0, return_dict=True)["token_loss"])


def train_epoch(run: Run, passed: Iterator, pictures: int, steps: int) -> None:
    """One pass of training, a row of the run; its loss is a word's, without smoothing and penalty.

    Raises:
        UserError: the loss is no longer a number.
    """
    run.model.reset_metrics()
    with run.row(f"epoch {len(run.history) + 1}", steps, pictures):
        for number, (inputs, following) in enumerate(passed, start=1):
            # The metrics are means since the reset.
            logs = run.model.train_on_batch(inputs, following, return_dict=True)
            run.after_step(number, logs, len(inputs["pixels"]))


def keep(output: Path, encoder, decoder) -> None:
    """Write encoder and decoder beside each other, the latter with a record of the former.

    Both are complete before either takes the place of an older one: they go by a digest.
    """
    name = encoder.info["encoder"]
    weights = output / f"{name}-captions.weights.h5"
    recipe = {"encoder": name, "image_size": encoder.preprocessing.size,
              "preprocessing": str(encoder.preprocessing),
              "from": encoder.info["weights"]}  # fmt: skip
    finished = output / f".{weights.name}"
    save_encoder(encoder.network, finished, recipe)
    record = {**encoder.info, "dtype": "float32", "weights": weights.name,
              "weights_sha256": sha256(finished)}  # fmt: skip
    for key in ("weights_name", "weights_address"):  # of the checkpoint that they once were
        record.pop(key, None)
    with atomic_path(output / "best_model.keras") as temporary:
        decoder.copy_with(dtype="float32", encoder=record).save(temporary)
        finished.replace(weights)
