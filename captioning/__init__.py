"""What more than one script of the captioning pipeline uses; one module, one idea."""

import importlib.util
import os
import sys

# A script imports this first: without the check its first line would be a traceback.
_PACKAGES = "PIL h5py keras matplotlib nltk numpy pooch safetensors tqdm".split()
_missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
if _missing:
    print(
        f"{os.path.basename(sys.argv[0])}: not installed here: {', '.join(_missing)}; run "
        "`source .venv/bin/activate` first, or `make demo`, which makes that environment",
        file=sys.stderr,
    )
    sys.exit(2)


def __getattr__(name: str):
    """`from captioning import Captioner`, which imports Keras only then."""
    if name != "Captioner":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from captioning.cli import import_keras

    import_keras()
    from captioning.captioner import Captioner

    return Captioner
