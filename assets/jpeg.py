"""Lossy forms of a texture map: JPEG without chroma subsampling, and WebP."""

import io
import struct
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from assets.threads import LIBRARY_THREADS

#: Pixels a side of a coded block; with 4:4:4 sampling it is also the unit that restart markers count.
_BLOCK = 8
_LARGEST_INTERVAL = 65535
_BANDS = 16
#: Below this, threads cost more than they save.
_SMALL_BYTES = 3_000_000


def encode_jpeg(
    image: NDArray[np.uint8], *, quality: int = 95, bands: int = _BANDS, pool: Executor | None = None
) -> bytes:
    """Return the 4:4:4 JPEG of an (H, W, 3) uint8 sRGB image: subsampled chroma bleeds across UV seams.

    A large image is encoded in bands by several threads; restart markers join them (ITU-T T.81, B.2.1), and
    it decodes to the same pixels as one that was encoded in one piece.

    Args:
        bands: about how many; 1 encodes in one piece.
        pool: its threads encode; one of its own when None.
    """
    height, width = image.shape[:2]
    blocks = -(-height // _BLOCK)
    rows = _BLOCK * max(1, min(-(-blocks // bands), _LARGEST_INTERVAL // -(-width // _BLOCK)))
    if bands == 1 or image.nbytes < _SMALL_BYTES or rows >= height:
        return _encode_piece(image, quality)
    parts = [image[start : start + rows] for start in range(0, height, rows)]
    with nullcontext(pool) if pool else ThreadPoolExecutor(min(len(parts), LIBRARY_THREADS)) as running:
        pieces = list(running.map(lambda part: _encode_piece(part, quality), parts))
    return _join(pieces, height, rows // _BLOCK * -(-width // _BLOCK))


def _encode_piece(image: NDArray[np.uint8], quality: int) -> bytes:
    return bytes(
        simplejpeg.encode_jpeg(
            np.ascontiguousarray(image), quality=quality, colorspace="RGB", colorsubsampling="444"
        )
    )


def _join(pieces: list[bytes], height: int, interval: int) -> bytes:
    """Return one JPEG of bands of equal width whose tables are the same.

    Args:
        height: of the whole, pixels.
        interval: blocks of a band, which restart markers count.
    """
    header = bytearray(pieces[0][: _find_scan(pieces[0])])
    frame = header.index(b"\xff\xc0")
    struct.pack_into(">H", header, frame + 5, height)
    scan = len(header)
    scan_header = pieces[0][scan : scan + 2 + struct.unpack_from(">H", pieces[0], scan + 2)[0]]
    joined = [bytes(header), struct.pack(">HHH", 0xFFDD, 4, interval), scan_header]
    for number, piece in enumerate(pieces):
        # Between a band's scan header and its end-of-image marker lies nothing but coded blocks.
        joined += [piece[_find_scan(piece) + len(scan_header) : -2], bytes((0xFF, 0xD0 + number % 8))]
    return b"".join([*joined[:-1], b"\xff\xd9"])


def _find_scan(data: bytes) -> int:
    """Return where the start-of-scan marker lies: after segments that state their lengths."""
    place = 2
    while data[place + 1] != 0xDA:
        place += 2 + int(struct.unpack_from(">H", data, place + 2)[0])
    return place


def decode_jpeg(data: bytes, *, min_side: int = 0) -> NDArray[np.uint8]:
    """Return a JPEG's pixels, (H, W, 3) uint8.

    Args:
        min_side: if positive, decode at the smallest of the scales 1/8..1 whose sides are at least this
            long, which costs a fraction of the time.
    """
    if min_side <= 0:
        return np.asarray(simplejpeg.decode_jpeg(data, colorspace="RGB"))
    return np.asarray(
        simplejpeg.decode_jpeg(data, colorspace="RGB", min_height=min_side, min_width=min_side, min_factor=1)
    )


def encode_webp(image: NDArray[np.uint8], *, quality: int = 95) -> bytes:
    """Return the lossy WebP of an (H, W, 3) uint8 sRGB image, at the encoder's fast setting."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "WEBP", quality=quality, method=1)
    return stream.getvalue()
