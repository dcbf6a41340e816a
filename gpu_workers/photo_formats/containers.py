"""What Pillow does not tell of a file: PNG's `cICP`, colour boxes of AVIF and JPEG 2000, brands, cut files.

Every reader takes any bytes and gives up quietly where they make no sense.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

#: Boxes at one level, and chunks before the pixels, that are looked at.
_MOST_PARTS = 4096
#: Brands of files with AV1 pictures, and with HEVC ones (ISO/IEC 23008-12, annex B; AV1 Image File Format).
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_OPEN_BRANDS = frozenset({b"mif1", b"mif2", b"msf1", b"miaf"})


@dataclass(frozen=True)
class CodePoints:
    """Colours by code points of H.273; see code_points.py."""

    primaries: int
    transfer: int


def png_code_points(data: bytes) -> CodePoints | None:
    """Return what the `cICP` chunk of a PNG states (PNG third edition, section 11.3.2.6)."""
    at = 8
    for _ in range(_MOST_PARTS):
        if at + 8 > len(data):
            break
        length, name = struct.unpack_from(">I4s", data, at)
        if name == b"IDAT":
            break
        if name == b"cICP" and length == 4 and at + 12 <= len(data):
            primaries, transfer, matrix, _ = data[at + 8 : at + 12]
            # Pixels of a PNG are RGB: any other matrix makes the chunk invalid.
            return CodePoints(primaries, transfer) if matrix == 0 else None
        at += 12 + length
    return None


def heif_kind(data: bytes) -> str | None:
    """Return "AVIF" or "HEIC" for a picture file of ISO/IEC 23008-12, by its brands; None for others."""
    if data[4:8] != b"ftyp":
        return None
    size = min(struct.unpack_from(">I", data)[0], 16 + 4 * 64, len(data))
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, size, 4))}
    if data[8:12] in _AVIF_BRANDS:
        return "AVIF"
    if data[8:12] in _HEIC_BRANDS:
        return "HEIC"
    if data[8:12] in _OPEN_BRANDS:
        return "AVIF" if brands & _AVIF_BRANDS and not brands & _HEIC_BRANDS else "HEIC"
    return None


def is_cut_short(data: bytes) -> bool:
    """Return whether the last box at the top of a file reaches past its end."""
    return any(end > len(data) for _, _, end in _boxes(data, 0, len(data)))


def avif_code_points(data: bytes) -> CodePoints | None:
    """Return what the `nclx` box of the primary picture of an AVIF states."""
    for body in _primary_properties(data, b"colr"):
        if body[:4] == b"nclx" and len(body) >= 8:
            return CodePoints(*struct.unpack_from(">HH", body, 4))
    return None


def jpeg2000_profile(data: bytes) -> bytes | None:
    """Return the ICC profile of a JP2 file (ISO/IEC 15444-1, annex I.5.3.3)."""
    for name, start, end in _boxes(data, 0, len(data)):
        if name == b"jp2h":
            for inner, first, last in _boxes(data, start, min(end, len(data))):
                if inner == b"colr" and data[first : first + 1] == b"\x02":
                    return data[first + 3 : last]
    return None


def bmp_profile(data: bytes) -> bytes | None:
    """Return the ICC profile in a bitmap with a BITMAPV5HEADER (Windows GDI)."""
    if len(data) < 14 + 124 or struct.unpack_from("<I", data, 14)[0] != 124:
        return None
    # bV5CSType, bV5ProfileData, bV5ProfileSize; PROFILE_EMBEDDED is "MBED".
    if struct.unpack_from("<I", data, 14 + 56)[0] != 0x4D424544:
        return None
    offset, size = struct.unpack_from("<II", data, 14 + 112)
    return data[14 + offset : 14 + offset + size] or None


def _primary_properties(data: bytes, wanted: bytes) -> list[bytes]:
    """Return the bodies of one kind of property of the primary item (ISO/IEC 14496-12, section 8.11)."""
    try:
        top = {name: (start, end) for name, start, end in _boxes(data, 0, len(data))}
        start, end = top[b"meta"]
        inside = {name: (first, last) for name, first, last in _boxes(data, start + 4, end)}
        first, _ = inside[b"pitm"]
        primary = struct.unpack_from(">I" if data[first] else ">H", data, first + 4)[0]
        parts = {name: (first, last) for name, first, last in _boxes(data, *inside[b"iprp"])}
        properties = list(_boxes(data, *parts[b"ipco"]))
        chosen = [properties[index - 1] for index in _associations(data, parts[b"ipma"][0], primary) if index]
    except (KeyError, IndexError, struct.error):
        return []
    return [data[first:last] for name, first, last in chosen if name == wanted]


def _associations(data: bytes, at: int, primary: int) -> list[int]:
    """Return the property numbers, from 1, that an `ipma` box gives an item."""
    version, wide = data[at], data[at + 3] & 1
    count = struct.unpack_from(">I", data, at + 4)[0]
    at += 8
    for _ in range(min(count, _MOST_PARTS)):
        item = struct.unpack_from(">I" if version else ">H", data, at)[0]
        at += 4 if version else 2
        number = data[at]
        at += 1
        step = 2 if wide else 1
        if item == primary:
            mask = 0x7FFF if wide else 0x7F
            layout = f">{number}{'H' if wide else 'B'}"
            return [entry & mask for entry in struct.unpack_from(layout, data, at)]
        at += step * number
    return []


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of the body of each box; the last may reach past the end."""
    for _ in range(_MOST_PARTS):
        if start + 8 > end:
            return
        size, name = struct.unpack_from(">I4s", data, start)
        body = start + 8
        if size == 1:
            if start + 16 > end:
                return
            size = struct.unpack_from(">Q", data, body)[0]
            body += 8
        elif size == 0:
            size = end - start
        if size < body - start:
            return
        yield name, body, start + size
        start += size
