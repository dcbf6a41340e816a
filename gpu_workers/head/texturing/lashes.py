"""The lashes' own map: dark hairs on nothing, drawn once; the same for every person."""

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
#: That line begins so far below the roots, in its heights; it fades towards the inner corner, over this share
#: of u and to this share of its cover, and ends at the outer one over the last.
_ROOT_BELOW, _INNER_FADE, _INNER_COVER, _OUTER_FADE = 0.1, 0.35, 0.25, 0.06
#: v of the roots of upper and lower lashes, as their strips are cut in the head data.
_ROOTS = (0.51, 0.01)
#: The upper and the lower strip, as `_Strip` takes them.
_STRIPS = ((_ROOTS[0], 0.985, 130, 7.0, 41), (_ROOTS[1], 0.44, 70, 4.6, 42))
#: u of the first hair, what the hairs span, and how far one strays, in spaces.
_FIRST, _SPAN, _STRAY = 0.012, 0.976, 0.3
#: Shortest hair of full ones; the share of hairs that are shorter still, and by what.
_SHORTEST, _SHORT_SHARE, _SHORT = 0.62, 0.25, 0.75
#: Lean of a hair's tip in u: of groups, N along a lid, of each by itself, and towards the outer corner
#: from this place on.
_GROUP_LEAN, _GROUPS, _OWN_LEAN, _OUTER_LEAN, _UPRIGHT = 0.014, 19, 0.008, 0.01, 0.3
#: How the lean grows along a hair, how its width goes, and what of it is gone at the tip.
_LEAN_POWER, _TAPER_POWER, _TAPER = 1.6, 1.3, 0.85


class _Strip:
    """A strip of hairs: v at roots and tips, how many, their width in pixels at the root."""

    def __init__(self, root: float, tip: float, count: int, width: float, seed: int) -> None:
        self.root, self.tip, self.count, self.width = root, tip, count, width
        self.random = np.random.default_rng(seed)


def paint_lashes() -> NDArray[np.uint8]:
    """Return the lashes' map, (LASHES_SIZE, LASHES_SIZE, 4) uint8 sRGB with coverage.

    On the left eye u runs from the inner corner to the outer. Upper lashes fill v 0.51 to 0.99 from root to
    tip, lower ones v 0.01 to 0.45 (see eyelashes.py).
    """
    side = LASHES_SIZE * _SUPERSAMPLING
    coverage = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(coverage)
    for strip in (_Strip(*one) for one in _STRIPS):
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
    for root, cover in zip(_ROOTS, _ROOT_COVER, strict=True):
        rise = (v - root) / _ROOT_HEIGHT
        rows = np.maximum(rows, cover * np.where(rise > -_ROOT_BELOW, np.clip(1 - rise, 0, 1), 0))
    columns = np.clip(u / _INNER_FADE, _INNER_COVER, 1) * np.clip((1 - u) / _OUTER_FADE, 0, 1)
    return np.asarray(255 * rows[:, None] * columns[None] + 0.5, np.uint8)


def _draw_hair(draw: ImageDraw.ImageDraw, strip: _Strip, place: float, side: int) -> None:
    random = strip.random
    u = _FIRST + _SPAN * place + random.normal(0, _STRAY) / strip.count
    length = random.uniform(_SHORTEST, 1.0) * (_SHORT if random.random() < _SHORT_SHARE else 1.0)
    lean = _GROUP_LEAN * np.sin(2 * np.pi * place * _GROUPS) + random.normal(0, _OWN_LEAN)
    lean += _OUTER_LEAN * (place - _UPRIGHT)
    t = np.linspace(0, 1, 9)
    x = (u + lean * t**_LEAN_POWER) * side
    y = (1 - (strip.root + (strip.tip - strip.root) * length * t)) * side
    half = strip.width / 2 * _SUPERSAMPLING * (1 - _TAPER * t**_TAPER_POWER)
    outline = [*zip(x - half, y, strict=True), *zip((x + half)[::-1], y[::-1], strict=True)]
    draw.polygon([(float(a), float(b)) for a, b in outline], fill=255)
