"""The table of decoders: what a new one needs is an entry here and its class in a module beside.

Nothing here imports Keras, so that help texts come at once.
"""

import pkgutil
from typing import Any, NamedTuple


class Entry(NamedTuple):
    """What is to be known of a decoder.

    Args:
        model: `module:class`, of a registered subclass of `Decoder`.
        grid: whether it looks at a grid of vectors, not at one vector per image.
        defaults: what stage 2 trains it with unless the user says otherwise. What an argument
            stands for is said in its help; what is here is which decoder wants what.
        own: arguments of stage 2 that this decoder alone has, and what its class calls them.
    """

    model: str
    grid: bool
    defaults: dict[str, Any]
    own: dict[str, str] = {}  # noqa: RUF012 - it is never changed


_COMMON = {"learning_rate": 1e-3, "schedule": "cosine", "warmup": 0.05, "normalize": False}
_OF_GRIDS = {
    **_COMMON,
    "features": "features.h5",
    "weight_decay": 0.01,
    "clip_norm": 1.0,
    "dropout": 0.3,
    "label_smoothing": 0.1,
    "tied_embedding": True,
    "min_count": 5,
}
TABLE = {
    "merge": Entry(
        "captioning.decoders.merge:MergeDecoder",
        False,
        {
            **_COMMON,
            "features": "features.pkl",
            "weight_decay": 0.0,
            "clip_norm": 0.0,
            "dropout": 0.5,
            "output_dropout": 0.0,
            "label_smoothing": 0.0,
            "tied_embedding": False,
            "min_count": 1,
        },
    ),
    "attention": Entry(
        "captioning.decoders.attention:AttentionDecoder",
        True,
        {**_OF_GRIDS, "output_dropout": 0.5, "attention_penalty": 0.3},
        own={"attention_penalty": "penalty"},
    ),
    "transformer": Entry(
        "captioning.decoders.transformer:TransformerDecoder",
        True,
        {**_OF_GRIDS, "output_dropout": 0.0, "learning_rate": 5e-4},
    ),
}
DECODERS = tuple(TABLE)


def decoder_class(name: str) -> type:
    """The class of the decoder `name`; this imports Keras."""
    return pkgutil.resolve_name(TABLE[name].model)
