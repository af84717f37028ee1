#!/usr/bin/env python3
"""Download Flickr8k and unpack it in the layout that the scripts expect.

    python -m tools.fetch_flickr8k

Until the folder is whole and gets its name, everything lies beside it, in FOLDER.unfinished.
"""

import os
import shutil
import sys
import zipfile
import zlib
from pathlib import Path, PureWindowsPath

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from captioning.cli import ArgumentParser, UserError, run
from captioning.encoders.public import retrieve
from captioning.files import lock

FOLDER = "data/flickr8k"
ADDRESS = "https://github.com/jbrownlee/Datasets/releases/download/Flickr8k"
IMAGES, TEXT = "Flicker8k_Dataset", "Flickr8k_text"  # the first is spelled so
ZIPS = {"Flickr8k_text.zip": TEXT, "Flickr8k_Dataset.zip": IMAGES}
CAPTIONS = "Flickr8k.token.txt"
SPLITS = [f"Flickr_8k.{split}Images.txt" for split in ("train", "dev", "test")]
NOTICE = """Flickr8k: downloads 1.1 GB, and needs 2.2 GB of free disk to unpack it.
The images are for research and education only: the terms of the University of Illinois."""
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError)


def missing(folder: Path) -> str:
    """The first file that the folder lacks of the data set, or has empty; "" if it is whole."""
    texts = [f"{TEXT}/{name}" for name in (CAPTIONS, *SPLITS)]
    lists = [folder / text for text in texts[1:] if (folder / text).is_file()]
    named = [name for path in lists for name in path.read_text("utf-8", "replace").split()]
    for name in (*texts, *(f"{IMAGES}/{name}" for name in named)):
        if not (folder / name).is_file() or not (folder / name).stat().st_size:
            return name
    return ""


def count(folder: Path) -> str:
    """How many images there are."""
    return f"{len([*(folder / IMAGES).glob('*.jpg')]):,} images"


def unpack(path: Path, target: Path) -> None:
    """Unpack a zip's files, less those that a Mac adds, into a new folder without folders in it.

    Raises:
        UserError: the zip is damaged; it is removed.
    """
    print(f"unpacking {path.name}", flush=True)
    target.mkdir(parents=True)
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                name = PureWindowsPath(member.filename).name  # parted at / and \
                hidden = "__MACOSX" in member.filename or name.startswith(".")
                if not (hidden or member.is_dir()):
                    with archive.open(member) as source, open(target / name, "wb") as file:
                        shutil.copyfileobj(source, file)
    except DAMAGED as error:
        path.unlink()
        raise UserError(
            f"{path}: could not be unpacked ({str(error) or 'it is cut short'}) and is removed; "
            "run the command again to fetch it anew"
        ) from error


def main() -> None:
    parser = ArgumentParser(__doc__.split("\n")[0], epilog="example:" + __doc__.split("\n")[2])
    parser.add_argument("--folder", type=Path, default=Path(FOLDER), help="folder to create")
    parser.add_argument("--base-url", metavar="URL", default=ADDRESS, help="address of the zips")
    args = parser.parse_args()
    work = Path(f"{args.folder}.unfinished")
    if os.path.lexists(args.folder):
        if lacking := missing(args.folder):
            raise UserError(
                f"{args.folder}: is there, but is not the whole of Flickr8k ({lacking} is missing);"
                " move it away, or give another --folder"
            )
        shutil.rmtree(work, ignore_errors=True)  # of a run that was killed at its very end
        print(f"{args.folder} exists already, with {count(args.folder)}")
        return

    print(NOTICE, flush=True)
    work.mkdir(parents=True, exist_ok=True)
    lock(work)
    whole = work / "flickr8k"
    shutil.rmtree(whole, ignore_errors=True)
    for left in work.glob("tmp*"):  # what pooch was fetching when an earlier run was killed
        left.unlink()
    for name, inside in ZIPS.items():
        if not (work / name).is_file():
            # No digest is known; unpacking checks the checksums of a zip's members.
            retrieve(f"{args.base_url.rstrip('/')}/{name}", work / name)
        unpack(work / name, whole / inside)
    if lacking := missing(whole):
        shutil.rmtree(work)
        raise UserError(f"{args.base_url}: is not the whole of Flickr8k ({lacking} is missing)")
    os.replace(whole, args.folder)
    shutil.rmtree(work, ignore_errors=True)
    default = args.folder == Path(FOLDER)
    link = "" if default else f"ln -s {args.folder.absolute()} {FOLDER} && "
    print(f"{args.folder}: {count(args.folder)}; next: {link}python 1_data_preprocessor.py")


if __name__ == "__main__":
    run(main)
