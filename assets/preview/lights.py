"""The preview's studio: three soft lamps, a sky, and the shadow that the strongest lamp casts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assets.preview.raster import rasterise
from face3d.head import FloatArray, IndexArray


@dataclass(frozen=True, kw_only=True)
class _Light:
    #: Towards the light, in the camera's frame turned upright: x right, y up, z to the viewer.
    direction: tuple[float, float, float]
    #: Linear RGB.
    colour: tuple[float, float, float]
    #: How far light reaches past the terminator, 0..1: large for a soft box. Red goes further under skin.
    wrap: tuple[float, float, float]
    #: Share of the light that makes highlights.
    gloss: float


#: The first is the key light, which casts the shadow.
_LIGHTS = (
    _Light(direction=(-0.52, 0.42, 0.74), colour=(0.84, 0.82, 0.79), wrap=(0.36, 0.27, 0.24), gloss=1.0),
    _Light(direction=(0.75, 0.1, 0.65), colour=(0.22, 0.24, 0.27), wrap=(0.5, 0.5, 0.5), gloss=0.35),
    _Light(direction=(0.5, 0.45, -0.75), colour=(0.38, 0.40, 0.46), wrap=(0.1, 0.1, 0.1), gloss=0.0),
)
_AMBIENT_UP = (0.30, 0.30, 0.31)
_AMBIENT_DOWN = (0.17, 0.16, 0.155)
#: Sharpest highlight: one of a small soft box on a wet eye.
_EXPONENTS = (4.0, 2500.0)
_BRIGHTEST_GLOSS = 0.9
#: Pixels a side of the key light's view; half the breadth of the shadow's soft edge, metres.
_SHADOW_SIDE, _SOFTNESS = 320, 0.0030
#: Metres behind what the key light sees where shadow begins and where it is full.
_SHADOW_DEPTH = (0.0025, 0.0055)
#: What reaches into the shadow: scattered under the skin and from the room.
_SHADOW_LIGHT = 0.30


@dataclass(frozen=True)
class Shadow:
    """What the key light sees of a head: a depth map."""

    #: (2, 3) rows across the light, and towards it; and what puts points on the map.
    across: FloatArray
    towards: FloatArray
    low: FloatArray
    scale: float
    #: (side, side) how near to the light.
    nearest: FloatArray

    def find_light(self, points: FloatArray) -> FloatArray:
        """Return the share (P,) of the key light that reaches points (3, P)."""
        flat = _dot(self.across, points)
        behind = _dot(self.towards[None], points)[0]
        total = np.zeros(points.shape[1], np.float32)
        start, full = _SHADOW_DEPTH
        steps = ((-1, -0.4), (0.4, -1), (1, 0.4), (-0.4, 1), (0, 0))
        for step in steps:
            offset = np.float32(_SOFTNESS) * np.array(step, np.float32)
            column, row = (
                np.clip((one + by - low) * np.float32(self.scale), 0, _SHADOW_SIDE - 1).astype(np.int32)
                for one, by, low in zip(flat, offset, self.low, strict=True)
            )
            gap = self.nearest.take(row * _SHADOW_SIDE + column) - behind
            gap -= np.float32(start)
            gap /= np.float32(full - start)
            total += np.clip(gap, 0, 1, out=gap)
        total *= np.float32((1 - _SHADOW_LIGHT) / len(steps))
        return 1 - total


def cast_shadow(points: FloatArray, triangles: IndexArray) -> Shadow:
    """Return the key light's shadow of triangles (M, 3) of points (N, 3)."""
    towards = np.array(_LIGHTS[0].direction, np.float32)
    towards /= np.linalg.norm(towards)
    right = np.cross(np.array([0, 1, 0], np.float32), towards)
    right /= np.linalg.norm(right)
    across = np.stack([right, np.cross(right, towards)]).astype(np.float32)
    flat, near = points @ across.T, points @ towards
    low = flat.min(0) - np.float32(2 * _SOFTNESS)
    scale = float(_SHADOW_SIDE / (flat.max(0) + 2 * _SOFTNESS - low).max())
    # A depth that rises away from the light; far off, so that perspective does nothing.
    depth = 1000 - near
    seen = rasterise(
        np.concatenate([(flat - low) * scale, depth[:, None]], axis=1).astype(np.float32),
        triangles,
        _SHADOW_SIDE,
        _SHADOW_SIDE,
    )
    nearest = np.full(_SHADOW_SIDE**2, -1.0e3, np.float32)
    nearest[seen.pixels] = np.einsum("pk,pk->p", near[triangles[seen.triangles]], seen.weights)
    return Shadow(across=across, towards=towards, low=low, scale=scale, nearest=nearest)


def shade(
    albedo: FloatArray,
    normal: FloatArray,
    towards: FloatArray,
    roughness: float | FloatArray,
    key_light: FloatArray | None = None,
    open_to_sky: FloatArray | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Return what a surface scatters under the studio's lamps (3, P), and its highlights (P,), linear.

    Args:
        albedo: (3, P) linear.
        normal: (3, P) unit vectors, x right, y up, z to the viewer.
        towards: (3, P) unit vectors to the viewer.
        roughness: one of all, or (P,).
        key_light: (P,) the share of the key light that arrives; all where omitted.
        open_to_sky: (P,) the share of the sky that is seen; all where omitted.
    """
    up = (normal[1] + 1) / 2
    light = up * _column(_AMBIENT_UP)
    light += (1 - up) * _column(_AMBIENT_DOWN)
    if open_to_sky is not None:
        light *= open_to_sky
    exponent = np.clip(2 / np.asarray(roughness, np.float32) ** 4 - 2, *_EXPONENTS).astype(np.float32)
    highlight = np.zeros(normal.shape[1], np.float32)
    for number, lamp in enumerate(_LIGHTS):
        direction = np.array(lamp.direction, np.float32)
        direction /= np.linalg.norm(direction)
        cosine = _dot(direction[None], normal)[0]
        wrap = _column(lamp.wrap)
        lit = cosine + wrap
        lit /= 1 + wrap
        np.clip(lit, 0, 1, out=lit)
        lit *= lit
        arrives = key_light if number == 0 and key_light is not None else np.float32(1)
        lit *= arrives
        lit *= _column(lamp.colour)
        light += lit
        if lamp.gloss:
            half = towards + direction[:, None]
            normalise(half)
            shine = half[0] * normal[0]
            shine += half[1] * normal[1]
            shine += half[2] * normal[2]
            np.clip(shine, 0, 1, out=shine)
            strength = lamp.gloss * (exponent + 8) / 8 * np.float32(0.028)
            shine = strength * shine**exponent
            shine *= np.clip(cosine * 4, 0, 1)
            np.minimum(shine, _BRIGHTEST_GLOSS, out=shine)
            shine *= arrives
            highlight += shine
    light *= albedo
    return light, highlight


def normalise(vectors: NDArray[np.float32]) -> None:
    """Scale (3, P) vectors to unit length, in place."""
    x, y, z = vectors
    length = x * x
    length += y * y
    length += z * z
    length += np.float32(1e-18)
    vectors /= np.sqrt(length, out=length)


def _column(values: tuple[float, float, float]) -> FloatArray:
    return np.array(values, np.float32)[:, None]


def _dot(rows: FloatArray, points: FloatArray) -> FloatArray:
    """Return (R, P): products of rows (R, 3) with points (3, P), without the threads of a BLAS."""
    product = np.empty((len(rows), points.shape[1]), np.float32)
    for row, (a, b, c) in zip(product, rows, strict=True):
        np.multiply(points[0], a, out=row)
        np.add(row, points[1] * b, out=row)
        np.add(row, points[2] * c, out=row)
    return product
