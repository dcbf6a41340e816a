"""The child process that decodes photos, `python -m gpu_workers.decoding.decoder`; child.py drives it.

Untrusted bytes meet decoders here and nowhere else. Before the first of them every library is loaded and used
once, and then the process locks itself up (sandbox/): it opens no file, reaches no network and no other
process, under hard limits of memory and CPU time. torch and the project's settings are never imported.
"""

import contextlib
import io
import json
import mmap
import os
import resource
import sys
import warnings
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image, ImageCms

from gpu_workers.decoding.protocol import Header, Limits, read_message, write_message
from gpu_workers.photo_formats.errors import UnreadableError
from gpu_workers.photo_formats.opened import OpenedPhoto, open_photo
from gpu_workers.photo_formats.upright import make_upright
from gpu_workers.sandbox.lock import Layers, limit_resources, lock_process

#: Formats that are written once before the lock, each with what its decoder loads late.
_REHEARSED = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM")


class RefusedPhoto(Exception):
    """A photo that is refused: a name in protocol.REFUSALS, and the value that was found."""

    def __init__(self, reason: str, value: str) -> None:
        super().__init__(reason)
        self.reply: Header = {"reason": reason, "value": value}


class SharedPixels:
    """The file in memory through which pixels go to the parent; mapped here: a JPEG is decoded into it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._mapped: mmap.mmap | None = None
        self._used = 0

    def take(self, size: int) -> memoryview:
        """Return the first N bytes of the file, to be written."""
        if self._mapped is None or len(self._mapped) < size:
            self._mapped = None
            # The file has its full length from the start: its size is sealed.
            self._mapped = mmap.mmap(self._descriptor, size)
        self._used = max(self._used, size)
        return memoryview(self._mapped)[:size]

    def clear(self) -> None:
        """Overwrite what the last photo left."""
        if self._mapped is not None and self._used:
            np.frombuffer(self._mapped, np.uint8, self._used).fill(0)
        self._used = 0


def decode(data: bytes, max_megapixels: float, longest_side: int | None, shared: SharedPixels) -> Header:
    """Decode the first frame of a photo to upright 8-bit sRGB.

    Args:
        longest_side: shrink to this at most; None keeps the size.
        shared: takes the pixels, row after row.
    Returns:
        header with width, height, original_width, original_height (upright), format and focal_35mm.
    Raises:
        RefusedPhoto: not an image, too large, or cut short.
    """

    def check_size(width: int, height: int) -> None:
        if width * height > max_megapixels * 1e6:
            raise RefusedPhoto("too_many_pixels", f"{width} x {height}")

    try:
        photo = open_photo(data, check_size)
        if (
            photo.colours is None
            and photo.turn is None
            and _decode_plain_jpeg(photo, data, longest_side, shared)
        ):
            return _describe(photo.size, photo.size, photo)
        _draft(photo, longest_side)
        pixels = photo.load()
    except (MemoryError, RefusedPhoto):
        raise
    except UnreadableError as error:
        raise RefusedPhoto("unreadable", f"{len(data)} bytes") from error
    except Exception as error:  # Decoders raise errors of many kinds at a damaged file.
        raise RefusedPhoto("cut_short", f"{len(data)} bytes") from error
    original = photo.size
    if photo.format in ("TIFF", "HEIC"):
        # Turned, or cut to its clean aperture, while it was loaded.
        shape = pixels.shape[1::-1] if isinstance(pixels, np.ndarray) else pixels.size
        original = (int(shape[0]), int(shape[1]))
        check_size(*original)
    upright = make_upright(pixels, longest_side, photo.colours, photo.turn)
    if upright.width != upright.height and photo.turn in (
        Image.Transpose.TRANSPOSE,
        Image.Transpose.ROTATE_270,
        Image.Transpose.TRANSVERSE,
        Image.Transpose.ROTATE_90,
    ):
        original = (original[1], original[0])
    packed = upright.tobytes()
    shared.take(len(packed))[:] = packed
    return _describe(upright.size, original, photo)


def _describe(size: tuple[int, int], original: tuple[int, int], photo: OpenedPhoto) -> Header:
    return {
        "width": size[0],
        "height": size[1],
        "original_width": original[0],
        "original_height": original[1],
        "format": photo.format,
        "focal_35mm": photo.focal,
    }


def _draft(photo: OpenedPhoto, longest_side: int | None) -> None:
    """Let a JPEG that is far too large be decoded at a half, a quarter or an eighth."""
    picture = photo.picture
    if picture is None or not longest_side or photo.format != "JPEG" or picture.mode not in ("RGB", "L"):
        return
    ratio = longest_side / max(photo.size)
    if ratio < 1:
        picture.draft(picture.mode, (int(photo.size[0] * ratio), int(photo.size[1] * ratio)))


def _decode_plain_jpeg(
    photo: OpenedPhoto, data: bytes, longest_side: int | None, shared: SharedPixels
) -> bool:
    """Decode a JPEG that needs no more than decoding, three times as fast as Pillow does it.

    False where it needs more, or where anything is wrong with it: Pillow tells what.
    """
    picture = photo.picture
    if picture is None or picture.format != "JPEG" or picture.mode not in ("RGB", "L"):
        return False
    if longest_side and max(picture.size) > longest_side:
        return False
    target = shared.take(3 * picture.width * picture.height)
    try:
        pixels = simplejpeg.decode_jpeg(data, colorspace="RGB", buffer=target)
    except ValueError:
        return False
    return bool(pixels.shape == (picture.height, picture.width, 3))


def rehearse() -> None:
    """Use every decoder once, so that none has to load anything later."""
    Image.MAX_IMAGE_PIXELS = None
    Image.init()
    warnings.simplefilter("ignore")
    shared = SharedPixels(os.memfd_create("rehearsal"))
    os.ftruncate(shared._descriptor, 2**16)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = Image.new("RGB", (16, 16), (200, 100, 50))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0xA405] = 50
    for name in _REHEARSED:
        if name not in Image.SAVE:
            continue
        for options in ({}, {"icc_profile": profile, "exif": exif.tobytes()}):
            file = io.BytesIO()
            # A format that this Pillow cannot write, or read, is no reason not to start.
            with contextlib.suppress(Exception):
                picture.save(file, name, **options)
                decode(file.getvalue(), 1.0, None, shared)
    for data in (b"", b"\0\0\0\x18ftypheic" + bytes(32), b"\0\0\0\x18ftypavif" + bytes(32)):
        with contextlib.suppress(RefusedPhoto):
            decode(data, 1.0, None, shared)
    os.close(shared._descriptor)


def lock_up(limits: Limits, photos: int) -> Layers:
    """Rehearse, and lock this process up as the limits say.

    Args:
        photos: that it will decode at most.
    """
    rehearse()
    os.chdir("/")
    memory, seconds = limits.memory_mb * 2**20, int(photos * (limits.seconds + 1)) + 60
    if limits.sandbox == "off":
        limit_resources(memory, seconds)
        return Layers(no_new_privileges=False, other_user=False, landlock=0, seccomp=False, user=os.geteuid())
    return lock_process(memory, seconds)


def _limit_cpu(seconds: float) -> None:
    """Let this process use this number of CPU seconds from now on; the kernel ends it where it uses more."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(usage.ru_utime + usage.ru_stime + seconds) + 1
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (min(soft, hard) if hard >= 0 else soft, hard))


class _Pipe:
    """Reads stdin without a buffer, in which a photo's first bytes (its EXIF) would stay."""

    def read(self, size: int, /) -> bytes:
        """Return `size` bytes, or fewer at the end."""
        parts = []
        while size > 0 and (part := os.read(0, size)):
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def serve(limits: Limits, shared: SharedPixels) -> None:
    """Answer requests until stdin ends."""
    source, sink = _Pipe(), sys.stdout.buffer
    while (message := read_message(source)) is not None:
        request, data = message
        if request.get("clear"):
            del message, data
            shared.clear()
            continue
        _limit_cpu(limits.seconds)
        header: Header
        try:
            header = decode(data, limits.max_megapixels, request["longest_side"], shared)
        except RefusedPhoto as refused:
            header = refused.reply
        except MemoryError:
            header = {"reason": "too_much_memory", "value": f"more than {limits.memory_mb} MB"}
        write_message(sink, {**header, "serial": request["serial"]})
        del data, message


def main() -> int:
    """Serve; the arguments are the shared file's descriptor, the limits as JSON, and the number of photos."""
    fields: dict[str, Any] = json.loads(sys.argv[2])
    limits = Limits(**fields)
    layers = lock_up(limits, int(sys.argv[3]))
    write_message(sys.stdout.buffer, layers.as_dict())
    serve(limits, SharedPixels(int(sys.argv[1])))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
