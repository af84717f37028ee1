"""One of several processes that train together; run by `contrastive/test_backends.py`.

Arguments: output folder, methods. Process 0 writes the history of each to a folder of its own.
"""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from captioning.distribution import use_all_devices
from contrastive.data import batches
from contrastive.presets import build_method, settings_for, views_for
from contrastive.training import PretextRun
from tests.pretext_tools import patterns, tiny_encoder


def main() -> None:
    output, methods = Path(sys.argv[1]), sys.argv[2:]
    portion = use_all_devices()[:2]
    given = {"optimizer": "sgd", "learning_rate": 0.05, "momentum": 0.9, "queue_size": 32}
    run = {"batch_size": 16, "steps": 12, "seed": 0, "encoder": "tiny", "pictures": 64}
    stream = partial(batches, patterns(64), seed=0)
    for method in methods:
        folder = output / method
        folder.mkdir(parents=True, exist_ok=True)
        settings = settings_for(given | {"method": method}, batch_size=16, images=64, epochs=3)
        settings |= run
        model = build_method(settings, tiny_encoder(), views_for(method, 16))
        recipe = {"image_size": 24}
        PretextRun(model, stream, folder, settings, recipe, portion=portion).train()


if __name__ == "__main__":
    main()
