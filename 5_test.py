#!/usr/bin/env python3
"""Stage 5: caption images, or all images of a folder."""

from captioning.caption_script import caption_images
from captioning.cli import run


def main() -> None:
    caption_images(__doc__)


if __name__ == "__main__":
    run(main)
