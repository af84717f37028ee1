"""The table of public checkpoints, which are called by name: `--weights dino`.

Nothing here imports Keras, so that `1_data_preprocessor.py --weights list` comes at once.
`fetching.py` brings the files.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from captioning.cli import UserError


class Checkpoint(NamedTuple):
    """What is to be known of a public checkpoint.

    Args:
        paper: its number at arXiv.
        epochs: of training on ImageNet; None: the authors do not say it where the file is.
        top1: per cent of ImageNet that a linear classifier on the features gets right, by the
            authors' account; torchvision's: its own classifier.
        address: the authors'; always HTTPS.
        digest: what the authors publish of the file's digest, its first hexadecimal digits after
            `sha256:` or `md5:`; empty: nothing.
        preprocessing: of the pictures by which `top1` was measured.
    """

    name: str
    encoder: str
    paper: str
    epochs: int | None
    top1: float
    address: str
    digest: str = ""
    preprocessing: str = "resize(256)|crop(224)|imagenet"

    @property
    def file(self) -> str:
        return self.address.rpartition("/")[2]


_META = "https://dl.fbaipublicfiles.com"
_MOCO, _MOCO3 = f"{_META}/moco/moco_checkpoints", f"{_META}/moco-v3"
_SWAV, _DINO = f"{_META}/deepcluster/swav", f"{_META}/dino"
_SIMCLR = (_META + "/vissl/model_zoo/simclr_rn50_{}ep_simclr_8node_resnet_16_07_20.{}"
           "/model_final_checkpoint_phase{}.torch").format  # fmt: skip
_TORCH = "https://download.pytorch.org/models"
# From the authors' READMEs and hubconf.py, MoCo v3's CONFIG.md, VISSL's MODEL_ZOO.md and
# torchvision's resnet.py, whose file names hold the start of the SHA-256.
TABLE = tuple(Checkpoint(*row) for row in (
    ("moco_v1", "resnet50", "1911.05722", 200, 60.6,
     f"{_MOCO}/moco_v1_200ep/moco_v1_200ep_pretrain.pth.tar", "md5:b251726a"),
    ("moco_v2", "resnet50", "2003.04297", 800, 71.1,
     f"{_MOCO}/moco_v2_800ep/moco_v2_800ep_pretrain.pth.tar", "md5:a04e12f8"),
    ("moco_v2_200ep", "resnet50", "2003.04297", 200, 67.7,
     f"{_MOCO}/moco_v2_200ep/moco_v2_200ep_pretrain.pth.tar", "md5:59fd9945"),
    ("moco_v3", "resnet50", "2104.02057", 1000, 74.6, f"{_MOCO3}/r-50-1000ep/r-50-1000ep.pth.tar"),
    ("moco_v3", "vit_small", "2104.02057", 300, 73.2, f"{_MOCO3}/vit-s-300ep/vit-s-300ep.pth.tar"),
    ("moco_v3_100ep", "resnet50", "2104.02057", 100, 68.9,
     f"{_MOCO3}/r-50-100ep/r-50-100ep.pth.tar"),
    ("moco_v3_300ep", "resnet50", "2104.02057", 300, 72.8,
     f"{_MOCO3}/r-50-300ep/r-50-300ep.pth.tar"),
    ("simsiam", "resnet50", "2011.10566", 100, 68.1,
     f"{_META}/simsiam/models/100ep/pretrain/checkpoint_0099.pth.tar"),
    ("simclr", "resnet50", "2002.05709", 800, 69.7, _SIMCLR(800, "7e8feed1", 799)),
    ("simclr_100ep", "resnet50", "2002.05709", 100, 64.4, _SIMCLR(100, "8edb093e", 99)),
    ("simclr_200ep", "resnet50", "2002.05709", 200, 66.6, _SIMCLR(200, "a816c0ef", 199)),
    ("simclr_400ep", "resnet50", "2002.05709", 400, 67.7, _SIMCLR(400, "36b338ef", 399)),
    ("simclr_1000ep", "resnet50", "2002.05709", 1000, 68.8, _SIMCLR(1000, "afe428c7", 999)),
    ("swav", "resnet50", "2006.09882", 800, 75.3, f"{_SWAV}_800ep_pretrain.pth.tar"),
    ("swav_100ep", "resnet50", "2006.09882", 100, 72.1, f"{_SWAV}_100ep_pretrain.pth.tar"),
    ("swav_200ep", "resnet50", "2006.09882", 200, 73.9, f"{_SWAV}_200ep_pretrain.pth.tar"),
    ("swav_400ep", "resnet50", "2006.09882", 400, 74.6, f"{_SWAV}_400ep_pretrain.pth.tar"),
    ("barlow_twins", "resnet50", "2103.03230", 1000, 73.3,
     f"{_META}/barlowtwins/ep1000_bs2048_lrw0.2_lrb0.0048_lambd0.0051/resnet50.pth"),
    ("dino", "resnet50", "2104.14294", None, 75.3,
     f"{_DINO}/dino_resnet50_pretrain/dino_resnet50_pretrain.pth"),
    ("dino", "vit_small", "2104.14294", None, 77.0,
     f"{_DINO}/dino_deitsmall16_pretrain/dino_deitsmall16_pretrain.pth"),
    ("vissl_jigsaw", "resnet50", "1603.09246", 105, 48.6,  # 100 permutations, not the 2k it says
     f"{_META}/vissl/model_zoo/jigsaw_rn50_in1k_ep105_perm2k_jigsaw_8gpu_resnet_17_07_20.db174a43"
     "/model_final_checkpoint_phase104.torch"),
    ("torchvision", "resnet50", "1512.03385", 90, 76.1,
     f"{_TORCH}/resnet50-0676ba61.pth", "sha256:0676ba61"),
    ("torchvision", "resnet18", "1512.03385", 90, 69.8,
     f"{_TORCH}/resnet18-f37072fd.pth", "sha256:f37072fd"),
))  # fmt: skip


def listing() -> str:
    """The table for a terminal."""
    head = ("name", "encoder", "paper", "epochs", "top-1", "preprocessing")
    rows = [head, *(
        (checkpoint.name, checkpoint.encoder, f"arXiv {checkpoint.paper}", checkpoint.epochs or "-",
         checkpoint.top1, checkpoint.preprocessing) for checkpoint in TABLE
    )]  # fmt: skip
    lines = [f"{a:14} {b:10} {c:17} {d:>6} {e:>6}  {f}" for a, b, c, d, e, f in rows]
    note = "top-1: on ImageNet, of a linear classifier on the features (torchvision: of its own)"
    return "\n".join([*lines, note])


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
    return next((o.name for o in TABLE if (o.name, o.encoder, o.file) == wanted), None)
