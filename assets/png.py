"""Lossless PNG in parallel bands: each band is filtered and deflated by itself, the pieces make one stream.

A full flush ends each band at a byte border with an empty window, so that the compressed bands of one zlib
stream can be made by different threads and joined (RFC 1950, RFC 1951; filter "up": PNG specification, 9.2).
"""

import itertools
import struct
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from assets.threads import LIBRARY_THREADS
from face3d.errors import Face3DError

#: Some bytes of a file, in parts: they are copied once, by who joins or sends them.
Piece = list[bytes]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_FILTER_UP = 2
_ADLER_BASE = 65521
_WINDOW_BITS = -15
#: zlib header of a 32 KB window at the fastest level, and an empty block that ends what came before it.
_ZLIB_HEADER, _LAST_BLOCK = b"\x78\x01", b"\x03\x00"
#: A thinner band would cost more in flushes than it gains.
_MIN_BAND_ROWS = 32


class ImageShapeError(Face3DError):
    """The array is no grey image of 8 or 16 bits and no RGB image of 8."""


def encode_png(
    image: NDArray[np.uint8] | NDArray[np.uint16],
    *,
    bands: int = 16,
    pool: Executor | None = None,
    linear: bool = False,
) -> bytes:
    """Return the PNG of an sRGB or grey image, or of numbers that are no colours.

    Args:
        image: (H, W, 3) or (H, W) uint8, or (H, W) uint16, which is linear.
        bands: pieces that are deflated on their own; fewer where the image is low.
        pool: its threads share the bands; one of its own when None.
        linear: whether 8 bits hold numbers: the file then does not say that they are sRGB.
    Raises:
        ImageShapeError: another shape, another type, or no pixels.
    """
    if (
        image.dtype not in (np.uint8, np.uint16)
        or image.ndim not in (2, 3)
        or (image.dtype == np.uint16 and image.ndim == 3)
        or image.size == 0
        or image.shape[2:] not in ((), (3,))
    ):
        raise ImageShapeError(f"{ImageShapeError.__doc__} {image.dtype} {image.shape}")
    height, width = image.shape[:2]
    deep = image.dtype == np.uint16
    # PNG's samples are big-endian; the filter works byte by byte.
    samples = np.ascontiguousarray(image, ">u2" if deep else np.uint8)
    rows: NDArray[np.uint8] = samples.reshape(height, -1).view(np.uint8)
    count = max(1, min(bands, height // _MIN_BAND_ROWS))
    edges = [height * i // count for i in range(count + 1)]
    jobs = [(rows, start, stop) for start, stop in itertools.pairwise(edges)]
    header = _start_file(width, height, 0 if image.ndim == 2 else 2, 16 if deep else 8, linear or deep)
    if count == 1:
        return join_pieces(_stream(header, [_deflate_band(*jobs[0])]))
    with nullcontext(pool) if pool else ThreadPoolExecutor(min(count, LIBRARY_THREADS)) as running:
        pieces = running.map(lambda job: _deflate_band(*job), jobs)
        return join_pieces(_stream(header, pieces))


def join_pieces(pieces: Iterable[Piece]) -> bytes:
    """Return a file whose pieces come one after another."""
    return b"".join(itertools.chain.from_iterable(pieces))


def stream_filtered_png(
    width: int, height: int, bands: Iterable[Callable[[], NDArray[np.uint8]]], pool: Executor
) -> "PieceStream":
    """Begin the PNG of an RGB image whose rows are filtered already, and return the file piece by piece.

    A piece comes as soon as its band and all before it are deflated. Where the caller closes or drops the
    iterator, before its first piece too, bands that no thread has begun are given up.

    Args:
        bands: from the top; each returns (R, 1 + 3 width) uint8, filter type first, as soon as it has it. All
            are taken before this returns, and each goes to a thread when it is taken.
        pool: its threads wait for the bands and deflate them.
    """
    deflated = deque(pool.submit(_deflate_when_there, band) for band in bands)
    return PieceStream(width, height, deflated)


class PieceStream(Iterator[Piece]):
    """The pieces of an RGB PNG whose bands are still being deflated.

    No generator: one that was never begun has no end either at which it could give up its bands.
    """

    def __init__(self, width: int, height: int, bands: "deque[Future[_Deflated]]") -> None:
        self._bands = bands
        # Each band is let go when it is taken.
        taken = (bands.popleft().result() for _ in range(len(bands)))
        self._pieces = _stream(_start_file(width, height, 2, 8, linear=False), taken)

    def __next__(self) -> Piece:
        return next(self._pieces)

    def close(self) -> None:
        """Give up the bands that no thread has begun; there are no further pieces."""
        self._pieces.close()
        while self._bands:
            self._bands.pop().cancel()

    def __del__(self) -> None:
        self.close()


def _start_file(width: int, height: int, colour_type: int, depth: int, linear: bool) -> Piece:
    """Return all that comes before the first band."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    start = [_SIGNATURE, *_chunk(b"IHDR", header)]
    if not linear:
        start += _chunk(b"sRGB", b"\0")
    # The chunks' contents are one zlib stream, wherever it is cut (PNG specification, 10.1).
    return [*start, *_chunk(b"IDAT", _ZLIB_HEADER)]


def _stream(start: Piece, bands: Iterable["_Deflated"]) -> Generator[Piece]:
    """Yield the file of deflated bands; its start with the first."""
    adler = 1
    for band in bands:
        adler = combine_adler32(adler, band.adler, band.length)
        yield [*start, *band.chunk]
        start = []
    yield [*_chunk(b"IDAT", _LAST_BLOCK, struct.pack(">I", adler)), *_chunk(b"IEND", b"")]


def combine_adler32(first: int, second: int, second_length: int) -> int:
    """Return the Adler-32 of two joined byte strings from theirs (zlib's adler32_combine)."""
    low = ((first & 0xFFFF) + (second & 0xFFFF) - 1) % _ADLER_BASE
    high = (second_length * (first & 0xFFFF) + (first >> 16) + (second >> 16) - second_length) % _ADLER_BASE
    return (high << 16) | low


@dataclass(frozen=True, kw_only=True)
class _Deflated:
    """A deflated band."""

    #: A chunk of the file.
    chunk: Piece
    #: Adler-32 and number of the filtered bytes.
    adler: int
    length: int


def _deflate_band(rows: NDArray[np.uint8], start: int, stop: int) -> _Deflated:
    """Filter and deflate some rows."""
    filtered = np.empty((stop - start, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = _FILTER_UP
    if start:
        np.subtract(rows[start:stop], rows[start - 1 : stop - 1], out=filtered[:, 1:])
    else:
        filtered[0, 1:] = rows[0]
        np.subtract(rows[1:stop], rows[: stop - 1], out=filtered[1:, 1:])
    return _deflate(filtered)


def _deflate_when_there(band: Callable[[], NDArray[np.uint8]]) -> _Deflated:
    return _deflate(band())


def _deflate(filtered: NDArray[np.uint8]) -> _Deflated:
    deflater = isal_zlib.compressobj(1, isal_zlib.DEFLATED, _WINDOW_BITS, 9)
    view = filtered.reshape(-1).data
    packed = deflater.compress(view)
    rest = deflater.flush(isal_zlib.Z_FULL_FLUSH)
    return _Deflated(chunk=_chunk(b"IDAT", packed, rest), adler=isal_zlib.adler32(view), length=len(view))


def _chunk(kind: bytes, *parts: bytes) -> Piece:
    crc = zlib.crc32(kind)
    for part in parts:
        crc = isal_zlib.crc32(part, crc)
    return [struct.pack(">I", sum(map(len, parts))), kind, *parts, struct.pack(">I", crc)]
