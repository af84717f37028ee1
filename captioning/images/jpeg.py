"""Damage inside JPEG files that decoders read over.

libjpeg answers damaged data with a warning and a picture that is grey or garbled from there on;
Pillow passes on neither. Most damage shows in the file's structure, though: in the compressed data
the byte FF comes only before 00 or as a marker of a known kind (ITU-T T.81, section B.1.1).
"""

import re

_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
# Between segments decoders pass over bytes until the next marker. In the compressed part that would
# pass over damage, too: there no more than zeros, and FF before a zero, may stand before a marker.
_NEXT_MARKER = re.compile(rb"\xff+([^\x00\xff])")
_MARKER = re.compile(rb"(?:\xff*\x00)*\xff+([^\x00\xff])")
# The end of compressed data: a marker that is neither a stuffed FF nor a restart (D0 to D7).
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
# Tables, frames, scans, restart interval, application data and comments.
_SEGMENTS = {*range(0xC0, 0xD0), *range(0xDA, 0xE0), *range(0xE0, 0xF0), 0xFE} - {0xC8}


def damage(data: bytes) -> str | None:
    """What is wrong with the structure of a JPEG file, or None.

    A file that is cut off passes, because decoders notice that themselves, and so do stray bytes
    between segments, which change no pixel. What follows the end of the picture is not looked at:
    telephones keep further pictures there.
    """
    at, compressed = 2, False  # after the marker that every JPEG begins with
    while at < len(data):
        marker = _MARKER.match(data, at) if compressed else _NEXT_MARKER.search(data, at)
        if marker is None:
            return f"no marker at byte {at}"
        kind = marker[1][0]
        if kind == _END_OF_IMAGE:
            return None
        if kind not in _SEGMENTS:
            return f"an unknown marker at byte {at}"
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], "big")
        if kind == _START_OF_SCAN:
            compressed = True
            end = _END_OF_SCAN.search(data, at)
            if end is None:
                return None
            at = end.start()
    return None
