"""Photos for the benchmarks: re-cropped and re-encoded, so that no two have the same bytes."""

import io
import random
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from face3d.errors import Face3DError

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
#: Part of scikit-image's astronaut (512 pixels a side) that a portrait of her would show.
_ASTRONAUT_BOX = (60, 0, 380, 320)
#: Crops keep at least this share of the picture's side.
_LEAST_SHARE = 0.88
_QUALITIES = (88, 95)


class NoPhotos(Face3DError):
    """A folder without photos."""


def load_sources(folder: Path | None, astronaut: Path) -> list[Image.Image]:
    """Return the square pictures that photos are cut from.

    Args:
        folder: of photos, searched with its subfolders.
        astronaut: stands in where there is no folder.
    Raises:
        NoPhotos: the folder holds none.
    """
    if folder is None:
        return [Image.open(astronaut).convert("RGB").crop(_ASTRONAUT_BOX)]
    pictures = [Image.open(path).convert("RGB") for path in _find_files(folder)]
    return [picture.crop((0, 0, min(picture.size), min(picture.size))) for picture in pictures]


def load_files(folder: Path | None, astronaut: Path) -> list[bytes]:
    """Return the files of a folder's photos as they are, or the one that stands in for them.

    Raises:
        NoPhotos: the folder holds none.
    """
    return [path.read_bytes() for path in _find_files(folder)] if folder else [astronaut.read_bytes()]


def _find_files(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not paths:
        raise NoPhotos(f"{folder} holds no photo.")
    return paths


def make_photos(sources: Sequence[Image.Image], count: int, side: int = 1280, seed: int = 1) -> list[bytes]:
    """Return JPEG files, `side` pixels a side, cut from the sources in turn at random."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    photos = []
    for number in range(count):
        source = sources[number % len(sources)]
        length = source.width * chance.uniform(_LEAST_SHARE, 1)
        left, top = (chance.uniform(0, source.width - length) for _ in range(2))
        picture = source.resize(
            (side, side), Image.Resampling.BICUBIC, box=(left, top, left + length, top + length)
        )
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=chance.randint(*_QUALITIES))
        photos.append(stream.getvalue())
    return photos
