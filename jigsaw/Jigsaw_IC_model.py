#!/usr/bin/env python3
"""Stage 2: a caption decoder for the vectors of Jigsaw_feature_extraction.py."""

from stages import run_stage

if __name__ == "__main__":
    run_stage(__file__, __doc__)
