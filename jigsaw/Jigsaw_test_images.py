#!/usr/bin/env python3
"""Stage 5: a caption for any picture, by way of a puzzle solver."""

from stages import run_stage

if __name__ == "__main__":
    run_stage(__file__, __doc__)
