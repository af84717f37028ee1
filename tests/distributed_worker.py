"""One of several processes that train together; run by `contrastive/test_backends.py`.

Arguments: output folder, methods. Process 0 writes the history of each to a folder of its own.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from captioning.distribution import use_all_devices
from tests.contrastive.test_training import make_run

if __name__ == "__main__":
    options = {"portion": use_all_devices()[:2]}
    given = {"optimizer": "sgd", "learning_rate": 0.05, "queue_size": 32}
    for method in sys.argv[2:]:
        make_run(Path(sys.argv[1]) / method, method, steps=12, options=options, **given).train()
