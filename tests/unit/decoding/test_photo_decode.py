"""Photos of every kind, good and bad: right pixels or a typed refusal, and the decoder lives on."""

import io
import os
import signal
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from face3d.errors import EngineUnavailable, ErrorCode, RefusedError
from gpu_workers.decoding import child as child_module
from gpu_workers.decoding import client as photo_module
from gpu_workers.decoding.client import decode_photo
from gpu_workers.photo_limits import PhotoLimits

LIMITS = PhotoLimits()
#: Left red, right blue, top brighter: every turn and every channel shows.
PICTURE = np.zeros((40, 60, 3), np.uint8)
PICTURE[:, :30, 0] = 200
PICTURE[:, 30:, 2] = 200
PICTURE[:20, :, 1] = 90


def encode(picture, kind, **options):
    buffer = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def refusal(data, limits=LIMITS):
    with pytest.raises(RefusedError) as caught:
        decode_photo(data, limits)
    assert caught.value.value is not None
    assert caught.value.limit is not None
    return caught.value.code


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_lossless_formats_keep_every_pixel(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    decoded = decode_photo(encode(PICTURE, kind, **options), LIMITS)
    assert np.array_equal(decoded.rgb, PICTURE)
    assert decoded.format == kind
    assert decoded.original_size == (60, 40)
    assert decoded.focal_35mm is None


def test_jpeg_is_close():
    decoded = decode_photo(encode(PICTURE, "JPEG", quality=95, subsampling=0), LIMITS)
    assert np.abs(decoded.rgb.astype(int) - PICTURE).mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation):
    turned = {
        1: PICTURE,
        2: PICTURE[:, ::-1],
        3: PICTURE[::-1, ::-1],
        4: PICTURE[::-1],
        5: PICTURE.transpose(1, 0, 2),
        6: np.rot90(PICTURE),
        7: PICTURE[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(PICTURE, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode_photo(encode(np.ascontiguousarray(turned), "PNG", exif=exif.tobytes()), LIMITS)
    assert np.array_equal(decoded.rgb, PICTURE)
    assert decoded.original_size == (60, 40)


def test_focal_length_is_read_and_location_is_not_kept():
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA405] = 50
    exif.get_ifd(0x8825)[1] = "N"
    decoded = decode_photo(encode(PICTURE, "JPEG", exif=exif.tobytes()), LIMITS)
    assert decoded.focal_35mm == 50
    assert not hasattr(decoded, "exif")


def test_alpha_is_laid_on_white():
    layer = np.dstack([PICTURE, np.zeros((40, 60), np.uint8)])
    assert (decode_photo(encode(layer, "PNG"), LIMITS).rgb == 255).all()


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "I;16", "LA", "F"])
def test_other_modes_become_rgb(mode):
    if mode == "I;16":
        image = Image.fromarray(PICTURE[..., 1].astype(np.uint16) * 257)
    elif mode == "F":
        image = Image.fromarray(PICTURE[..., 1].astype(np.float32))
    else:
        image = Image.fromarray(PICTURE).convert(mode)
    kind = {"CMYK": "JPEG", "F": "TIFF"}.get(mode, "PNG")
    rgb = decode_photo(encode(image, kind), LIMITS).rgb
    assert rgb.shape == (40, 60, 3)
    assert rgb.dtype == np.uint8
    if mode in ("I;16", "F"):
        assert np.array_equal(rgb[..., 0], PICTURE[..., 1])
    if mode in ("P", "CMYK"):
        assert np.abs(rgb.astype(int) - PICTURE).mean() < 30


def test_colour_profile_is_applied():
    # Swapping the primaries' names is what a profile does in the extreme; Lab is the one Pillow can make.
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = decode_photo(encode(PICTURE, "PNG", icc_profile=profile), LIMITS).rgb
    assert np.abs(same.astype(int) - PICTURE).max() <= 2
    linear = _linear_profile(profile)
    brighter = decode_photo(encode(PICTURE, "PNG", icc_profile=linear), LIMITS).rgb
    assert brighter[30, 10, 0] > 215


def _linear_profile(profile):
    """Return an sRGB profile whose tone curves are straight: a pixel of 200 then means sRGB 228."""
    data = bytearray(profile)
    count = struct.unpack(">I", data[128:132])[0]
    for k in range(count):
        entry = 132 + 12 * k
        tag, offset, size = struct.unpack(">4sII", data[entry : entry + 12])
        if tag in (b"rTRC", b"gTRC", b"bTRC"):
            assert size >= 16
            data[offset : offset + 14] = b"curv" + bytes(4) + struct.pack(">IH", 1, 256)
    return bytes(data)


def test_a_broken_profile_does_not_matter():
    rgb = decode_photo(encode(PICTURE, "PNG", icc_profile=b"nonsense" * 20), LIMITS).rgb
    assert np.array_equal(rgb, PICTURE)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_first_frame_of_an_animation(kind):
    other = Image.fromarray(255 - PICTURE)
    data = encode(PICTURE, kind, save_all=True, append_images=[other], duration=50)
    rgb = decode_photo(data, LIMITS).rgb
    assert rgb.shape == (40, 60, 3)
    assert np.abs(rgb.astype(int) - PICTURE).mean() < 20


def test_large_photos_are_shrunk_on_request():
    big = np.kron(PICTURE, np.ones((20, 20, 1), np.uint8))
    for kind in ("JPEG", "PNG"):
        decoded = decode_photo(encode(big, kind), LIMITS, longest_side=300)
        assert decoded.rgb.shape == (200, 300, 3)
        assert decoded.original_size == (1200, 800)
        assert np.abs(decoded.rgb[100, 20].astype(int) - [200, 0, 0]).max() < 12


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        b"<html>no photo</html>",
        b"GIF89a",
        b"\xff\xd8\xff\xe0",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        os.urandom(5000),
    ],
    ids=["empty", "zero", "html", "gif-head", "jpeg-head", "postscript", "noise"],
)
def test_what_is_no_image(data):
    assert refusal(data) is ErrorCode.NOT_AN_IMAGE


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_cut_short(kind):
    noise = np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8)
    data = encode(noise, kind)
    assert refusal(data[: len(data) // 2]) in (ErrorCode.TRUNCATED_IMAGE, ErrorCode.NOT_AN_IMAGE)
    if kind in ("JPEG", "PNG"):
        assert refusal(data[: len(data) // 2]) is ErrorCode.TRUNCATED_IMAGE


def test_too_many_bytes():
    assert refusal(b"x" * 2000, PhotoLimits(max_bytes=1000)) is ErrorCode.IMAGE_TOO_LARGE


def png_bomb(width, height):
    """A one-bit PNG whose header promises the size; its data is short."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def test_decompression_bomb_is_refused_by_its_header():
    assert refusal(png_bomb(60000, 60000)) is ErrorCode.IMAGE_TOO_LARGE
    assert refusal(png_bomb(2**31 - 1, 2**31 - 1)) is ErrorCode.IMAGE_TOO_LARGE


@pytest.mark.heavy
def test_memory_is_limited_and_the_next_photo_works():
    hungry = encode(Image.new("1", (7000, 7000)), "PNG")
    assert refusal(hungry, PhotoLimits(decode_memory_mb=180)) is ErrorCode.IMAGE_TOO_LARGE
    assert np.array_equal(decode_photo(encode(PICTURE, "PNG"), LIMITS).rgb, PICTURE)


def test_a_decoder_that_dies_is_replaced_and_the_photo_is_not_blamed():
    good = encode(PICTURE, "PNG")
    decode_photo(good, LIMITS)
    (child, *_) = photo_module._children._idle
    os.kill(child.process_id, signal.SIGKILL)
    assert np.array_equal(decode_photo(good, LIMITS).rgb, PICTURE)


def test_a_file_that_kills_two_decoders_is_refused(monkeypatch):
    asked = []

    def die(self, *arguments):
        asked.append(self)
        raise OSError("the decoder ended")

    monkeypatch.setattr(child_module.Child, "ask", die)
    assert refusal(encode(PICTURE, "PNG")) is ErrorCode.NOT_AN_IMAGE
    assert len(set(asked)) == 2


@pytest.mark.heavy
@pytest.mark.parametrize("side", [60, 1200], ids=["a small file", "one that fills the pipe"])
def test_a_decoder_that_gets_no_time_is_ended_and_the_photo_is_not_blamed(side):
    hurried = PhotoLimits(decode_seconds=0.2)
    noise = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    good = encode(noise, "PNG", compress_level=1)
    decode_photo(encode(PICTURE, "PNG"), hurried)
    (child, *_) = photo_module._children._idle
    os.kill(child.process_id, signal.SIGSTOP)
    with pytest.raises(EngineUnavailable):
        decode_photo(good, hurried)
    assert not Path(f"/proc/{child.process_id}").exists()
    assert np.array_equal(decode_photo(good, LIMITS).rgb, noise)


@pytest.mark.heavy
def test_a_file_that_uses_all_its_time_is_refused(monkeypatch):
    good, hurried = encode(PICTURE, "PNG"), PhotoLimits(decode_seconds=0.2)
    decode_photo(good, hurried)
    (child, *_) = photo_module._children._idle
    os.kill(child.process_id, signal.SIGSTOP)
    monkeypatch.setattr(child_module.Child, "cpu_seconds", lambda self: 0.2)
    assert refusal(good, hurried) is ErrorCode.IMAGE_TOO_LARGE


def test_threads_share_the_decoders():
    good = encode(PICTURE, "PNG")
    results = []

    def work():
        results.append(np.array_equal(decode_photo(good, LIMITS).rgb, PICTURE))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 4
    assert len(photo_module._children._idle) <= 2


def test_the_decoder_gets_no_secrets_and_no_torch(monkeypatch):
    monkeypatch.setenv("FACE3D_S3_SECRET_KEY", "secret")
    photo_module._children.finish()
    decode_photo(encode(PICTURE, "PNG"), LIMITS)
    folder = Path("/proc") / str(photo_module._children._idle[0].process_id)
    if os.geteuid() == 0:
        assert b"secret" not in (folder / "environ").read_bytes()
        assert "torch" not in (folder / "maps").read_text()
    else:
        # Nobody but root may look into a decoder, not even its own user.
        with pytest.raises(PermissionError):
            (folder / "environ").read_bytes()
