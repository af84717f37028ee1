"""Public checkpoints, which are called by name: `--weights dino`; fetched once, and cached.

Nothing here imports Keras, so that `1_data_preprocessor.py --weights list` comes at once.
"""

import csv
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from captioning.cli import UserError, in_file

PREPROCESSING = "resize(256)|crop(224)|imagenet"  # of the pictures by which `top1` was measured


class Checkpoint(NamedTuple):
    """What is to be known of a public checkpoint.

    Args:
        paper: its number at arXiv.
        epochs: of training on ImageNet; empty: the authors do not say it where the file is.
        top1: per cent of ImageNet that a linear classifier on the features gets right, by the
            authors' account; torchvision's: its own classifier.
        address: the authors'; always HTTPS.
        digest: `md5:` or `sha256:` and its first eight digits; empty: the authors publish none.
    """

    name: str
    encoder: str
    paper: str
    epochs: str
    top1: str
    digest: str
    address: str

    @property
    def file(self) -> str:
        return self.address.rpartition("/")[2]


# As in the authors' READMEs and hubconf.py, MoCo v3's CONFIG.md, VISSL's MODEL_ZOO.md and
# torchvision's resnet.py. vissl_jigsaw is of 100 permutations, not the 2,000 that its name says.
with open(Path(__file__).with_suffix(".csv"), encoding="utf-8", newline="") as file:
    TABLE = tuple(Checkpoint(**row) for row in csv.DictReader(file))


def listing() -> str:
    """The table for a terminal."""
    line = "{:14} {:10} {:17} {:>6} {:>6}".format
    lines = [line("name", "encoder", "paper", "epochs", "top-1")]
    lines += [line(c.name, c.encoder, f"arXiv {c.paper}", c.epochs or "-", c.top1) for c in TABLE]
    note = "top-1: on ImageNet, of a linear classifier on the features (torchvision: of its own)"
    return "\n".join([*lines, f"preprocessing of all: {PREPROCESSING}", note])


def find(weights: str | Path, encoder: str | None) -> Checkpoint | None:
    """The checkpoint that `weights` names for an encoder; None if `weights` is a path.

    A file of that name goes first, a folder does not. Without `encoder`, the name must stand for
    one encoder only.

    Raises:
        UserError: no such name, or not for this encoder, or which encoder is not said.
    """
    name = str(weights)
    if Path(name).is_file() or Path(name).name != name or Path(name).suffix:
        return None
    rows = {checkpoint.encoder: checkpoint for checkpoint in TABLE if checkpoint.name == name}
    if not rows:
        names = ", ".join(dict.fromkeys(checkpoint.name for checkpoint in TABLE))
        raise UserError(f"{name}: no such file, and no public checkpoint's name; there are {names}")
    if encoder is None and len(rows) > 1:
        raise UserError(f"{name}: there is one for each of {', '.join(rows)}; say --encoder, too")
    if encoder is not None and encoder not in rows:
        raise UserError(f"{name}: is a checkpoint of {' and of '.join(rows)}, not of {encoder}")
    return rows[encoder or next(iter(rows))]


def recorded(info: Mapping[str, Any], encoder: str) -> str | None:
    """The name of the public checkpoint that a record of features or of a model is of, if any.

    Only the name is believed: the address that is recorded may be a stranger's.
    """
    wanted = (info.get("weights_name"), encoder, info.get("weights"))
    return next((c.name for c in TABLE if (c.name, c.encoder, c.file) == wanted), None)


def retrieve(address: str, path: Path, check: Callable[[str], None] | None = None) -> None:
    """Fetch a file, if it is not there, and `check` it; it gets its name when it is whole.

    Raises:
        UserError: it cannot be fetched, or `check` raises a `ValueError`.
    """
    import pooch

    def checked(address: str, target: str, store) -> None:
        """Fetch into a temporary file, to which pooch gives its name."""
        print(f"fetching {address}", flush=True)
        pooch.HTTPDownloader(progressbar=True, chunk_size=1 << 20)(address, target, store)
        if check is not None:
            check(target)

    pooch.get_logger().setLevel("WARNING")
    try:
        pooch.retrieve(address, None, path.name, path.parent, downloader=checked)
    except (OSError, ValueError) as error:  # OSError: requests' errors, too
        raise UserError(
            f"{address}: could not be fetched ({error!s:.300}); run the command again, or get the "
            f"file by other means and put it at {path}"
        ) from error


def fetch(checkpoint: Checkpoint) -> Path:
    """The checkpoint's file in the user's cache, fetched if it is not there yet.

    The cache is the folder `CAPTIONING_CACHE`, by default `captioning` where the system keeps such
    things. With `CAPTIONING_OFFLINE` set nothing is fetched. The digest is checked on arrival only.

    Raises:
        UserError: it is not there and cannot be fetched, or its digest begins otherwise.
    """
    import pooch

    def check(target: str) -> None:
        if checkpoint.digest:
            kind, digits = checkpoint.digest.split(":")
            if not pooch.file_hash(target, kind).startswith(digits):
                raise ValueError(f"its {kind} does not begin with {digits}, as the authors say")
        os.chmod(target, 0o644)  # a cache may be shared; temporary files are their owner's only

    cache = Path(os.environ.get("CAPTIONING_CACHE") or pooch.os_cache("captioning")).expanduser()
    path = cache / f"{checkpoint.name}-{checkpoint.encoder}" / checkpoint.file
    if os.environ.get("CAPTIONING_OFFLINE") and not path.is_file():
        hint = f"get {checkpoint.address} by other means and put it at {path}"
        raise UserError(f"{checkpoint.name}: CAPTIONING_OFFLINE is set; {hint}")
    with in_file(checkpoint.name):
        retrieve(checkpoint.address, path, check)
    return path
