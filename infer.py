#!/usr/bin/env python3
"""A caption for any picture, by a model of your choice: the same as 5_test.py."""

from captioning.caption_script import main
from captioning.cli import run

if __name__ == "__main__":
    run(lambda: main(__doc__))
