"""What light, lens and hand do to a whole photo."""

from dataclasses import replace

import numpy as np
from scipy import ndimage

from tests.corpus.bases import Base


def _with(base: Base, values: np.ndarray) -> Base:
    return replace(base, pixels=np.clip(np.round(values), 0, 255).astype(np.uint8))


def exposed(base: Base, stops: float) -> Base:
    """Return the photo with N stops more light; what is too bright is clipped."""
    linear = (base.pixels / 255.0) ** 2.2 * 2.0**stops
    return _with(base, 255 * np.clip(linear, 0, 1) ** (1 / 2.2))


def tinted(base: Base, factors: tuple[float, float, float]) -> Base:
    """Return the photo in coloured light: a factor on each channel."""
    return _with(base, base.pixels * np.array(factors))


def grey(base: Base) -> Base:
    """Return the photo without colours."""
    luma = base.pixels @ np.array([0.299, 0.587, 0.114])
    return _with(base, np.repeat(luma[..., None], 3, axis=2))


def flat(base: Base, contrast: float, middle: float = 128.0) -> Base:
    """Return the photo with less contrast, as in fog."""
    return _with(base, middle + contrast * (base.pixels - middle))


def toned(base: Base, factors: tuple[float, float, float]) -> Base:
    """Return the photo in black and white, printed in a tint."""
    return tinted(grey(base), factors)


def shaken(base: Base, share: float, axis: int = 1) -> Base:
    """Return the photo as of a hand that moved along an axis by a share of the eye distance."""
    length = round(share * base.eyes)
    return _with(base, ndimage.uniform_filter1d(base.pixels.astype(float), length, axis=axis))


def blurred(base: Base, share: float) -> Base:
    """Return the photo out of focus: a Gaussian's deviation in eye distances."""
    sigma = share * base.eyes
    return _with(base, ndimage.gaussian_filter(base.pixels.astype(float), (sigma, sigma, 0)))


def turned(base: Base, quarters: int) -> Base:
    """Return the photo turned anticlockwise by quarters; the points are left as they were."""
    return replace(base, pixels=np.ascontiguousarray(np.rot90(base.pixels, quarters)))


def cut(base: Base, *, top: float | None = None, bottom: float | None = None) -> Base:
    """Return the photo cut off above or below a height of the face, see `Base.to_photo`."""
    rows = [
        int(np.clip(base.to_photo([(0.0, edge)])[0, 1], 0, len(base.pixels))) if edge is not None else None
        for edge in (top, bottom)
    ]
    return Base(np.ascontiguousarray(base.pixels[rows[0] : rows[1]]), base.points - [0, rows[0] or 0])


def cut_side(base: Base, left: float) -> Base:
    """Return the photo cut off at a place beside the face's middle."""
    column = int(base.to_photo([(left, 0.0)])[0, 0])
    return Base(np.ascontiguousarray(base.pixels[:, max(0, column) :]), base.points - [max(0, column), 0])
