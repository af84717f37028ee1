#!/usr/bin/env python3
"""Stage 1, captions: cleaned descriptions."""

from stages import run_stage

if __name__ == "__main__":
    run_stage(__file__, __doc__)
