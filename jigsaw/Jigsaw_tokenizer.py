#!/usr/bin/env python3
"""Stage 4: the word numbers of jigsaw_captions.py's descriptions."""

from stages import run_stage

if __name__ == "__main__":
    run_stage(__file__, __doc__)
