"""A decoder that does not what it should: `python -m tests.unit.decoding.decoder_stand_in KIND`."""

import json
import os
import signal
import struct
import sys
import time
from typing import Any

HELLO = {"no_new_privileges": True, "other_user": True, "landlock": 7, "seccomp": True, "user": 65534}
GOOD: dict[str, Any] = {
    "width": 4,
    "height": 2,
    "original_width": 4,
    "original_height": 2,
    "format": "PNG",
    "focal_35mm": None,
}
#: Kind to what replaces fields of a good reply.
WRONG_FIELDS: dict[str, dict[str, Any]] = {
    "324 megapixels": {"width": 18000, "height": 18000, "original_width": 18000, "original_height": 18000},
    "324 megapixels before shrinking": {"original_width": 18000, "original_height": 18000},
    "a billion columns": {"width": 10**9, "original_width": 10**9},
    "a number beyond all": {"width": 10**400},
    "no rows": {"height": 0},
    "negative rows": {"height": -2},
    "rows that are true": {"height": True},
    "rows in words": {"height": "2"},
    "rows with a point": {"height": 2.0},
    "no width": {"width": None},
    "larger than its file": {"width": 40, "height": 20},
    "larger than asked": {"width": 400, "original_width": 400},
    "an unknown format": {"format": "EXE"},
    "a format with an escape": {"format": "PNG\x1b[31m"},
    "a long format": {"format": "PNG" * 900},
    "a format that is a list": {"format": ["PNG"]},
    "a focal length in words": {"focal_35mm": "50"},
    "a focal length that is no number": {"focal_35mm": float("nan")},
    "an endless focal length": {"focal_35mm": float("inf")},
    "another request's number": {"serial": 7},
    "an unknown reason": {"reason": "because", "value": "1"},
    "a reason that is a list": {"reason": ["unreadable"], "value": "1"},
    "a value with a line": {"reason": "unreadable", "value": "1\nERROR forged"},
    "a long value": {"reason": "unreadable", "value": "x" * 500},
    "a value that is a number": {"reason": "unreadable", "value": 5},
    "a refusal without a value": {"reason": "unreadable"},
    "a payload": {"payload": 10},
    "a payload below nothing": {"payload": -1},
}
#: Kind to bytes in place of a reply.
WRONG_BYTES: dict[str, bytes] = {
    "no JSON": struct.pack("<I", 6) + b"rubbis",
    "no object": struct.pack("<I", 4) + b"[{}]",
    "deep JSON": struct.pack("<I", 4000) + b"[" * 4000,
    "a header of 4 GB": b"\xff" * 4 + b"{" * 100,
    "bytes that are no text": struct.pack("<I", 8) + b"\xff\xfe" * 4,
}


def write(*headers: dict[str, Any]) -> None:
    """Write messages at once."""
    texts = [json.dumps({"payload": 0, **header}).encode() for header in headers]
    os.write(1, b"".join(struct.pack("<I", len(text)) + text for text in texts))


def read() -> dict[str, Any]:
    """Return the next request's header."""
    source = sys.stdin.buffer
    prefix = source.read(4)
    if len(prefix) < 4:
        sys.exit(0)
    header = json.loads(source.read(struct.unpack("<I", prefix)[0]))
    source.read(header["payload"])
    return header


def main() -> None:
    """Say hello, and answer."""
    kind = sys.argv[1]
    if kind == "dies before it starts":
        sys.exit(1)
    if kind == "a wrong hello":
        write({"landlock": "yes"})
    write(HELLO)
    while True:
        request = read()
        if request.get("clear"):
            continue
        if kind == "dies":
            os._exit(3)
        elif kind == "uses all its time":
            os.kill(os.getpid(), signal.SIGXCPU)
        elif kind == "half a reply":
            os.write(1, struct.pack("<I", 100) + b'{"width": 4')
            os._exit(0)
        elif kind == "silence":
            time.sleep(60)
        elif kind == "half a reply and silence":
            os.write(1, struct.pack("<I", 100) + b'{"width": 4')
            time.sleep(60)
        elif kind in WRONG_BYTES:
            os.write(1, WRONG_BYTES[kind])
        else:
            replies = [{**GOOD, "serial": request["serial"], **WRONG_FIELDS.get(kind, {})}]
            if kind == "two replies":
                replies.append({**GOOD, "serial": request["serial"] + 1})
            write(*replies)


if __name__ == "__main__":
    main()
