"""A photo has the same colours, whatever colour space it is stored in and however the file says so."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageCms, TiffImagePlugin

from gpu_workers.decoding.client import decode_photo
from gpu_workers.photo_formats.code_points import (
    ADOBE_GAMMA,
    ADOBE_PRIMARIES,
    find_primaries,
    gamma_curve,
    srgb_curve,
)
from gpu_workers.photo_formats.icc import make_profile
from gpu_workers.photo_limits import PhotoLimits
from tests.unit.decoding.colour_support import (
    difference,
    encode_hlg,
    encode_pq,
    portrait,
    to_bt2020,
    to_gamma,
    to_rgb_space,
)
from tests.unit.decoding.heic_support import coded, compose, nclx, profile_box

LIMITS = PhotoLimits()
PICTURE = portrait()
#: Mean error of 255 that is allowed in a lossless file.
EXACT = 1.5
#: And where the picture was coded lossily, twice (the codec alone makes about 1.7).
CODED = 3.0
#: Photos that are read without their colours are off by more than this.
DISPLAY_P3 = to_rgb_space(PICTURE / 255, "display_p3")
ADOBE_RGB = to_rgb_space(PICTURE / 255, "adobe_rgb")
PROFILES = {
    "display_p3": make_profile(find_primaries(12), srgb_curve),
    "adobe_rgb": make_profile(ADOBE_PRIMARIES, gamma_curve(ADOBE_GAMMA)),
}


def eight(values: np.ndarray) -> np.ndarray:
    return np.round(255 * values).astype(np.uint8)


def encode(picture: np.ndarray | Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def error(data: bytes, picture: np.ndarray = PICTURE) -> float:
    return difference(decode_photo(data, LIMITS).rgb, picture)


def png(picture: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG of 8 or 16 bits with chunks before the pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    height, width, _ = picture.shape
    rows = picture.astype(picture.dtype.newbyteorder(">")).reshape(height, -1)
    raw = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    head = struct.pack(">IIBBBBB", width, height, 8 * picture.itemsize, 2, 0, 0, 0)
    parts = [
        chunk(b"IHDR", head),
        *(chunk(*pair) for pair in chunks),
        chunk(b"IDAT", raw),
        chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def cicp(primaries: int, transfer: int) -> tuple[bytes, bytes]:
    return b"cICP", bytes([primaries, transfer, 0, 1])


def iccp(profile: bytes) -> tuple[bytes, bytes]:
    return b"iCCP", b"profile\0\0" + zlib.compress(profile)


def gama(gamma: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(100000 / gamma))


def chrm(*numbers: float) -> tuple[bytes, bytes]:
    return b"cHRM", struct.pack(">8I", *(round(100000 * number) for number in numbers))


P3_CHRM = chrm(0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
SRGB_CHRM = chrm(0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)


def exif_colours(space: int, index: str | None = None) -> Image.Exif:
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = space
    if index is not None:
        exif.get_ifd(0x8769)[0xA005] = {1: index}
    return exif


def test_the_pictures_differ_enough_to_notice() -> None:
    for values in (DISPLAY_P3, ADOBE_RGB, to_gamma(PICTURE / 255, 1.8), to_bt2020(PICTURE / 255)):
        assert difference(eight(values), PICTURE) > 2 * EXACT


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("space", PROFILES)
def test_profile(kind: str, space: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    picture = eight(to_rgb_space(PICTURE / 255, space))
    assert error(encode(picture, kind, icc_profile=PROFILES[space], **options)) < EXACT


@pytest.mark.parametrize("kind", ["JPEG", "AVIF", "JPEG2000"])
def test_profile_in_lossy_files(kind: str) -> None:
    options = {"JPEG": {"quality": 98, "subsampling": 0}, "AVIF": {"quality": 98, "subsampling": "4:4:4"}}
    data = encode(eight(ADOBE_RGB), kind, icc_profile=PROFILES["adobe_rgb"], **options.get(kind, {}))
    if kind == "JPEG2000":
        data = with_jp2_profile(data, PROFILES["adobe_rgb"])
    assert error(data) < EXACT


def with_jp2_profile(data: bytes, profile: bytes) -> bytes:
    """Put a profile in the place of the colour space that Pillow states."""
    colour = data.index(b"colr") - 4
    size = int.from_bytes(data[colour : colour + 4], "big")
    box = struct.pack(">I", 11 + len(profile)) + b"colr\x02\0\0" + profile
    header = data.index(b"jp2h") - 4
    longer = int.from_bytes(data[header : header + 4], "big") + len(box) - size
    return data[:header] + struct.pack(">I", longer) + data[header + 4 : colour] + box + data[colour + size :]


def test_a_bitmap_with_a_profile() -> None:
    plain = encode(eight(ADOBE_RGB), "BMP")
    profile, pixels = PROFILES["adobe_rgb"], plain[54:]
    info = struct.pack("<I", 124) + plain[18:54]
    info = info.ljust(56, b"\0") + struct.pack("<I", 0x4D424544)
    info = info.ljust(108, b"\0") + struct.pack("<IIII", 4, 124 + len(pixels), len(profile), 0)
    size = 14 + 124 + len(pixels) + len(profile)
    data = b"BM" + struct.pack("<IHHI", size, 0, 0, 14 + 124) + info + pixels + profile
    assert error(data) < EXACT


@pytest.mark.parametrize(
    "exif",
    [exif_colours(2), exif_colours(65535, "R03"), exif_colours(2, "R98")],
    ids=["color-space-2", "uncalibrated-r03", "color-space-2-r98"],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_adobe_rgb_by_exif(kind: str, exif: Image.Exif) -> None:
    options = {"JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    assert error(encode(eight(ADOBE_RGB), kind, exif=exif.tobytes(), **options)) < EXACT


def test_adobe_rgb_by_chromaticities_in_exif() -> None:
    exif = exif_colours(65535)
    rational = TiffImagePlugin.IFDRational
    exif[318] = (rational(3127, 10000), rational(3290, 10000))
    exif[319] = tuple(rational(n, 100) for n in (64, 33, 21, 71, 15, 6))
    assert error(encode(eight(ADOBE_RGB), "JPEG", quality=98, subsampling=0, exif=exif.tobytes())) < EXACT


@pytest.mark.parametrize(
    "exif", [exif_colours(1), exif_colours(1, "R98"), exif_colours(65535), exif_colours(7)]
)
def test_exif_that_says_srgb_or_nothing_changes_nothing(exif: Image.Exif) -> None:
    assert error(encode(PICTURE, "PNG", exif=exif.tobytes())) == 0


def test_a_profile_counts_before_exif() -> None:
    exif = exif_colours(65535, "R03").tobytes()
    assert error(encode(eight(DISPLAY_P3), "PNG", icc_profile=PROFILES["display_p3"], exif=exif)) < EXACT


def test_a_grey_photo_with_adobe_rgb() -> None:
    grey = PICTURE[..., 1]
    stored = Image.fromarray(eight(to_gamma(grey / 255, ADOBE_GAMMA)))
    expected = np.repeat(grey[..., None], 3, axis=2)
    for options in ({"exif": exif_colours(2).tobytes()}, {"icc_profile": PROFILES["adobe_rgb"]}):
        assert error(encode(stored, "PNG", **options), expected) < EXACT


@pytest.mark.parametrize(
    ("values", "chunks"),
    [
        (DISPLAY_P3, [cicp(12, 13)]),
        (to_bt2020(PICTURE / 255), [cicp(9, 14)]),
        (to_gamma(PICTURE / 255, 2.2), [cicp(1, 4)]),
        (PICTURE / 255, [cicp(1, 13)]),
        (DISPLAY_P3, [iccp(PROFILES["display_p3"])]),
        (PICTURE / 255, [(b"sRGB", b"\0")]),
        (to_gamma(PICTURE / 255, 1.8), [gama(1.8)]),
        (to_gamma(PICTURE / 255, 1.0), [gama(1.0)]),
        (to_gamma(PICTURE / 255, ADOBE_GAMMA), [gama(ADOBE_GAMMA)]),
        (PICTURE / 255, [gama(2.2), SRGB_CHRM]),
        (DISPLAY_P3, [P3_CHRM]),
        # Each counts before those after it (PNG third edition, section 4.3).
        (DISPLAY_P3, [cicp(12, 13), iccp(PROFILES["adobe_rgb"])]),
        (PICTURE / 255, [cicp(1, 13), iccp(PROFILES["adobe_rgb"])]),
        (ADOBE_RGB, [gama(1.0), iccp(PROFILES["adobe_rgb"])]),
        (PICTURE / 255, [gama(1.0), P3_CHRM, (b"sRGB", b"\0")]),
    ],
    ids=[
        *(
            "cicp-p3",
            "cicp-2020",
            "cicp-gamma",
            "cicp-srgb",
            "iccp",
            "srgb",
            "gama",
            "gama-linear",
            "gama-adobe",
        ),
        *(
            "gama-chrm-srgb",
            "chrm",
            "cicp-over-iccp",
            "cicp-srgb-over-iccp",
            "iccp-over-gama",
            "srgb-over-gama",
        ),
    ],
)
def test_png(values: np.ndarray, chunks: list[tuple[bytes, bytes]]) -> None:
    # A linear picture of 8 bits has few steps in its shadows.
    allowed = EXACT if (b"gAMA", chunks[0][1]) != gama(1.0) or len(chunks) > 1 else 2 * EXACT
    assert error(png(eight(values), *chunks)) < allowed
    assert error(png(np.round(65535 * values).astype(np.uint16), *chunks)) < EXACT


def test_a_png_with_gamma_and_primaries() -> None:
    light = to_rgb_space(PICTURE / 255, "display_p3")
    stored = eight(to_gamma(light, 1.8))
    assert error(png(stored, gama(1.8), P3_CHRM)) < EXACT


@pytest.mark.parametrize(
    "chunks",
    [
        [iccp(b"nonsense" * 20)],
        [iccp(PROFILES["adobe_rgb"][:200])],
        [cicp(99, 13)],
        [cicp(1, 255)],
        [(b"cICP", b"\x0c\x0d\x06\x01")],
        [(b"cICP", b"\x0c")],
        [(b"gAMA", bytes(4))],
        [(b"gAMA", b"\xff" * 4)],
        [gama(1.8), chrm(*[0.0] * 8)],
        [chrm(0.3, 0.3, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5)],
    ],
)
def test_nonsense_is_ignored(chunks: list[tuple[bytes, bytes]]) -> None:
    assert error(png(PICTURE, *chunks)) < EXACT


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "WEBP", "PNG"])
def test_a_profile_for_other_pixels_is_ignored(kind: str) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    options = {"JPEG": {"quality": 98, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    assert error(encode(PICTURE, kind, icc_profile=lab, **options)) < EXACT


@pytest.mark.parametrize(
    ("transfer", "values"), [(16, encode_pq(PICTURE / 255)), (18, encode_hlg(PICTURE / 255))]
)
def test_bright_pngs_show_what_a_screen_can(transfer: int, values: np.ndarray) -> None:
    ordinary = PICTURE.max(axis=2) <= 220
    for stored in (eight(values), np.round(65535 * values).astype(np.uint16)):
        rgb = decode_photo(png(stored, cicp(9, transfer)), LIMITS).rgb
        assert difference(rgb[ordinary], PICTURE[ordinary]) < EXACT
        # Above, light is bent so that more fits below white; brighter stays brighter.
        assert difference(rgb[~ordinary], PICTURE[~ordinary]) < 12


def test_light_beyond_white_is_bent_and_not_cut() -> None:
    steps = np.linspace(0.3, 0.9, 64)
    values = np.repeat(np.repeat(steps[None, :, None], 8, axis=0), 3, axis=2)
    rgb = decode_photo(png(np.round(65535 * values).astype(np.uint16), cicp(9, 16)), LIMITS).rgb
    row = rgb[4, :, 1].astype(int)
    assert (np.diff(row) >= 0).all()
    assert row[-1] == 255
    # 203 and 400 candela per square metre are told apart.
    assert len(set(row[np.searchsorted(steps, 0.58) : np.searchsorted(steps, 0.66)])) >= 5


@pytest.mark.parametrize(
    ("sample", "colours"),
    [
        ("plain", []),
        ("plain", [nclx(1, 13)]),
        ("plain", [nclx(2, 2)]),
        ("display_p3", [nclx(12, 13)]),
        ("display_p3", [profile_box(PROFILES["display_p3"])]),
        ("display_p3", [profile_box(PROFILES["display_p3"]), nclx(1, 13)]),
        ("ten_bits", [nclx(1, 13)]),
    ],
    ids=["none", "nclx-srgb", "nclx-nothing", "nclx-p3", "profile", "profile-and-nclx", "ten-bits"],
)
def test_heic(sample: str, colours: list[tuple[bytes, bool]]) -> None:
    photo = coded(sample, 128, 128)
    photo.properties += colours
    assert error(compose([photo])) < CODED


def test_a_bright_heic_of_ten_bits() -> None:
    photo = coded("pq", 128, 128)
    photo.properties.append(nclx(9, 16))
    rgb = decode_photo(compose([photo]), LIMITS).rgb
    ordinary = PICTURE.max(axis=2) <= 220
    assert difference(rgb[ordinary], PICTURE[ordinary]) < CODED


def test_avif_by_code_points() -> None:
    data = encode(eight(DISPLAY_P3), "AVIF", quality=98, subsampling="4:4:4")
    assert data.count(b"colrnclx\0\x01\0\x0d") == 1
    stated = data.replace(b"colrnclx\0\x01\0\x0d", b"colrnclx\0\x0c\0\x0d")
    assert error(data) > EXACT
    assert error(stated) < EXACT


@pytest.mark.parametrize(("transfer", "encode_values"), [(16, encode_pq), (18, encode_hlg)])
def test_a_bright_avif(transfer: int, encode_values: Callable[[np.ndarray], np.ndarray]) -> None:
    data = encode(eight(encode_values(PICTURE / 255)), "AVIF", quality=98, subsampling="4:4:4")
    stated = data.replace(b"colrnclx\0\x01\0\x0d", b"colrnclx\0\x09\0" + bytes([transfer]))
    ordinary = PICTURE.max(axis=2) <= 220
    assert difference(decode_photo(stated, LIMITS).rgb[ordinary], PICTURE[ordinary]) < CODED


def test_tiff_by_chromaticities() -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[318], tags[319] = (0.3127, 0.329), (0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
    assert error(encode(eight(DISPLAY_P3), "TIFF", tiffinfo=tags)) < EXACT


def test_tiff_by_tone_curve() -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[318], tags[319] = (0.3127, 0.329), (0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
    tags.tagtype[301] = 3
    tags[301] = tuple(round(65535 * (k / 255) ** 1.8) for k in range(256)) * 3
    assert error(encode(eight(to_gamma(PICTURE / 255, 1.8)), "TIFF", tiffinfo=tags)) < EXACT


def icc(space: bytes, kind: bytes, pcs: bytes, tags: dict[bytes, bytes]) -> bytes:
    """Return an ICC version 2 profile of these tags."""
    offset = 132 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI", offset + len(body), bytes(4), 0x02400000) + kind + space + pcs
    head += (
        struct.pack(">6H", 2026, 1, 1, 0, 0, 0)
        + b"acsp"
        + bytes(28)
        + struct.pack(">3i", 63190, 65536, 54061)
    )
    return head.ljust(128, b"\0") + table + body


def grey_profile(gamma: float) -> bytes:
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(256 * gamma)) + bytes(2)
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    return icc(b"GRAY", b"mntr", b"XYZ ", {b"wtpt": white, b"kTRC": curve})


def ink_profile() -> bytes:
    """Return a CMYK profile of a made-up press: paper is white, cyan is a middle grey, all else is black."""
    steps = bytes(range(256))
    grid = b""
    for index in range(16):
        lightness = {0: 255, 8: 128}.get(index, 0)
        grid += bytes([lightness, 128, 128])
    unit = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + unit + 4 * steps + grid + 3 * steps
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    return icc(b"CMYK", b"prtr", b"Lab ", {b"wtpt": white, b"A2B0": table})


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_a_grey_profile(mode: str) -> None:
    grey = PICTURE[..., 1]
    stored = Image.fromarray(eight(to_gamma(grey / 255, 1.8))).convert(mode)
    expected = np.repeat(grey[..., None], 3, axis=2)
    assert error(encode(stored, "PNG", icc_profile=grey_profile(1.8)), expected) < EXACT


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_a_cmyk_profile(kind: str) -> None:
    inks = np.zeros((40, 40, 4), np.uint8)
    inks[:, 20:, 0] = 255
    options = {"quality": 98, "subsampling": 0} if kind == "JPEG" else {}
    data = encode(Image.fromarray(inks, "CMYK"), kind, icc_profile=ink_profile(), **options)
    rgb = decode_photo(data, LIMITS).rgb.astype(int)
    # L* of 50 is sRGB's 119: cyan ink, which the plain formula makes pure cyan.
    assert np.abs(rgb[:, :18] - 255).max() <= 2
    assert np.abs(rgb[:, 22:] - 119).max() <= 3
    plain = decode_photo(encode(Image.fromarray(inks, "CMYK"), kind, **options), LIMITS).rgb.astype(int)
    assert np.abs(plain[:, 22:] - [0, 255, 255]).max() <= 3


def test_cmyk_of_a_jpeg_and_its_inverse() -> None:
    cmyk = Image.fromarray(PICTURE).convert("CMYK")
    data = encode(cmyk, "JPEG", quality=98, subsampling=0)
    assert error(data) < 2 * EXACT
    # Adobe's programs store the complement, and say so in a marker of their own.
    assert b"Adobe" in data


def palette_with(alpha: np.ndarray) -> Image.Image:
    picture = Image.fromarray(PICTURE[..., 1]).convert("PA")
    picture.putalpha(Image.fromarray(alpha))
    return picture


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_what_is_transparent_is_white(mode: str) -> None:
    alpha = np.zeros((128, 128), np.uint8)
    alpha[:, 64:] = 255
    layer = Image.fromarray(np.dstack([PICTURE, alpha]))
    image = palette_with(alpha) if mode == "PA" else layer.convert(mode) if mode != "P" else None
    if image is None:
        image = layer.convert("RGB").quantize(64)
        data = encode(image, "PNG", transparency=int(np.asarray(image)[0, 0]))
        assert (decode_photo(data, LIMITS).rgb[0, 0] == 255).all()
        return
    rgb = decode_photo(encode(image, "TIFF" if mode == "PA" else "PNG"), LIMITS).rgb
    assert (rgb[:, :64] == 255).all()
    assert rgb[:, 64:].mean() < 200


def test_one_transparent_colour_of_a_png_is_white() -> None:
    picture = PICTURE.copy()
    picture[:40] = (1, 2, 3)
    data = encode(picture, "PNG", transparency=(1, 2, 3))
    assert (decode_photo(data, LIMITS).rgb[:40] == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_of_16_bits_is_not_guessed_from_its_brightest_pixel(kind: str) -> None:
    dark = Image.fromarray(np.full((20, 20), 200, np.uint16))
    assert decode_photo(encode(dark, kind), LIMITS).rgb.max() == 1


def test_lab() -> None:
    lab = ImageCms.profileToProfile(
        Image.fromarray(PICTURE),
        ImageCms.createProfile("sRGB"),
        ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )
    assert error(encode(lab, "TIFF")) < 2 * EXACT
