#!/usr/bin/env python3
"""Stage 5: a caption for any picture, or for each picture of a folder."""

from captioning.caption_script import main
from captioning.cli import run

if __name__ == "__main__":
    run(lambda: main(__doc__))
