"""The preview's studio: three soft lamps, a sky, and the shadow that the strongest lamp casts."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assets.raster import rasterise
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
        """Return the share (P, 1) of the key light that reaches points (P, 3)."""
        flat = points @ self.across.T
        behind = points @ self.towards
        total = np.zeros(len(points), np.float32)
        start, full = _SHADOW_DEPTH
        steps = ((-1, -0.4), (0.4, -1), (1, 0.4), (-0.4, 1), (0, 0))
        for step in steps:
            place = (
                (flat + np.float32(_SOFTNESS) * np.array(step, np.float32) - self.low) * self.scale
            ).astype(np.int32)
            np.clip(place, 0, _SHADOW_SIDE - 1, out=place)
            gap = self.nearest.take(place[:, 1] * _SHADOW_SIDE + place[:, 0]) - behind
            total += np.clip((gap - start) / np.float32(full - start), 0, 1)
        total *= np.float32((1 - _SHADOW_LIGHT) / len(steps))
        return (1 - total)[:, None]


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
    """Return what a surface scatters under the studio's lamps (P, 3), and its highlights (P, 1), linear.

    Args:
        albedo: (P, 3) linear.
        normal: (P, 3) unit vectors, x right, y up, z to the viewer.
        towards: (P, 3) unit vectors to the viewer.
        roughness: one of all, or (P, 1).
        key_light: (P, 1) the share of the key light that arrives; all where omitted.
        open_to_sky: (P, 1) the share of the sky that is seen; all where omitted.
    """
    up = (normal[:, 1:2] + 1) / 2
    light = np.float32(1) * up * np.array(_AMBIENT_UP, np.float32)
    light += (1 - up) * np.array(_AMBIENT_DOWN, np.float32)
    if open_to_sky is not None:
        light *= open_to_sky
    exponent = np.clip(2 / np.asarray(roughness, np.float32) ** 4 - 2, *_EXPONENTS).astype(np.float32)
    highlight = np.zeros((len(normal), 1), np.float32)
    for number, lamp in enumerate(_LIGHTS):
        direction = np.array(lamp.direction, np.float32)
        direction /= np.linalg.norm(direction)
        cosine = (normal @ direction)[:, None]
        wrap = np.array(lamp.wrap, np.float32)
        lit = np.clip((cosine + wrap) / (1 + wrap), 0, 1)
        lit *= lit
        arrives = key_light if number == 0 and key_light is not None else np.float32(1)
        light += lit * arrives * np.array(lamp.colour, np.float32)
        if lamp.gloss:
            half = towards + direction
            normalise(half)
            shine = np.clip(np.einsum("pc,pc->p", normal, half), 0, 1)[:, None] ** exponent
            strength = lamp.gloss * (exponent + 8) / 8 * 0.028
            shine = np.minimum(strength * shine * np.clip(cosine * 4, 0, 1), _BRIGHTEST_GLOSS)
            highlight += shine * arrives
    matte: FloatArray = (albedo * light).astype(np.float32)
    return matte, highlight


def normalise(vectors: NDArray[np.float32]) -> None:
    """Scale (P, 3) vectors to unit length, in place."""
    vectors /= np.sqrt(np.einsum("pc,pc->p", vectors, vectors) + 1e-18)[:, None]
