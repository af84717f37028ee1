#!/usr/bin/env python3
"""Stage 2: a caption decoder for the vectors of Jigsaw_feature_extraction.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from jigsaw.stages import run_stage

DEFAULTS = (
    "--features {folder}/features.pkl --descriptions {folder}/descriptions.txt "
    "--output-dir {folder}"
)

if __name__ == "__main__":
    run_stage("2_train_IC_model.py", __doc__, DEFAULTS)
