#!/usr/bin/env python3
"""Stage 5: a caption for any picture, or for each picture of a folder."""

from captioning.caption_script import caption_images
from captioning.cli import run


def main() -> None:
    caption_images(__doc__)


if __name__ == "__main__":
    run(main)
