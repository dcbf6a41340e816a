"""Text in HTTP headers: user metadata beyond ASCII, and names of downloads."""

from base64 import b64encode
from collections.abc import Mapping
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from urllib.parse import quote


def encode_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return metadata whose values are ASCII: other text becomes RFC 2047 words, as AWS itself does."""
    return {name: _encode(value) for name, value in metadata.items()}


def _encode(value: str) -> str:
    if value.isascii() and value.isprintable() and "=?" not in value:
        return value
    return f"=?UTF-8?B?{b64encode(value.encode()).decode()}?="


def decode_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return metadata as its writer meant it: names in lower case, RFC 2047 words decoded."""
    return {name.lower(): _decode(value) for name, value in metadata.items()}


def _decode(value: str) -> str:
    if "=?" not in value:
        return value
    try:
        return str(make_header(decode_header(value)))
    except (HeaderParseError, LookupError, UnicodeDecodeError):
        return value


def content_disposition(filename: str) -> str:
    """Return a Content-Disposition that saves under `filename` (RFC 6266: an ASCII and a UTF-8 form)."""
    plain = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "_" for letter in filename
    )
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
