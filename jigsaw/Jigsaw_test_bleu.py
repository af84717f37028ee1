#!/usr/bin/env python3
"""Stage 3: BLEU-1 to 4 of the captions for the vectors of a puzzle solver."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from jigsaw.stages import run_stage

DEFAULTS = (
    "--model {folder}/checkpoints/best_model.keras --features {folder}/features.pkl "
    "--descriptions {folder}/descriptions.txt"
)

if __name__ == "__main__":
    run_stage("3_BLEU.py", __doc__, DEFAULTS)
