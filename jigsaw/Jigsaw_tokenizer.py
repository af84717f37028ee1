#!/usr/bin/env python3
"""Stage 4: the word numbers of jigsaw_captions.py's descriptions."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from jigsaw.stages import run_stage

DEFAULTS = "--descriptions {folder}/descriptions.txt --output {folder}/tokenizer.pkl"

if __name__ == "__main__":
    run_stage("4_tokenizer.py", __doc__, DEFAULTS)
