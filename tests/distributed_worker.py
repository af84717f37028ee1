"""One of several processes that train together; run by `contrastive/test_backends.py`.

Arguments: output folder, methods. Process 0 writes the history of each to a folder of its own.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from captioning.distribution import use_all_devices
from contrastive.methods import build_method
from contrastive.presets import settings_for
from contrastive.training import PretextRun
from tests.pretext_tools import patterns, tiny_encoder, views


def main() -> None:
    output, methods = Path(sys.argv[1]), sys.argv[2:]
    portion = use_all_devices()[:2]
    for method in methods:
        folder = output / method
        folder.mkdir(parents=True, exist_ok=True)
        chosen = settings_for(
            method, batch_size=16, pictures=64, epochs=3, optimizer="sgd", learning_rate=0.05,
            momentum=0.9, queue_size=32,
        )  # fmt: skip
        model = build_method(
            chosen, tiny_encoder(), views(16, method), steps=12, batch_size=16, seed=0
        )
        settings = {**chosen._asdict(), "batch_size": 16, "steps": 12, "seed": 0}
        run = PretextRun(
            model, patterns(64), folder, settings, {"image_size": 24}, "tiny.weights.h5", portion=portion
        )
        run.train()


if __name__ == "__main__":
    main()
