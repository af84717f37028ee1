"""Sheets of pictures: PNGs of ours, which are told from the photographs of a user."""

from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from captioning.cli import UserError
from captioning.files import atomic_path

MARK = "sheet of captioned pictures"  # what a sheet's PNG has as "Software"


def save_sheet(sheet: Image.Image, path: str | Path) -> None:
    """Write a sheet as PNG, marked as one."""
    about = PngInfo()
    about.add_text("Software", MARK)
    with atomic_path(path) as temporary:
        sheet.save(temporary, "PNG", pnginfo=about)


def check_sheet(path: str | Path) -> None:
    """Refuse to write a sheet over anything but an earlier sheet.

    `--output a.html *.png` takes photographs for outputs.

    Raises:
        UserError: `path` exists, and is no sheet.
    """
    path = Path(path)
    if path.exists() and not _is_sheet(path):
        raise UserError(
            f"{path}: exists, and is no sheet of captions, so it is not written over; give another "
            "name (and pictures before the options)"
        )


def _is_sheet(path: Path) -> bool:
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return image.info.get("Software") == MARK
    except Exception:  # no PNG, or a damaged one; Pillow raises many kinds
        return False
