#!/usr/bin/env python3
"""Stage 5: a caption for any picture, by way of a puzzle solver."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from jigsaw.stages import run_stage

DEFAULTS = (
    "--model {folder}/checkpoints/best_model.keras --tokenizer {folder}/tokenizer.pkl "
    "--weights {weights}"
)

if __name__ == "__main__":
    run_stage("5_test.py", __doc__, DEFAULTS)
