"""A caption inside a picture's file, beside the pixels, which stay the bytes that they were.

It becomes XMP's dc:description and EXIF's ImageDescription, both UTF-8 as the Metadata Working
Group's guidelines (2.0) have it, in the place of such texts that are there. The rest of EXIF and
XMP stays, and so does every other part of the file.
"""

import re
import zlib
from collections.abc import Iterator
from xml.sax.saxutils import escape

_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"  # how segments of JPEG begin
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_XMP = b"XML:com.adobe.xmp\0"
_IMAGE_DESCRIPTION, _ASCII = 270, 2  # tag and type, EXIF 2.32
_LARGEST_XMP = 1 << 16  # bytes, unpacked; in a JPEG there is no more room


def with_caption(data: bytes, caption: str) -> bytes:
    """The file with the caption in it; `data` is a whole JPEG, PNG or WebP.

    Raises:
        ValueError: it is another format, or there is no room, or damage where the caption goes.
    """
    # Joiners stand within words of Persian and of Indian languages.
    caption = "".join(c if c.isprintable() or c in "\u200c\u200d" else " " for c in caption)
    if data[:2] == b"\xff\xd8":
        return _jpeg(data, caption)
    if data[:8] == _PNG:
        return _png(data, caption)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data, caption)
    raise ValueError("only JPEG, PNG and WebP take a caption")


def _jpeg(data: bytes, caption: str) -> bytes:
    """APP1 segments go first, but for JFIF's own (ITU-T T.871, 10.1); where there are, in place."""
    places: dict[bytes, tuple[int, int]] = {}
    first = at = 2
    while marker := re.compile(rb"\xff+([^\x00\xff])").search(data, at):
        if marker[1] in b"\xda\xd9":
            break
        end = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
        content = data[marker.end() + 2 : end]
        if marker[1] == b"\xe0" and content.startswith(b"JFIF\0") and at == 2:
            first = end
        for kind in (_EXIF, _XMP):
            if marker[1] == b"\xe1" and content.startswith(kind):
                places.setdefault(kind, (marker.end() - 2, end))
        at = end

    exif_place = places.get(_EXIF, (first, first))
    xmp_place = places.get(_XMP, (exif_place[1], exif_place[1]))
    changes = []
    for kind, change, (start, end) in ((_XMP, _xmp, xmp_place), (_EXIF, _exif, exif_place)):
        content = kind + change(data[start + 4 + len(kind) : end], caption)
        if len(content) > 0xFFFF - 2:
            raise ValueError("its EXIF or XMP has no room for a caption")
        segment = b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content
        changes.append((start, end, segment))
    # Later places first, so that the others stay right; at one place XMP, so that it comes second.
    for start, end, segment in sorted(changes, key=lambda change: change[:2], reverse=True):
        data = data[:start] + segment + data[end:]
    return data


def _png(data: bytes, caption: str) -> bytes:
    """Chunks eXIf and iTXt right after IHDR; those that there were go."""
    exif = xmp = b""
    kept, end = [], 8
    for start, kind, content in _chunks(data, 8, "big", extra=4):
        end = start + 12 + len(content)
        if kind == b"eXIf":
            exif = content
        elif kind == b"iTXt" and content.startswith(_PNG_XMP):
            flags, text = content[len(_PNG_XMP) :][:2], content[len(_PNG_XMP) + 2 :]
            text = text.split(b"\0", 2)[2]  # after a language and a translated keyword
            xmp = zlib.decompressobj().decompress(text, _LARGEST_XMP + 1) if flags[0] else text
        elif kind in (b"tEXt", b"zTXt") and content.startswith(b"Raw profile type exif\0"):
            raise ValueError("its EXIF is kept as text, in ImageMagick's old way")
        else:
            kept.append(data[start:end])
    new = [
        len(content).to_bytes(4, "big") + kind + content
        + zlib.crc32(kind + content).to_bytes(4, "big")
        for kind, content in (
            (b"eXIf", _exif(exif.removeprefix(_EXIF), caption)),
            (b"iTXt", _PNG_XMP + b"\0\0\0\0" + _xmp(xmp, caption)),
        )
    ]  # fmt: skip
    return b"".join([_PNG, kept[0], *new, *kept[1:], data[end:]])


def _webp(data: bytes, caption: str) -> bytes:
    """Chunks EXIF and XMP at the end, which VP8X at the beginning has to announce (RFC 9649)."""
    chunks = [(kind, content) for _, kind, content in _chunks(data, 12, "little", extra=0)]
    found = {b"EXIF": b"", b"XMP ": b"", **dict(reversed(chunks))}
    kind, content = chunks[0]
    if kind == b"VP8X":
        extended = bytearray(content)
    else:  # a plain picture: width and height less 1 in 14 bits each, or in 16 and not less
        extended = bytearray(10)
        if kind == b"VP8L":
            bits = int.from_bytes(content[1:5], "little")
            width, height = bits & 0x3FFF, bits >> 14 & 0x3FFF
            extended[0] = 0x10 * (bits >> 28 & 1)  # transparency
        else:
            width, height = (
                (int.from_bytes(content[at : at + 2], "little") & 0x3FFF) - 1 for at in (6, 8)
            )
        extended[4:] = width.to_bytes(3, "little") + height.to_bytes(3, "little")
    extended[0] |= 0x08 | 0x04  # EXIF and XMP
    kept = [one for one in chunks if one[0] not in (b"VP8X", b"EXIF", b"XMP ")]
    exif = found[b"EXIF"].removeprefix(_EXIF)  # which some programs write here, too
    new = [(b"EXIF", _exif(exif, caption)), (b"XMP ", _xmp(found[b"XMP "], caption))]
    body = b"WEBP" + b"".join(
        kind + len(content).to_bytes(4, "little") + content + b"\0" * (len(content) % 2)
        for kind, content in [(b"VP8X", bytes(extended)), *kept, *new]
    )
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def _chunks(data: bytes, at: int, order: str, extra: int) -> Iterator[tuple[int, bytes, bytes]]:
    """Where each chunk of a PNG (big, with 4 bytes `extra`) or WebP begins, kind, and content."""
    while at + 8 <= len(data):
        head = data[at : at + 8]
        kind, size = (head[4:], head[:4]) if order == "big" else (head[:4], head[4:])
        length = int.from_bytes(size, order)
        if at + 8 + length > len(data):
            raise ValueError("its parts are damaged")
        yield at, kind, data[at + 8 : at + 8 + length]
        at += 8 + length + extra + (0 if extra else length % 2)
        if kind == b"IEND":
            return


def _exif(block: bytes, caption: str) -> bytes:
    """A TIFF block with the caption in its first directory.

    The directory is written anew behind the block, and what it points to stays where it is: makers'
    notes have addresses of their own in them.
    """
    block = block or b"MM\0*\0\0\0\x08" + bytes(6)  # an empty directory
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(block[:4])
    at = int.from_bytes(block[4:8], order) if order else 0
    count = int.from_bytes(block[at : at + 2], order) if order else 0
    end = at + 2 + 12 * count
    if not order or at < 8 or len(block) < end:
        raise ValueError("its EXIF is damaged")
    text = caption.encode() + b"\0"
    text += b"\0" * max(0, 5 - len(text))  # up to 4 bytes would stand in the entry itself
    block += b"\0" * (len(block) % 2)
    entry = b"".join(
        value.to_bytes(size, order)
        for value, size in ((_IMAGE_DESCRIPTION, 2), (_ASCII, 2), (len(text), 4), (len(block), 4))
    )
    entries = [block[first : first + 12] for first in range(at + 2, end, 12)]
    tags = {int.from_bytes(one[:2], order): one for one in entries} | {_IMAGE_DESCRIPTION: entry}
    text += b"\0" * (len(text) % 2)
    directory = len(tags).to_bytes(2, order) + b"".join(tags[tag] for tag in sorted(tags))
    following = (block[end : end + 4] + bytes(4))[:4]  # where a thumbnail's directory is
    start = (len(block) + len(text)).to_bytes(4, order)
    return block[:4] + start + block[8:] + text + directory + following


def _xmp(packet: bytes, caption: str) -> bytes:
    """An XMP packet (ISO 16684-1) with the caption as its only dc:description."""
    packet = packet or (
        b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>'
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"></rdf:RDF>'
        b'</x:xmpmeta><?xpacket end="w"?>'
    )
    if len(packet) > _LARGEST_XMP:
        raise ValueError("its XMP has more than 64 KB")
    description = (
        '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/">'
        f'<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{escape(caption)}</rdf:li>'
        "</rdf:Alt></dc:description></rdf:Description>"
    )
    packet = re.sub(rb"<dc:description\b[^>]*?(/>|>.*?</dc:description>)", b"", packet, flags=re.S)
    packet = re.sub(rb"""\sdc:description=("[^"]*"|'[^']*')""", b"", packet)
    packet = re.sub(rb"(?<!\s)\s+(?=<\?xpacket end)", b"", packet)  # room that was kept for changes
    packet = re.sub(rb"(<rdf:RDF\b[^>]*?)/>", rb"\1></rdf:RDF>", packet)
    head, close, tail = packet.rpartition(b"</rdf:RDF>")
    if not close:
        raise ValueError("its XMP is damaged, or spelled in an uncommon way")
    return head + description.encode() + close + tail
