"""Opens a photo's file: size, turn, stated colours and focal length, before any pixel is decoded.

Who turns a photo upright differs by format: Pillow does it for TIFF while it loads, libheif for HEIC by the
file's own transformations (EXIF must not be applied on top: ISO/IEC 23000-22:2024, section 7.3.10.1), and
nobody for the others.
"""

import contextlib
import io
import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pi_heif
from numpy.typing import NDArray
from PIL import AvifImagePlugin, ExifTags, Image, TiffImagePlugin

from gpu_workers.photo_formats import containers
from gpu_workers.photo_formats.colours import Colours, read_colours
from gpu_workers.photo_formats.errors import CutShortError, UnreadableError
from gpu_workers.photo_formats.tiff import check_layout, resolve_depth

#: What Pillow may open: formats that cameras, phones and editors write, decoded without outside programs.
PILLOW_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM")
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

#: AVIF is decoded by one thread; a HEIC's tiles by up to four: one of 48 megapixels takes 3 s of a processor.
AvifImagePlugin.DEFAULT_MAX_THREADS = 1
pi_heif.options.DECODE_THREADS = min(4, len(os.sched_getaffinity(0)))
#: Depth maps, gain maps and thumbnails are no photos.
pi_heif.options.THUMBNAILS = False
pi_heif.options.DEPTH_IMAGES = False
pi_heif.options.AUX_IMAGES = False

Deep = NDArray[np.uint16]


#: Is called with width and height as soon as they are known, and raises where they are too many.
CheckSize = Callable[[int, int], None]


@dataclass
class OpenedPhoto:
    """A photo whose header has been read."""

    #: JPEG, HEIC, ...
    format: str
    #: Width and height as the file states them, before `load`; turned or not, see `original_size`.
    size: tuple[int, int]
    #: Pillow's picture; None for HEIC.
    picture: Image.Image | None
    #: Decodes the pixels: a picture of any mode, or (H, W, 3 or 4) of 16 bits.
    load: Callable[[], Image.Image | Deep]
    #: What is left to do to make the loaded pixels upright.
    turn: Image.Transpose | None
    #: How the pixels' colours are meant; None: sRGB.
    colours: Colours | None
    #: Focal length as on 35 mm film, millimetres.
    focal: float | None


def open_photo(data: bytes, check_size: CheckSize) -> OpenedPhoto:
    """Read the header of a photo.

    Raises:
        UnreadableError, CutShortError: see there.
        MemoryError: there is too little.
        Exception: what `check_size` raises.
    """
    kind = containers.heif_kind(data)
    if kind == "HEIC":
        return _open_heic(data, check_size)
    names = ["AVIF"] if kind == "AVIF" else [name for name in PILLOW_FORMATS if name in Image.OPEN]
    try:
        picture = Image.open(io.BytesIO(data), formats=names)
    except MemoryError:
        raise
    except Exception as error:
        cut = kind is not None and containers.is_cut_short(data)
        raise (CutShortError if cut else UnreadableError) from error
    check_size(*picture.size)
    name = "JPEG" if picture.format == "MPO" else str(picture.format)
    exif = _read_exif(picture, name)

    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        check_layout(picture)

    def load() -> Image.Image:
        picture.load()
        return resolve_depth(picture) if isinstance(picture, TiffImagePlugin.TiffImageFile) else picture

    return OpenedPhoto(
        format=name,
        size=picture.size,
        picture=picture,
        load=load,
        turn=None if name == "TIFF" else _TURNS.get(_orientation(exif)),
        colours=read_colours(name, data, picture.info, exif),
        focal=_film_focal(exif),
    )


def _open_heic(data: bytes, check_size: CheckSize) -> OpenedPhoto:
    try:
        # Ten bits stay ten: light beyond white would show bands in eight.
        file = pi_heif.HeifFile(io.BytesIO(data), convert_hdr_to_8bit=False, remove_stride=False)
        photo = file[file.primary_index]
    except MemoryError:
        raise
    except Exception as error:  # It may also hold pictures that are not HEVC's.
        raise (CutShortError if containers.is_cut_short(data) else UnreadableError) from error
    check_size(*photo.size)
    exif = Image.Exif()
    if photo.info.get("exif"):
        _try(lambda: exif.load(photo.info["exif"]))

    def load() -> Image.Image | Deep:
        pixels = photo.data
        depth = photo.mode.partition(";")
        if depth[2]:
            channels = len(depth[0])
            rows = np.frombuffer(pixels, np.uint16).reshape(photo.size[1], -1)
            return rows[:, : photo.size[0] * channels].reshape(photo.size[1], photo.size[0], channels)
        return Image.frombuffer(photo.mode, photo.size, pixels, "raw", photo.mode, photo.stride, 1)

    return OpenedPhoto(
        format="HEIC",
        size=photo.size,
        picture=None,
        load=load,
        turn=None,
        colours=read_colours("HEIC", data, photo.info, exif),
        focal=_film_focal(exif),
    )


def _read_exif(picture: Image.Image, name: str) -> Image.Exif:
    """Return a photo's EXIF; that of a file with a broken one is empty."""
    exif = Image.Exif()
    if name == "AVIF":
        # Pillow writes the file's own transformations over EXIF's orientation, and would take XMP's where
        # there are none: those count no more than EXIF's.
        if picture.info.get("exif"):
            _try(lambda: exif.load(picture.info["exif"]))
        return exif
    if name == "PNG" and "exif" not in picture.info:
        # It may stand behind the pixels.
        try:
            picture.load()
        except MemoryError:
            raise
        except Exception as error:
            raise CutShortError from error
    try:
        return picture.getexif()
    except Exception:  # Pillow raises errors of many kinds at broken tags.
        return exif


def _orientation(exif: Image.Exif) -> int:
    value = exif.get(ExifTags.Base.Orientation, 1)
    return value if isinstance(value, int) else 1


def _film_focal(exif: Image.Exif) -> float | None:
    try:
        value = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.FocalLengthIn35mmFilm)
        focal = float(value) if value is not None else 0.0
    except Exception:  # As above.
        return None
    return focal if _FOCAL_RANGE[0] <= focal <= _FOCAL_RANGE[1] else None


def _try(step: Callable[[], object]) -> None:
    # Broken EXIF is no EXIF.
    with contextlib.suppress(Exception):
        step()
