#!/usr/bin/env python3
"""Stage 3: BLEU-1 to 4 of the captions for the vectors of a puzzle solver."""

from stages import run_stage

if __name__ == "__main__":
    run_stage(__file__, __doc__)
