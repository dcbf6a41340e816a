"""Makes the HEIC files beside this one; run once: `python -m tests.unit.samples.heic.make`.

Needs Debian's heif-enc (package libheif-examples, 1.15.1 when these were made). The picture is NASA's
portrait of Eileen Collins, in the public domain, as scikit-image ships it. Tests put turns, grids and colour
boxes around the coded pictures (tests/unit/decoding/heic_support.py), so that each is kept once.
"""

import struct
import subprocess
import tempfile
import zlib
from pathlib import Path

import numpy as np

from tests.unit.decoding.colour_support import encode_pq, portrait, to_rgb_space

FOLDER = Path(__file__).resolve().parent
QUALITY = "80"


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Write (H, W, 3) or (H, W, 1) of 8 or 16 bits."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width, channels = pixels.shape
    rows = pixels.astype(pixels.dtype.newbyteorder(">")).reshape(height, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, 2 if channels == 3 else 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    )


def make(name: str, pixels: np.ndarray, *options: str) -> None:
    """Encode one file with heif-enc."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "picture.png"
        write_png(source, pixels)
        output = FOLDER / f"{name}.heic"
        subprocess.run(["heif-enc", "-q", QUALITY, *options, "-o", str(output), str(source)], check=True)


def main() -> None:
    """Make all files."""
    picture = portrait()
    make("plain", picture)
    for k in range(4):
        row, column = divmod(k, 2)
        make(f"tile{k}", picture[64 * row : 64 * row + 64, 64 * column : 64 * column + 64])
    make("ten_bits", picture.astype(np.uint16) * 257, "-b", "10")
    make("grey", picture[..., 1:2])
    make("other", 255 - picture)
    display_p3 = np.round(255 * to_rgb_space(picture / 255, "display_p3")).astype(np.uint8)
    make("display_p3", display_p3)
    bright = np.round(65535 * encode_pq(picture / 255)).astype(np.uint16)
    make("pq", bright, "-b", "10")


if __name__ == "__main__":
    main()
