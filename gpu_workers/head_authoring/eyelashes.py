"""Lashes: an upper and a lower strip for each eye, rooted on the edge of the lid whatever moves it.

Each lash vertex has a root, a point of the lid's skin, and an offset from it. The root moves with the skin;
the offset turns as the root turns about the eyeball's centre, so that lashes point down when the eye shuts.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpu_workers.head_authoring.procedural_part import MadePart, grid_quads, join_parts, mirror_part

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]

#: Rings of vertices from where the lid's skin meets the socket's outwards: lashes grow on the lid's edge,
#: which is the first of these two, or so far towards the second.
_ROOT_RINGS, _ROOT_PLACE = (3, 4), 0.12
_SEGMENTS = 20
_ROWS = 4
#: A lash begins this deep in the lid, metres.
_BURIED = 0.0004


@dataclass(frozen=True)
class _Strip:
    """Shape of a strip; u runs from the inner to the outer corner of the eye."""

    #: Share of the lid's edge, from the inner corner, where it begins and ends.
    span: tuple[float, float]
    #: Length in metres at the inner end, at two thirds, and at the outer end.
    lengths: tuple[float, float, float]
    #: Bend and tip of a lash of length 1: outwards from the eyeball, and towards the brow.
    bend: tuple[float, float]
    tip: tuple[float, float]
    #: How far tips lean to the outer corner at the outer end.
    fan: float
    #: v at root and tips.
    rows: tuple[float, float]


_UPPER = _Strip((0.16, 0.985), (0.0048, 0.0088, 0.0072), (0.62, -0.12), (0.95, 0.32), 0.55, (0.51, 0.99))
_LOWER = _Strip((0.30, 0.95), (0.0026, 0.0044, 0.0036), (0.55, -0.10), (0.80, -0.50), 0.45, (0.01, 0.45))


@dataclass(frozen=True, kw_only=True)
class Lashes:
    """A lash part and what its vertices hang on."""

    part: MadePart
    #: (V, 4) skin vertices and (V, 4) weights, which sum to one: each lash vertex's root.
    hosts: IndexArray
    weights: FloatArray
    #: (V, 3) from root to vertex on the template, metres.
    offsets: FloatArray


def make_lashes(
    skin: FloatArray, quads: IndexArray, rim: list[int], centre: FloatArray, mirror: IndexArray
) -> tuple[Lashes, Lashes]:
    """Return lashes_left and lashes_right.

    Args:
        skin: (S, 3) metres.
        quads: (F, 4) of the skin.
        rim: the left eye's loop of vertices between face and socket, in the direction of the face's edges.
        centre: (3,) of the left eyeball.
        mirror: (S,) mirror image of the skin's vertices.
    """
    inner, outer = (find_ring(quads, rim, number) for number in _ROOT_RINGS)
    strips = [_make_strip(skin, inner, outer, centre, shape) for shape in (_UPPER, _LOWER)]
    left = Lashes(
        part=join_parts("lashes_left", [strip.part for strip in strips]),
        hosts=np.concatenate([strip.hosts for strip in strips]),
        weights=np.concatenate([strip.weights for strip in strips]),
        offsets=np.concatenate([strip.offsets for strip in strips]),
    )
    right = Lashes(
        part=mirror_part(left.part, "lashes_right"),
        hosts=mirror[left.hosts],
        weights=left.weights,
        offsets=left.offsets * [-1, 1, 1],
    )
    return left, right


def find_ring(quads: IndexArray, loop: list[int], steps: int) -> list[int]:
    """Return the loop of vertices some quads away from a loop, on the side of the faces that run along it."""
    owner = {(int(q[k]), int(q[(k + 1) % 4])): (f, k) for f, q in enumerate(quads) for k in range(4)}
    for _ in range(steps):
        following = []
        for a, b in zip(loop, loop[1:] + loop[:1], strict=True):
            face, k = owner[a, b]
            following.append(int(quads[face, (k + 3) % 4]))
        loop = following
    return loop


def _make_strip(
    skin: FloatArray, inner: list[int], outer: list[int], centre: FloatArray, shape: _Strip
) -> Lashes:
    edge = (1 - _ROOT_PLACE) * skin[inner] + _ROOT_PLACE * skin[outer]
    # From the inner corner (near the nose: small x on the left side) to the outer, over this lid.
    first, last = int(edge[:, 0].argmin()), int(edge[:, 0].argmax())
    count = len(edge)
    ways = [
        [(first + step * k) % count for k in range((step * (last - first)) % count + 1)] for step in (1, -1)
    ]
    above, below = sorted(ways, key=lambda way: -float(edge[way, 1].mean()))
    way = above if shape is _UPPER else below
    path = edge[way]
    run = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    shares = np.linspace(*shape.span, _SEGMENTS + 1)
    place = np.interp(shares * run[-1], run, np.arange(len(path)))
    before = np.minimum(place.astype(int), len(path) - 2)
    ahead = place - before
    a, b = np.array(way)[before], np.array(way)[before + 1]
    hosts = np.array([inner, outer])[:, np.stack([a, b])].transpose(2, 0, 1).reshape(-1, 4)
    pair = np.stack([1 - ahead, ahead], axis=1)
    weights = np.concatenate([(1 - _ROOT_PLACE) * pair, _ROOT_PLACE * pair], axis=1)
    roots = (skin[hosts] * weights[..., None]).sum(1)
    offsets = _draw(roots - centre, shares, shape)
    rows = np.linspace(*shape.rows, _ROWS)
    uvs = np.stack(np.meshgrid(np.linspace(0.01, 0.99, _SEGMENTS + 1), rows), axis=-1)
    quads = grid_quads(_ROWS, _SEGMENTS + 1)
    part = MadePart(
        name="strip",
        positions=(roots[None] + offsets).reshape(-1, 3),
        quads=quads,
        uvs=uvs.reshape(-1, 2),
        uv_quads=quads,
    )
    return Lashes(
        part=part,
        hosts=np.tile(hosts, (_ROWS, 1)),
        weights=np.tile(weights, (_ROWS, 1)),
        offsets=offsets.reshape(-1, 3),
    )


def _draw(arms: FloatArray, shares: FloatArray, shape: _Strip) -> FloatArray:
    """Return the offsets (rows, N, 3) of lashes whose roots lie at `arms` from the eyeball's centre."""
    outwards = arms / np.linalg.norm(arms, axis=1, keepdims=True)
    sideways = np.gradient(arms, axis=0)
    sideways -= (sideways * outwards).sum(1, keepdims=True) * outwards
    sideways /= np.linalg.norm(sideways, axis=1, keepdims=True)
    upwards = np.cross(outwards, sideways)
    upwards *= np.sign(upwards[:, 1:2])
    along = (shares - shares[0]) / np.ptp(shares)
    length = np.interp(along, [0, 0.66, 1], shape.lengths)[:, None]
    lean = (shape.fan * (along - 0.35))[:, None] * sideways
    bend = shape.bend[0] * outwards + shape.bend[1] * upwards + 0.4 * lean
    tip = shape.tip[0] * outwards + shape.tip[1] * upwards + lean
    t = np.linspace(0, 1, _ROWS)[:, None, None]
    curve = 2 * t * (1 - t) * bend + t**2 * tip
    return np.asarray(length * curve - _BURIED * (1 - t) * outwards)
