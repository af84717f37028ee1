#!/usr/bin/env python3
"""Caption images with a model of your choice: the same as 5_test.py."""

from captioning.caption_script import caption_images
from captioning.cli import run


def main() -> None:
    caption_images(__doc__)


if __name__ == "__main__":
    run(main)
