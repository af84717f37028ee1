#!/usr/bin/env python3
"""Stage 1, captions: cleaned descriptions."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from jigsaw.stages import run_stage

DEFAULTS = "--only captions --descriptions {folder}/descriptions.txt"

if __name__ == "__main__":
    run_stage("1_data_preprocessor.py", __doc__, DEFAULTS)
