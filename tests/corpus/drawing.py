"""Things drawn before a face, and lids that are drawn shut. Places as in `Base.to_photo`."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

from gpu_workers.head.model.mediapipe_landmarks import LEFT_LIDS, OUTER_LIPS, RIGHT_LIDS
from tests.corpus.bases import Base

Colour = tuple[int, int, int]
Places = list[tuple[float, float]]

#: Larger by so much while it is drawn, so that its edges come out smooth.
_FINER = 4
BLACK, DARK_LENS = (18, 18, 20), (26, 24, 26)
#: Middles of the lenses right and left in the picture, and half a lens, for the usual pair of spectacles.
_LENS_PLACE, _LENS_HALF = (0.34, 0.03), (0.26, 0.19)


class _Sheet:
    """A drawing over a face: lines and areas in places of the face."""

    def __init__(self, base: Base) -> None:
        self._base = base
        height, width = base.pixels.shape[:2]
        self._picture = Image.new("L", (width * _FINER, height * _FINER))
        self._draw = ImageDraw.Draw(self._picture)

    def _pixels(self, places: Places) -> list[tuple[float, float]]:
        return [(float(x) * _FINER, float(y) * _FINER) for x, y in self._base.to_photo(places)]

    def area(self, outline: Places) -> "_Sheet":
        self._draw.polygon(self._pixels(outline), fill=255)
        return self

    def line(self, places: Places, width: float, *, closed: bool = False) -> "_Sheet":
        thick = max(1, round(width * self._base.eyes * _FINER))
        points = self._pixels([*places, places[0]] if closed else places)
        self._draw.line(points, fill=255, width=thick, joint="curve")
        for x, y in (points[0], points[-1]):
            self._draw.ellipse((x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2), fill=255)
        return self

    def coverage(self, soft: float = 0.0) -> NDArray[np.float32]:
        """Return (H, W, 1) 0..1; `soft` is a blur in eye distances."""
        height, width = self._base.pixels.shape[:2]
        small = self._picture.resize((width, height), Image.Resampling.BOX)
        if soft:
            small = small.filter(ImageFilter.GaussianBlur(soft * self._base.eyes))
        return np.asarray(small, np.float32)[..., None] / 255


def _lay(base: Base, coverage: NDArray[np.float32], colour: Colour | NDArray[np.floating]) -> Base:
    mixed = base.pixels * (1 - coverage) + np.asarray(colour, np.float32) * coverage
    return replace(base, pixels=np.clip(np.round(mixed), 0, 255).astype(np.uint8))


def lens_outline(
    side: int, *, half: tuple[float, float] = _LENS_HALF, power: float = 4.0, drop: float = 0.0
) -> Places:
    """Return a lens: a superellipse before the eye on the left (-1) or the right (1) of the picture."""
    turn = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    cosine, sine = np.cos(turn), np.sin(turn)
    x = np.sign(cosine) * np.abs(cosine) ** (2 / power) * half[0]
    y = np.sign(sine) * np.abs(sine) ** (2 / power) * half[1]
    return [(side * _LENS_PLACE[0] + a, _LENS_PLACE[1] + drop + b) for a, b in zip(x, y, strict=True)]


def spectacles(
    base: Base,
    colour: Colour = BLACK,
    *,
    width: float = 0.03,
    opacity: float = 1.0,
    half: tuple[float, float] = _LENS_HALF,
    power: float = 4.0,
    drop: float = 0.0,
    browline: bool = False,
) -> Base:
    """Return the face with a pair of spectacles; `browline`: the upper half of the rims alone is thick."""
    sheet = _Sheet(base)
    for side in (-1, 1):
        outline = lens_outline(side, half=half, power=power, drop=drop)
        sheet.line(outline, width / 3 if browline else width, closed=True)
        if browline:
            upper = [(x, y) for x, y in outline if y < _LENS_PLACE[1] + drop + 0.02]
            sheet.line(sorted(upper), 1.6 * width)
        edge = side * (_LENS_PLACE[0] + half[0])
        sheet.line([(edge, drop - 0.02), (1.3 * edge, drop - 0.06)], width)
    inner = _LENS_PLACE[0] - half[0]
    sheet.line([(-inner, drop), (0, drop - 0.02), (inner, drop)], width)
    return _lay(base, opacity * sheet.coverage(), colour)


def sunglasses(
    base: Base, lens: Colour = DARK_LENS, *, opacity: float = 1.0, power: float = 3.0, glint: bool = False
) -> Base:
    """Return the face with dark lenses in a frame."""
    half = (0.28, 0.21)
    for side in (-1, 1):
        cover = _Sheet(base).area(lens_outline(side, half=half, power=power)).coverage()
        base = _lay(base, opacity * cover, lens)
        if glint:
            at = side * _LENS_PLACE[0]
            streak = _Sheet(base).line([(at - 0.12, -0.08), (at - 0.02, 0.10)], 0.03).coverage(0.01)
            base = _lay(base, 0.5 * streak, (200, 210, 220))
    return spectacles(base, half=half, power=power)


def eye_patch(base: Base, side: int = -1, colour: Colour = BLACK) -> Base:
    """Return the face with a patch over one eye and its string round the head."""
    outline = lens_outline(side, half=(0.24, 0.22), power=2.2)
    sheet = _Sheet(base).area(outline)
    sheet.line([(side * 0.95, -0.02), (side * 0.34, -0.12), (-side * 0.85, -0.5)], 0.02)
    return _lay(base, sheet.coverage(), colour)


def shut_eyes(base: Base, sides: Sequence[int] = (-1, 1)) -> Base:
    """Return the face with lids drawn over the eyes: skin from above, and lashes where the lids meet."""
    for lids, side in ((RIGHT_LIDS, -1), (LEFT_LIDS, 1)):
        if side not in sides:
            continue
        places = base.to_face(base.points[list(lids)])
        order = np.argsort(places[:8, 0])
        lower = places[:9][np.argsort(places[:9, 0])]
        upper = places[8:][np.argsort(places[8:, 0])]
        del order
        base = _pull_lid(base, upper, lower)
        line = [(float(x), float(y) - 0.005) for x, y in lower]
        base = _lay(base, 0.85 * _Sheet(base).line(line, 0.016).coverage(0.004), _dark_of(base))
    return base


def _pull_lid(base: Base, upper: NDArray[np.float64], lower: NDArray[np.float64]) -> Base:
    """Stretch the skin between brow and upper lid down to the lower lid."""
    height, width = base.pixels.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width] + 0.5
    places = base.to_face(np.stack([columns.ravel(), rows.ravel()], 1))
    x, y = places.T
    low, high = upper[0, 0], upper[-1, 0]
    top = np.interp(x, upper[:, 0], upper[:, 1])
    bottom = np.interp(x, lower[:, 0], lower[:, 1])
    # A strip of skin above the lashes takes the place of the opening and of itself.
    begin, source = top - 0.13, top - 0.035
    inside = (x > low) & (x < high) & (y > begin) & (y < bottom)
    share = (y - begin) / np.maximum(bottom - begin, 1e-6)
    moved = np.where(inside, begin + share * (source - begin), y)
    back = base.to_photo(np.stack([x, moved], 1)) - 0.5
    sampled = np.stack(
        [
            ndimage.map_coordinates(
                base.pixels[..., channel].astype(float), back.T[::-1], order=1, mode="nearest"
            )
            for channel in range(3)
        ],
        1,
    ).reshape(base.pixels.shape)
    mask = ndimage.gaussian_filter(inside.reshape(height, width).astype(float), 0.01 * base.eyes)[..., None]
    pixels = base.pixels * (1 - mask) + sampled * mask
    return replace(base, pixels=np.round(pixels).astype(np.uint8))


def _dark_of(base: Base) -> Colour:
    x, y = base.points[50]
    skin = base.pixels[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3].reshape(-1, 3).mean(0)
    return tuple(int(0.3 * value) for value in skin)  # type: ignore[return-value]


def skin_of(base: Base) -> Colour:
    """Return the colour of the cheeks."""
    found = [base.pixels[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4] for x, y in base.points[[50, 280]]]
    return tuple(int(value) for value in np.concatenate(found).reshape(-1, 3).mean(0))  # type: ignore[return-value]


def hand(base: Base, at: tuple[float, float], turn: float = 0.0, tone: float = 0.85) -> Base:
    """Return the face with a hand of its own colour before a place: four fingers side by side."""
    colour = np.array(skin_of(base)) * tone
    cosine, sine = np.cos(turn), np.sin(turn)
    for finger in range(4):
        y = -0.21 + 0.14 * finger
        ends = [(-0.42, y), (0.40 - 0.06 * abs(finger - 1.5), y)]
        placed = [(at[0] + cosine * x - sine * b, at[1] + sine * x + cosine * b) for x, b in ends]
        shade = _Sheet(base).line(placed, 0.155).coverage(0.008)
        base = _lay(base, shade, 0.62 * colour)
        base = _lay(base, _Sheet(base).line(placed, 0.125).coverage(0.008), colour * (0.96 + 0.03 * finger))
    return base


def microphone(base: Base, colour: Colour = (40, 40, 44)) -> Base:
    """Return the face with a microphone's head before the mouth."""
    mouth = base.to_face(base.points[list(OUTER_LIPS)]).mean(0)
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    x, y = float(mouth[0]), float(mouth[1]) + 0.04
    ball = [(x + 0.27 * np.cos(a), y + 0.27 * np.sin(a)) for a in turn]
    base = _lay(base, _Sheet(base).area(ball).coverage(), colour)
    light = [(x - 0.08 + 0.1 * np.cos(a), y - 0.1 + 0.08 * np.sin(a)) for a in turn]
    base = _lay(base, 0.5 * _Sheet(base).area(light).coverage(0.04), tuple(min(255, c + 60) for c in colour))
    handle = [(x - 0.14, y + 0.22), (x + 0.14, y + 0.22), (x + 0.1, y + 1.3), (x - 0.1, y + 1.3)]
    return _lay(base, _Sheet(base).area(handle).coverage(), (24, 24, 26))


def mask(base: Base, colour: Colour = (150, 190, 205)) -> Base:
    """Return the face with a surgical mask: pleats, and bands to the ears."""
    points = base.to_face(base.points)
    chin, nose = points[152], points[195]
    outline = [
        (float(points[234][0]) * 0.93, float(nose[1]) + 0.14),
        (float(nose[0]) - 0.12, float(nose[1]) + 0.02),
        (float(nose[0]) + 0.12, float(nose[1]) + 0.02),
        (float(points[454][0]) * 0.93, float(nose[1]) + 0.14),
        (float(points[397][0]), float(points[397][1])),
        (float(chin[0]) + 0.2, float(chin[1]) + 0.08),
        (float(chin[0]) - 0.2, float(chin[1]) + 0.08),
        (float(points[172][0]), float(points[172][1])),
    ]
    base = _lay(base, _Sheet(base).area(outline).coverage(0.006), colour)
    for share in (0.35, 0.55, 0.75):
        y = float(nose[1] + share * (chin[1] - nose[1]))
        pleat = _Sheet(base).line([(-0.5, y - 0.02), (0, y), (0.5, y - 0.02)], 0.012).coverage(0.006)
        base = _lay(base, 0.4 * pleat, tuple(int(0.8 * c) for c in colour))
    return base


def tongue(base: Base) -> Base:
    """Return the face with its tongue out over the lower lip and chin."""
    lips = base.to_face(base.points[list(OUTER_LIPS)])
    x, y = lips.mean(0)
    half = 0.5 * np.ptp(lips[:, 0])
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    hole = [(x + 0.8 * half * np.cos(a), y + 0.02 + 0.09 * np.sin(a)) for a in turn]
    base = _lay(base, _Sheet(base).area(hole).coverage(0.006), (60, 20, 22))
    tip = [
        (x + 0.5 * half * np.sign(np.cos(a)) * abs(np.cos(a)) ** 0.7, y + 0.17 + 0.17 * np.sin(a))
        for a in turn
    ]
    base = _lay(base, _Sheet(base).area(tip).coverage(0.006), (205, 96, 104))
    groove = (
        _Sheet(base).line([(float(x), float(y) + 0.05), (float(x), float(y) + 0.27)], 0.012).coverage(0.008)
    )
    return _lay(base, 0.5 * groove, (150, 60, 70))


def block(base: Base, outline: Places, colour: Colour) -> Base:
    """Return the face with an area of one colour before it."""
    return _lay(base, _Sheet(base).area(outline).coverage(0.004), colour)


def chain(*steps: Callable[[Base], Base]) -> Callable[[Base], Base]:
    """Return the steps one after the other."""

    def run(base: Base) -> Base:
        for step in steps:
            base = step(base)
        return base

    return run
