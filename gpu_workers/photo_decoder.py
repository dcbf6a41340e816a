"""The child process that decodes photos, `python -m gpu_workers.photo_decoder`; photo.py drives it.

It reads requests from stdin and writes replies to stdout until stdin ends. Untrusted bytes meet Pillow's
decoders here and nowhere else, under limits of memory and CPU time; torch and the project's settings are
never imported.

A message is: four bytes, the length of a JSON header; the header; `payload` bytes of payload. Pixels go
through a file in memory that both sides hold open, which spares a megabyte's worth of pipe turns a photo.
"""

import io
import json
import mmap
import os
import resource
import struct
import sys
import warnings
from typing import Any, BinaryIO

import simplejpeg
from PIL import ExifTags, Image, ImageCms

#: What Pillow may open: formats that cameras, phones and editors write, decoded without outside programs.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM")
#: Film focal lengths outside this range (millimetres) are wrong entries.
_FOCAL_RANGE = (8.0, 800.0)
#: EXIF orientation to what makes the photo upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Header = dict[str, Any]


class Refusal(Exception):
    """A photo that is refused: an error code of face3d/errors.py, a sentence, the value and the limit."""

    def __init__(self, code: str, message: str, value: float | str, limit: float | str) -> None:
        super().__init__(message)
        self.reply: Header = {"code": code, "message": message, "value": value, "limit": limit}


def read_message(stream: BinaryIO) -> tuple[Header, bytes] | None:
    """Return the next header and payload, or None at the end of the stream."""
    prefix = stream.read(4)
    if len(prefix) < 4:
        return None
    header: Header = json.loads(stream.read(struct.unpack("<I", prefix)[0]))
    return header, stream.read(header["payload"])


def write_message(stream: BinaryIO, header: Header, payload: bytes | memoryview = b"") -> None:
    """Write a header and its payload."""
    text = json.dumps({**header, "payload": len(payload)}).encode()
    stream.write(struct.pack("<I", len(text)) + text)
    stream.write(payload)
    stream.flush()


class SharedPixels:
    """The file in memory through which pixels go to the parent; mapped here: a JPEG is decoded into it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._mapped: mmap.mmap | None = None

    def take(self, size: int) -> memoryview:
        """Return the first bytes of the file, so many of them, to be written."""
        if self._mapped is None or len(self._mapped) < size:
            self._mapped = None
            os.ftruncate(self._descriptor, size)
            self._mapped = mmap.mmap(self._descriptor, size)
        return memoryview(self._mapped)[:size]


def decode(data: bytes, max_megapixels: float, longest_side: int | None, shared: SharedPixels) -> Header:
    """Decode the first frame of a photo to upright 8-bit sRGB.

    Args:
        longest_side: shrink to this at most; None keeps the size.
        shared: takes the pixels, row after row.
    Returns:
        header with width, height, original_width, original_height (upright), format and focal_35mm.
    Raises:
        Refusal: not an image, too large, or cut short.
    """
    picture = _open(data)
    megapixels = picture.width * picture.height / 1e6
    if megapixels > max_megapixels:
        raise Refusal(
            "image_too_large",
            "The photo has too many pixels.",
            f"{picture.width} x {picture.height}",
            f"{max_megapixels:g} megapixels",
        )
    original = picture.size
    name = "JPEG" if picture.format == "MPO" else str(picture.format)
    profile = picture.info.get("icc_profile")
    focal = None
    try:
        exif = picture.getexif()
        focal = _film_focal(exif)
        orientation = exif.get(ExifTags.Base.Orientation, 1)
        if (
            profile is None
            and orientation not in _TURNS
            and _decode_plain_jpeg(picture, data, longest_side, shared)
        ):
            return _describe(original, original, name, focal)
        if longest_side and picture.format in ("JPEG", "MPO") and picture.mode in ("RGB", "L"):
            ratio = longest_side / max(original)
            if ratio < 1:
                picture.draft(picture.mode, (int(original[0] * ratio), int(original[1] * ratio)))
        picture.load()
    except MemoryError:
        raise
    except Exception as error:
        raise Refusal(
            "truncated_image",
            "The photo's file is cut short or damaged.",
            f"{len(data)} bytes",
            "a whole file",
        ) from error
    upright = _to_srgb(_shrink(picture, longest_side), profile)
    if orientation in _TURNS:
        upright = upright.transpose(_TURNS[orientation])
    if orientation in (5, 6, 7, 8):
        original = (original[1], original[0])
    pixels = upright.tobytes()
    shared.take(len(pixels))[:] = pixels
    return _describe(upright.size, original, name, focal)


def _describe(size: tuple[int, int], original: tuple[int, int], name: str, focal: float | None) -> Header:
    return {
        "width": size[0],
        "height": size[1],
        "original_width": original[0],
        "original_height": original[1],
        "format": name,
        "focal_35mm": focal,
    }


def _decode_plain_jpeg(
    picture: Image.Image, data: bytes, longest_side: int | None, shared: SharedPixels
) -> bool:
    """Decode a JPEG that needs no more than decoding, three times as fast as Pillow does it.

    False where it needs more, or where anything is wrong with it: Pillow tells what.
    """
    if picture.format != "JPEG" or picture.mode not in ("RGB", "L"):
        return False
    if longest_side and max(picture.size) > longest_side:
        return False
    target = shared.take(3 * picture.width * picture.height)
    try:
        pixels = simplejpeg.decode_jpeg(data, colorspace="RGB", buffer=target)
    except ValueError:
        return False
    return bool(pixels.shape == (picture.height, picture.width, 3))


def _open(data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN])
    except Exception as error:
        raise Refusal(
            "not_an_image",
            "The file is not an image that can be read.",
            f"{len(data)} bytes",
            ", ".join(FORMATS),
        ) from error


def _shrink(picture: Image.Image, longest_side: int | None) -> Image.Image:
    if not longest_side or max(picture.size) <= longest_side:
        return picture
    if picture.mode in ("P", "1", "PA"):
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    ratio = longest_side / max(picture.size)
    size = (max(1, round(picture.width * ratio)), max(1, round(picture.height * ratio)))
    if picture.mode.startswith("I;16"):
        picture = _from_deep(picture)
    return picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def _to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    """Return 8-bit sRGB: deep pixels scaled, alpha laid on white, the colour profile applied."""
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        picture = _from_deep(picture)
    if picture.mode == "P" or picture.mode in ("1", "PA"):
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    if picture.mode in ("RGBA", "LA", "La", "RGBa"):
        layer = picture.convert("RGBA")
        picture = Image.new("RGB", picture.size, (255, 255, 255))
        picture.paste(layer, mask=layer.getchannel("A"))
    if profile and picture.mode in ("RGB", "CMYK", "L"):
        try:
            converted = ImageCms.profileToProfile(
                picture, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"),
                outputMode="RGB",
            )  # fmt: skip
        except (ImageCms.PyCMSError, OSError, ValueError):
            converted = None
        if converted is not None:
            return converted
    return picture.convert("RGB")


def _from_deep(picture: Image.Image) -> Image.Image:
    import numpy as np

    values = np.asarray(picture, dtype=np.float32)
    if picture.mode == "F":
        scale = 255.0 if float(values.max(initial=0)) <= 1 else 1.0
    else:
        scale = 1 / 257 if float(values.max(initial=0)) > 255 else 1.0
    return Image.fromarray(np.clip(values * scale + 0.5, 0, 255).astype(np.uint8))


def _film_focal(exif: Image.Exif) -> float | None:
    value = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.FocalLengthIn35mmFilm)
    try:
        focal = float(value) if value is not None else 0.0
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return focal if _FOCAL_RANGE[0] <= focal <= _FOCAL_RANGE[1] else None


def _limit_cpu(seconds: float) -> None:
    """Let this process use so many CPU seconds from now on; the kernel ends it where it uses more."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(usage.ru_utime + usage.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _limit_memory(megabytes: int) -> None:
    soft = megabytes * 2**20
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (soft if hard < 0 else min(soft, hard), hard))


def main() -> int:
    """Serve requests until stdin ends; the first argument is the shared file's descriptor."""
    shared = SharedPixels(int(sys.argv[1]))
    Image.MAX_IMAGE_PIXELS = None
    Image.init()
    warnings.simplefilter("ignore")
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while (message := read_message(source)) is not None:
        request, data = message
        _limit_cpu(request["seconds"])
        _limit_memory(request["memory_mb"])
        try:
            header = decode(data, request["max_megapixels"], request["longest_side"], shared)
        except Refusal as refusal:
            header = refusal.reply
        except MemoryError:
            header = {
                "code": "image_too_large",
                "message": "The photo needs too much memory to decode.",
                "value": f"more than {request['memory_mb']} MB",
                "limit": f"{request['memory_mb']} MB",
            }
        write_message(sink, header)
        del data, message
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
