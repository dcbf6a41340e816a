"""HEIC files of many kinds around pictures that heif-enc coded once (samples/heic)."""

import struct
from dataclasses import dataclass, field
from pathlib import Path

SAMPLES = Path(__file__).resolve().parent / "samples" / "heic"
#: EXIF orientation to counterclockwise quarter turns (irot) and a mirror afterwards (imir): 0 swaps top and
#: bottom, 1 left and right (ISO/IEC 23008-12:2022, sections 6.5.10 and 6.5.12).
TRANSFORMS: dict[int, tuple[int, int | None]] = {
    1: (0, None),
    2: (0, 1),
    3: (2, None),
    4: (0, 0),
    5: (1, 0),
    6: (3, None),
    7: (1, 1),
    8: (1, None),
}


def box(name: bytes, body: bytes) -> bytes:
    """Return a box."""
    return struct.pack(">I", 8 + len(body)) + name + body


def full_box(name: bytes, body: bytes, version: int = 0, flags: int = 0) -> bytes:
    """Return a box with version and flags."""
    return box(name, struct.pack(">I", version << 24 | flags) + body)


def find_boxes(data: bytes) -> dict[bytes, bytes]:
    """Return the bodies of the boxes at one level; of several of a name the first."""
    found: dict[bytes, bytes] = {}
    at = 0
    while at + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        found.setdefault(name, data[at + 8 : at + size])
        at += size
    return found


@dataclass
class Item:
    """A picture or its metadata in a file."""

    kind: bytes
    data: bytes
    #: Property boxes, with whether a reader must know them.
    properties: list[tuple[bytes, bool]] = field(default_factory=list)
    #: Kind of reference to numbers of items, from 1.
    refers: tuple[bytes, list[int]] | None = None
    hidden: bool = False


def coded(name: str, width: int, height: int, **fields) -> Item:
    """Return the picture of a sample."""
    sample = (SAMPLES / f"{name}.heic").read_bytes()
    top = find_boxes(sample)
    properties = find_boxes(find_boxes(find_boxes(top[b"meta"][4:])[b"iprp"])[b"ipco"])
    kept = [(box(b"hvcC", properties[b"hvcC"]), True), (size_box(width, height), False)]
    return Item(b"hvc1", _picture_bytes(sample), kept, **fields)


def _picture_bytes(sample: bytes) -> bytes:
    """Return the coded bytes of the primary picture, which heif-enc keeps in one extent (`iloc`)."""
    inside = find_boxes(find_boxes(sample)[b"meta"][4:])
    primary = struct.unpack_from(">H", inside[b"pitm"], 4)[0]
    iloc = inside[b"iloc"]
    version, sizes = iloc[0], struct.unpack_from(">H", iloc, 4)[0]
    offset_size, length_size, base_size = sizes >> 12, sizes >> 8 & 15, sizes >> 4 & 15
    at = 8

    def number(size: int) -> int:
        nonlocal at
        at += size
        return int.from_bytes(iloc[at - size : at], "big")

    for _ in range(struct.unpack_from(">H", iloc, 6)[0]):
        item = number(2)
        if version:
            number(2)
        number(2)
        base = number(base_size)
        extents = [(number(offset_size), number(length_size)) for _ in range(number(2))]
        if item == primary:
            return b"".join(sample[base + offset : base + offset + size] for offset, size in extents)
    raise AssertionError("no primary picture")


def size_box(width: int, height: int) -> bytes:
    """Return `ispe`."""
    return full_box(b"ispe", struct.pack(">II", width, height))


def turn_boxes(orientation: int) -> list[tuple[bytes, bool]]:
    """Return `irot` and `imir` for an EXIF orientation."""
    quarters, mirror = TRANSFORMS[orientation]
    boxes = [(box(b"irot", bytes([quarters])), True)] if quarters else []
    return boxes + ([(box(b"imir", bytes([mirror])), True)] if mirror is not None else [])


def nclx(primaries: int, transfer: int, matrix: int = 6) -> tuple[bytes, bool]:
    """Return a colour box by code points."""
    return box(b"colr", b"nclx" + struct.pack(">HHHB", primaries, transfer, matrix, 0x80)), False


def profile_box(profile: bytes) -> tuple[bytes, bool]:
    """Return a colour box with an ICC profile."""
    return box(b"colr", b"prof" + profile), False


def exif_item(tiff: bytes, of: int) -> Item:
    """Return EXIF of a picture."""
    return Item(b"Exif", struct.pack(">I", 6) + b"Exif\0\0" + tiff, refers=(b"cdsc", [of]), hidden=True)


def grid_item(rows: int, columns: int, width: int, height: int, tiles: list[int]) -> Item:
    """Return a picture made of tiles."""
    data = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)
    return Item(b"grid", data, [(size_box(width, height), False)], refers=(b"dimg", tiles))


def compose(
    items: list[Item], primary: int = 1, brands: tuple[bytes, ...] = (b"heic", b"mif1", b"heic")
) -> bytes:
    """Return a file; items are numbered from 1."""
    properties: list[bytes] = []
    associations = b""
    for number, item in enumerate(items, 1):
        entries = []
        for body, essential in item.properties:
            if body not in properties:
                properties.append(body)
            entries.append(properties.index(body) + 1 | (0x80 if essential else 0))
        associations += struct.pack(">HB", number, len(entries)) + bytes(entries)
    infos = b"".join(
        full_box(b"infe", struct.pack(">HH4s", number, 0, item.kind) + b"\0", 2, int(item.hidden))
        for number, item in enumerate(items, 1)
    )
    references = b"".join(
        box(
            item.refers[0],
            struct.pack(f">HH{len(item.refers[1])}H", number, len(item.refers[1]), *item.refers[1]),
        )
        for number, item in enumerate(items, 1)
        if item.refers
    )
    head = box(b"ftyp", brands[0] + bytes(4) + b"".join(brands[1:]))

    def meta(start: int) -> bytes:
        places, at = b"", start
        for number, item in enumerate(items, 1):
            places += struct.pack(">HHHII", number, 0, 1, at, len(item.data))
            at += len(item.data)
        return full_box(
            b"meta",
            full_box(b"hdlr", bytes(4) + b"pict" + bytes(13))
            + full_box(b"pitm", struct.pack(">H", primary))
            + full_box(b"iloc", struct.pack(">BBH", 0x44, 0, len(items)) + places)
            + full_box(b"iinf", struct.pack(">H", len(items)) + infos)
            + (full_box(b"iref", references) if references else b"")
            + box(
                b"iprp",
                box(b"ipco", b"".join(properties))
                + full_box(b"ipma", struct.pack(">I", len(items)) + associations),
            ),
        )

    start = len(head) + len(meta(0)) + 8
    return head + meta(start) + box(b"mdat", b"".join(item.data for item in items))
