"""What the decoder's child and its parent say to each other, and what the parent believes.

A message is: four bytes, the length of a JSON header; the header; `payload` bytes of payload. The child's
first message tells what it is locked up by (`Layers`). Then each photo is a request with the file as payload,
and a reply without payload; pixels go through a file in memory that both sides hold open, which spares a
megabyte's worth of pipe turns a photo. A request `clear` wipes that file and has no reply.

A child that has met a hostile photo may say anything. `read_reply` takes nothing from it that is not of the
right kind and within the limits; sentences are ours, chosen by a reason's name.
"""

import json
import re
import struct
from dataclasses import dataclass
from typing import Any, Protocol

#: What `DecodedPhoto.format` may be.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "HEIC", "JPEG2000", "PPM")
#: Longest header, bytes: those we write are a tenth of it.
_HEADER_BYTES = 4096
#: Values that a reply may show to people.
_VALUE = re.compile(r"[0-9A-Za-z ,.]{1,80}")
#: Focal lengths on 35 mm film that a reply may state, millimetres.
_FOCAL_RANGE = (1.0, 10000.0)
#: Refusals: name to error code (face3d/errors.py) and sentence.
REFUSALS = {
    "unreadable": ("not_an_image", "The file is not an image that can be read."),
    "too_many_pixels": ("image_too_large", "The photo has too many pixels."),
    "cut_short": ("truncated_image", "The photo's file is cut short or damaged."),
    "too_much_memory": ("image_too_large", "The photo needs too much memory to decode."),
}

Header = dict[str, Any]


class Reader(Protocol):
    """Reads a pipe."""

    def read(self, size: int, /) -> bytes:
        """Return `size` bytes, or fewer at the end."""


class Writer(Protocol):
    """Writes a pipe."""

    def write(self, data: Any, /) -> Any:
        """Write all the bytes."""

    def flush(self) -> Any:
        """Hand them over."""


class ProtocolError(ValueError):
    """The other side said something that no honest one says."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a child may use, and the largest picture; for its whole life."""

    max_megapixels: float
    memory_mb: int
    seconds: float
    sandbox: str

    @property
    def pixel_bytes(self) -> int:
        """Return the size of the file for the pixels."""
        return 3 * int(self.max_megapixels * 1e6)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """A decoded photo's description; the pixels are beside it."""

    width: int
    height: int
    original_width: int
    original_height: int
    format: str
    focal_35mm: float | None


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """Why a photo is refused; `reason` is a name in REFUSALS."""

    reason: str
    value: str


def read_message(stream: Reader, most_payload: int | None = None) -> tuple[Header, bytes] | None:
    """Return the next header and payload, or None at the end of the stream.

    Args:
        most_payload: bytes of payload that are accepted; None: as many as the header says.
    Raises:
        ProtocolError: what came is no message, or longer than allowed.
    """
    prefix = stream.read(4)
    if len(prefix) < 4:
        return None
    length = struct.unpack("<I", prefix)[0]
    if length > _HEADER_BYTES:
        raise ProtocolError(f"a header of {length} bytes")
    try:
        header = json.loads(stream.read(length))
    except (ValueError, RecursionError) as error:
        raise ProtocolError("a header that is no JSON") from error
    size = header.get("payload") if isinstance(header, dict) else None
    if type(size) is not int or size < 0 or (most_payload is not None and size > most_payload):
        raise ProtocolError("a header without a size that is allowed")
    return header, stream.read(size)


def write_message(stream: Writer, header: Header, payload: bytes | memoryview = b"") -> None:
    """Write a header and its payload."""
    text = json.dumps({**header, "payload": len(payload)}).encode()
    stream.write(struct.pack("<I", len(text)) + text)
    stream.write(payload)
    stream.flush()


def read_reply(header: Header, serial: int, limits: Limits, longest_side: int | None) -> Reply | Refusal:
    """Return what a child replied to a request.

    Args:
        serial: the request's number.
        longest_side: what the request asked for.
    Raises:
        ProtocolError: the reply is to another request, or states what cannot be.
    """
    if header.get("serial") != serial:
        raise ProtocolError("a reply to another request")
    if "reason" in header:
        reason, value = header["reason"], header.get("value")
        if not isinstance(reason, str) or reason not in REFUSALS:
            raise ProtocolError("a reason that is not known")
        if not isinstance(value, str) or not _VALUE.fullmatch(value):
            raise ProtocolError("a value that is no value")
        return Refusal(reason=reason, value=value)
    most = limits.max_megapixels * 1e6
    sides = [header.get(name) for name in ("width", "height", "original_width", "original_height")]
    if any(type(side) is not int or side < 1 for side in sides):
        raise ProtocolError("a size that is no size")
    width, height, original_width, original_height = (int(side or 0) for side in sides)
    if width * height > most or original_width * original_height > most:
        raise ProtocolError("more pixels than allowed")
    if longest_side and max(width, height) > longest_side:
        raise ProtocolError("a larger picture than asked for")
    if width > original_width or height > original_height:
        raise ProtocolError("a larger picture than the file holds")
    if header.get("format") not in FORMATS:
        raise ProtocolError("a format that is not known")
    focal = header.get("focal_35mm")
    if focal is not None and (
        type(focal) not in (int, float) or not _FOCAL_RANGE[0] <= focal <= _FOCAL_RANGE[1]
    ):
        raise ProtocolError("a focal length that is none")
    return Reply(
        width=width,
        height=height,
        original_width=original_width,
        original_height=original_height,
        format=str(header["format"]),
        focal_35mm=None if focal is None else float(focal),
    )
