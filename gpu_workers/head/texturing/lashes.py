"""The lashes' own map: dark hairs on nothing, drawn once; the same for every person."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

#: Pixels a side, and how many drawn pixels make one.
LASHES_SIZE = 1024
_SUPERSAMPLING = 2
#: sRGB.
_COLOUR = (34, 25, 21)
#: Densest coverage of the line where lashes root, on the upper and the lower lid, and its height in v.
_ROOT_COVER, _ROOT_HEIGHT = (0.85, 0.35), 0.075


class _Strip:
    """A strip of hairs: v at roots and tips, how many, their width in pixels at the root."""

    def __init__(self, root: float, tip: float, count: int, width: float, seed: int) -> None:
        self.root, self.tip, self.count, self.width = root, tip, count, width
        self.random = np.random.default_rng(seed)


@lru_cache(maxsize=1)
def paint_lashes() -> NDArray[np.uint8]:
    """Return the lashes' map, (LASHES_SIZE, LASHES_SIZE, 4) uint8 sRGB with coverage.

    On the left eye u runs from the inner corner to the outer. Upper lashes fill v 0.51 to 0.99 from root to
    tip, lower ones v 0.01 to 0.45 (see eyelashes.py).
    """
    side = LASHES_SIZE * _SUPERSAMPLING
    coverage = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(coverage)
    for strip in (_Strip(0.51, 0.985, 130, 7.0, 41), _Strip(0.01, 0.44, 70, 4.6, 42)):
        for place in (np.arange(strip.count) + 0.5) / strip.count:
            _draw_hair(draw, strip, float(place), side)
    small = coverage.resize((LASHES_SIZE, LASHES_SIZE), Image.Resampling.BOX)
    picture = np.empty((LASHES_SIZE, LASHES_SIZE, 4), np.uint8)
    picture[..., :3] = _COLOUR
    picture[..., 3] = np.maximum(np.asarray(small), _draw_roots())
    picture.flags.writeable = False
    return picture


def _draw_roots() -> NDArray[np.uint8]:
    """Return the coverage (LASHES_SIZE, LASHES_SIZE) of the dark lines from which lashes grow."""
    v = 1 - (np.arange(LASHES_SIZE) + 0.5) / LASHES_SIZE
    u = (np.arange(LASHES_SIZE) + 0.5) / LASHES_SIZE
    rows = np.zeros(LASHES_SIZE)
    for root, cover in zip((0.51, 0.01), _ROOT_COVER, strict=True):
        rise = (v - root) / _ROOT_HEIGHT
        rows = np.maximum(rows, cover * np.where(rise > -0.1, np.clip(1 - rise, 0, 1), 0))
    # It fades towards the inner corner and ends softly at the outer one.
    columns = np.clip(u / 0.35, 0.25, 1) * np.clip((1 - u) / 0.06, 0, 1)
    return np.asarray(255 * rows[:, None] * columns[None] + 0.5, np.uint8)


def _draw_hair(draw: ImageDraw.ImageDraw, strip: _Strip, place: float, side: int) -> None:
    random = strip.random
    u = 0.012 + 0.976 * place + random.normal(0, 0.3) / strip.count
    length = random.uniform(0.62, 1.0) * (0.75 if random.random() < 0.25 else 1.0)
    # Hairs lean together in small groups, and a little to the outer corner.
    lean = 0.014 * np.sin(2 * np.pi * place * 19) + random.normal(0, 0.008) + 0.01 * (place - 0.3)
    t = np.linspace(0, 1, 9)
    x = (u + lean * t**1.6) * side
    y = (1 - (strip.root + (strip.tip - strip.root) * length * t)) * side
    half = strip.width / 2 * _SUPERSAMPLING * (1 - 0.85 * t**1.3)
    outline = [*zip(x - half, y, strict=True), *zip((x + half)[::-1], y[::-1], strict=True)]
    draw.polygon([(float(a), float(b)) for a, b in outline], fill=255)
