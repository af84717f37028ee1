#!/usr/bin/env python3
"""Stage 1, pictures: vectors from a trained puzzle solver, or from its trunk."""

from stages import run_stage

if __name__ == "__main__":
    run_stage(__file__, __doc__)
