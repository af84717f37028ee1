"""Copies of pictures with their captions inside; the originals are only read.

A caption becomes XMP's dc:description and EXIF's ImageDescription, both UTF-8 as the Metadata
Working Group's guidelines (2.0) have it, in the place of such texts that are there. Colour profile,
orientation and the rest of EXIF, XMP, IPTC and texts stay. Pillow writes the copies: a JPEG is
encoded anew with its own tables, in which a pixel may change by rounding, and pixels of PNG and
WebP stay, for which a lossy WebP becomes a lossless one.
"""

import io
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from captioning.cli import UserError, printable
from captioning.files import atomic_path, check_writable
from captioning.output.captions import Captioned

_PNG_XMP = "XML:com.adobe.xmp"  # the key of the text
_EMPTY_XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"></rdf:RDF></x:xmpmeta>'
    '<?xpacket end="w"?>'
).encode()


def plan(folder: Path, roots: Sequence[str | Path], images: Sequence[Path]) -> dict[Path, Path]:
    """Where the copy of each picture goes: into `folder`, in sub-folders as in one of the `roots`.

    The folder is made if need be. Nothing is overwritten.

    Raises:
        UserError: no files can be made there, a name exists, or two pictures would have the same.
    """
    sources: dict[Path, Path] = {}
    for image in dict.fromkeys(images):
        insides = [image.relative_to(root) for root in roots if image.is_relative_to(root)]
        inside = next((path for path in insides if path.parts and ".." not in path.parts), None)
        copy = folder / (inside or image.name)
        if os.path.lexists(copy):
            raise UserError(
                f"{printable(copy)}: exists, and --embed overwrites nothing; give another folder"
            )
        if sources.setdefault(copy, image) != image:
            raise UserError(f"{sources[copy]} and {image}: both copies would be {copy}")
    folder.mkdir(parents=True, exist_ok=True)
    check_writable(folder / ".captioned")  # a name that no folder of pictures has
    return {image: copy for copy, image in sources.items()}


def write(results: Sequence[Captioned], planned: Mapping[Path, Path]) -> list[str]:
    """Write the copies; return why there is none of the others.

    Raises:
        OSError: a copy cannot be written, such as on a full disk; those before it are whole.
    """
    failed, captions = [], {captioned.path: captioned.caption for captioned in results}
    for image, caption in captions.items():
        try:
            content = with_caption(image, caption)
        except Exception as error:  # Pillow raises many kinds for a damaged file
            failed.append(f"{image}: {error}")
            continue
        copy = planned[image]
        copy.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(copy) as temporary:
            temporary.write_bytes(content)
    print(f"wrote {len(captions) - len(failed)} copies with captions inside")
    return failed


def with_caption(path: str | os.PathLike, caption: str) -> bytes:
    """The content of a JPEG, PNG or WebP file with the caption in it.

    Raises:
        ValueError: it is another format, an animation, or has no room for the caption; or what else
            Pillow raises for a damaged file.
    """
    # Joiners stand within words of Persian and of Indian languages.
    caption = "".join(c if c.isprintable() or c in "\u200c\u200d" else " " for c in caption)
    try:
        image = Image.open(path, formats=("JPEG", "PNG", "WEBP"))  # others may run programs
    except UnidentifiedImageError as error:
        raise ValueError("only JPEG, PNG and WebP take a caption") from error
    with image:
        kind = "JPEG" if image.format == "MPO" else image.format  # that is several in one file
        if kind != "JPEG" and getattr(image, "n_frames", 1) > 1:
            raise ValueError("is an animation, of which there would be one picture")
        image.load()
        known = ("dpi", "icc_profile", "progressive")
        kept = {key: value for key, value in image.info.items() if key in known}
        exif, xmp = _exif(image, caption), _xmp(image.info.get("xmp") or _EMPTY_XMP, caption)
        copy = io.BytesIO()
        if kind == "JPEG":
            image.format = kind
            iptc = b"".join(
                b"\xff\xed" + (len(content) + 2).to_bytes(2, "big") + content
                for name, content in image.applist
                if name == "APP13"
            )
            image.save(copy, kind, quality="keep", exif=exif, xmp=xmp, extra=iptc, **kept)
        elif kind == "WEBP":
            image.save(copy, kind, lossless=True, exact=True, exif=exif, xmp=xmp, **kept)
        else:
            with open(path, "rb") as file:
                if file.read(26)[24:] in (b"\x10\x02", b"\x10\x04", b"\x10\x06"):
                    raise ValueError("has 16 bits a colour, of which Pillow would leave 8")
            texts = PngInfo()
            for key, text in image.text.items():
                if key != _PNG_XMP and not key.startswith("Raw profile type"):
                    texts.add_text(key, text)
            texts.add_itxt(_PNG_XMP, xmp.decode())
            image.save(copy, kind, pnginfo=texts, exif=exif, **kept)
    return copy.getvalue()


class Latin1(str):
    """Text of EXIF, which Pillow reads as Latin-1 and would write as ASCII."""

    def encode(self, *_) -> bytes:
        return super().encode("latin-1", "replace")


def _exif(image: Image.Image, caption: str) -> Image.Exif:
    exif = image.getexif()
    inner = [exif.get_ifd(tag) for tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo) if tag in exif]
    for directory in (exif, *inner):
        texts = {tag: text for tag, text in directory.items() if isinstance(text, str)}
        directory.update((tag, Latin1(text)) for tag, text in texts.items())
    exif[ExifTags.Base.ImageDescription] = caption.encode()
    return exif


def _xmp(packet: bytes, caption: str) -> bytes:
    """An XMP packet (ISO 16684-1) with the caption as its only dc:description."""
    description = (
        '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f'<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{escape(caption)}</rdf:li>'
        "</rdf:Alt></dc:description></rdf:Description>"
    )
    if len(packet) > 1 << 16:  # in a JPEG there is no more room, and a search takes no long time
        raise ValueError("its XMP has more than 64 KB")
    packet = re.sub(rb"<dc:description\b[^>]*?(/>|>.*?</dc:description>)", b"", packet, flags=re.S)
    packet = re.sub(rb"""\sdc:description=("[^"]*"|'[^']*')""", b"", packet)
    head, close, tail = packet.rpartition(b"</rdf:RDF>")
    if not close:
        raise ValueError("its XMP is damaged, or spelled in an uncommon way")
    return head + description.encode() + close + tail
