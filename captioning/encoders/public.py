"""Public checkpoints, which are called by name: `--weights dino`; fetched once, and cached.

Nothing here imports Keras, so that `1_data_preprocessor.py --weights list` comes at once.
"""

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
        epochs: of training on ImageNet; None: the authors do not say it where the file is.
        top1: per cent of ImageNet that a linear classifier on the features gets right, by the
            authors' account; torchvision's: its own classifier.
        address: the authors'; always HTTPS.
        digest: `md5:` or `sha256:` and its first eight digits; None: the authors publish none.
    """

    name: str
    encoder: str
    paper: str
    epochs: int | None
    top1: float
    address: str
    digest: str | None = None

    @property
    def file(self) -> str:
        return self.address.rpartition("/")[2]


_META, _TORCH = "https://dl.fbaipublicfiles.com", "https://download.pytorch.org/models"
_MOCO, _MOCO3 = f"{_META}/moco/moco_checkpoints", f"{_META}/moco-v3"
_SWAV, _DINO, _VISSL = f"{_META}/deepcluster/swav", f"{_META}/dino", f"{_META}/vissl/model_zoo"
_SIMCLR = (
    f"{_VISSL}/simclr_rn50_%dep_simclr_8node_resnet_16_07_20.%s/model_final_checkpoint_phase%d"
)
# Name, encoder, paper, epochs, top-1, digest and address, as in the authors' READMEs and
# hubconf.py, MoCo v3's CONFIG.md, VISSL's MODEL_ZOO.md and torchvision's resnet.py.
_ROWS = f"""
moco_v1        resnet50  1911.05722  200 60.6 md5:b251726a
    {_MOCO}/moco_v1_200ep/moco_v1_200ep_pretrain.pth.tar
moco_v2        resnet50  2003.04297  800 71.1 md5:a04e12f8
    {_MOCO}/moco_v2_800ep/moco_v2_800ep_pretrain.pth.tar
moco_v2_200ep  resnet50  2003.04297  200 67.7 md5:59fd9945
    {_MOCO}/moco_v2_200ep/moco_v2_200ep_pretrain.pth.tar
moco_v3        resnet50  2104.02057 1000 74.6 - {_MOCO3}/r-50-1000ep/r-50-1000ep.pth.tar
moco_v3        vit_small 2104.02057  300 73.2 - {_MOCO3}/vit-s-300ep/vit-s-300ep.pth.tar
moco_v3_100ep  resnet50  2104.02057  100 68.9 - {_MOCO3}/r-50-100ep/r-50-100ep.pth.tar
moco_v3_300ep  resnet50  2104.02057  300 72.8 - {_MOCO3}/r-50-300ep/r-50-300ep.pth.tar
simsiam        resnet50  2011.10566  100 68.1 -
    {_META}/simsiam/models/100ep/pretrain/checkpoint_0099.pth.tar
simclr         resnet50  2002.05709  800 69.7 - {_SIMCLR % (800, "7e8feed1", 799)}.torch
simclr_100ep   resnet50  2002.05709  100 64.4 - {_SIMCLR % (100, "8edb093e", 99)}.torch
simclr_200ep   resnet50  2002.05709  200 66.6 - {_SIMCLR % (200, "a816c0ef", 199)}.torch
simclr_400ep   resnet50  2002.05709  400 67.7 - {_SIMCLR % (400, "36b338ef", 399)}.torch
simclr_1000ep  resnet50  2002.05709 1000 68.8 - {_SIMCLR % (1000, "afe428c7", 999)}.torch
swav           resnet50  2006.09882  800 75.3 - {_SWAV}_800ep_pretrain.pth.tar
swav_100ep     resnet50  2006.09882  100 72.1 - {_SWAV}_100ep_pretrain.pth.tar
swav_200ep     resnet50  2006.09882  200 73.9 - {_SWAV}_200ep_pretrain.pth.tar
swav_400ep     resnet50  2006.09882  400 74.6 - {_SWAV}_400ep_pretrain.pth.tar
barlow_twins   resnet50  2103.03230 1000 73.3 -
    {_META}/barlowtwins/ep1000_bs2048_lrw0.2_lrb0.0048_lambd0.0051/resnet50.pth
dino           resnet50  2104.14294    - 75.3 -
    {_DINO}/dino_resnet50_pretrain/dino_resnet50_pretrain.pth
dino           vit_small 2104.14294    - 77.0 -
    {_DINO}/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth
vissl_jigsaw   resnet50  1603.09246  105 48.6 -
    {_VISSL}/jigsaw_rn50_in1k_ep105_perm2k_jigsaw_8gpu_resnet_17_07_20.db174a43\
/model_final_checkpoint_phase104.torch
torchvision    resnet50  1512.03385   90 76.1 sha256:0676ba61 {_TORCH}/resnet50-0676ba61.pth
torchvision    resnet18  1512.03385   90 69.8 sha256:f37072fd {_TORCH}/resnet18-f37072fd.pth
"""  # vissl_jigsaw: of 100 permutations, not the 2,000 that its name says


_FIELDS = [None if field == "-" else field for field in _ROWS.split()]
TABLE = tuple(
    Checkpoint(name, encoder, paper, epochs and int(epochs), float(top1), address, digest)
    for name, encoder, paper, epochs, top1, digest, address in (
        _FIELDS[first : first + 7] for first in range(0, len(_FIELDS), 7)
    )
)


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
