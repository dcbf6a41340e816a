"""UV layouts: the skin's repacked atlas, and the eyes' and the mouth's own squares."""

import numpy as np
from numpy.typing import NDArray

from gpu_workers.head.ops.mesh import connected_labels
from gpu_workers.head_authoring.head_topology import CutPart

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]

#: How much the radial map enlarges the middle of the face.
_MAGNIFICATION = 3.0
#: Native v of the face's centre line on MakeHuman's map (the face lies on its side there).
_MIDLINE_V = 0.4833
_MARGIN = 0.01
#: Where the tongue lies in the mouth's square: v from and to.
_TONGUE_ROW = (0.006, 0.286)
_EYE_MAGNIFICATION = 2.0
#: Radius of the eye's disc in its square, and the polar angle that it ends at (radians).
_DISC_RADIUS = 0.49
_DISC_ANGLE = np.radians(125)


def island_labels(uv_quads: IndexArray, uvs: FloatArray) -> IndexArray:
    """Return the island number of every uv, the island of most uvs first."""
    labels = connected_labels(uv_quads, len(uvs))
    rank = np.argsort(np.argsort(-np.bincount(labels), kind="stable"), kind="stable")
    return np.asarray(rank[labels], dtype=np.int64)


def repack_skin(skin: CutPart, nose_tip_u: float, left_has_larger_v: bool) -> FloatArray:
    """Return the skin's uvs (T, 2) in an atlas whose larger part is the face, symmetric about u = 0.5.

    The main island is turned upright and magnified about the nose by r' = R (1 + a)(r / R) / (1 + a r / R);
    the other islands stand on a shelf below it.

    Args:
        nose_tip_u: native u of the nose tip, the centre of the magnification.
        left_has_larger_v: whether the person's left side has the larger native v.
    """
    islands = island_labels(skin.uv_quads, skin.uvs)
    atlas = np.zeros_like(skin.uvs)
    main = islands == 0
    native = skin.uvs[main]
    turned = np.stack([native[:, 1] - _MIDLINE_V, nose_tip_u - native[:, 0]], axis=1)
    if not left_has_larger_v:
        turned[:, 0] *= -1
    radius = np.linalg.norm(turned, axis=1, keepdims=True)
    ratio = radius / radius.max()
    turned *= (1 + _MAGNIFICATION) / (1 + _MAGNIFICATION * ratio)
    low, high = turned.min(0), turned.max(0)
    scale_x = (1 - 4 * _MARGIN) / (2 * np.abs(turned[:, 0]).max())
    scale_y = min(0.80 / (high[1] - low[1]), 1.25 * scale_x)
    atlas[main, 0] = 0.5 + turned[:, 0] * scale_x
    atlas[main, 1] = 0.985 - (high[1] - turned[:, 1]) * scale_y

    others = sorted(range(1, islands.max() + 1), key=lambda k: -float(np.ptp(skin.uvs[islands == k][:, 1])))
    widths = {k: float(np.ptp(skin.uvs[islands == k][:, 0])) for k in others}
    heights = {k: float(np.ptp(skin.uvs[islands == k][:, 1])) for k in others}
    shelf = float(atlas[main, 1].min()) - 2 * _MARGIN
    scale = min(
        (1 - 2 * _MARGIN - _MARGIN * len(others)) / sum(widths.values()), shelf / max(heights.values())
    )
    left = _MARGIN
    for k in others:
        chosen = islands == k
        atlas[chosen] = (skin.uvs[chosen] - skin.uvs[chosen].min(0)) * scale + [left, _MARGIN]
        left += widths[k] * scale + _MARGIN
    return atlas


def unwrap_eye(positions: FloatArray, quads: IndexArray) -> tuple[FloatArray, IndexArray, FloatArray]:
    """Lay an eyeball out in its own square: an azimuthal disc about +z, its back in a corner.

    The front is magnified as the face is (see `disc_radius`), so that the iris gets most of the texels.

    Args:
        positions: (V, 3) about the eyeball's centre, metres.
        quads: (F, 4).
    Returns:
        uvs (T, 2), uv_quads (F, 4), and the radius (V,) at which each vertex lies in the disc.
    """
    unit = positions / np.linalg.norm(positions, axis=1, keepdims=True)
    angle = np.arccos(np.clip(unit[:, 2], -1, 1))
    radius = disc_radius(angle)
    azimuth = np.arctan2(unit[:, 1], unit[:, 0])
    disc = 0.5 + np.stack([radius * np.cos(azimuth), radius * np.sin(azimuth)], axis=1)
    back = (angle[quads] > _DISC_ANGLE).any(1)
    # The back cap, never seen, is seen from behind in the square's lower left corner.
    corner = (1 - np.sqrt(0.5)) / 2
    cap = np.unique(quads[back])
    planar = unit[cap, :2] * [-1, 1]
    planar = (planar - planar.min(0)) / np.ptp(planar, axis=0).max() * (corner * 0.62) + 0.005
    uv_quads = quads.copy()
    uv_quads[back] = np.searchsorted(cap, quads[back]) + len(positions)
    uvs = np.concatenate([disc, planar])
    used, compact = np.unique(uv_quads, return_inverse=True)
    return uvs[used], compact.reshape(quads.shape), radius


def disc_radius(angle: float | FloatArray) -> FloatArray:
    """Return the distance from the square's middle of a polar angle (radians) of the eyeball."""
    ratio = np.sin(np.asarray(angle) / 2) / np.sin(_DISC_ANGLE / 2)
    return np.asarray(_DISC_RADIUS * (1 + _EYE_MAGNIFICATION) * ratio / (1 + _EYE_MAGNIFICATION * ratio))


def lay_out_tongue(tongue: CutPart) -> FloatArray:
    """Return the tongue's uvs (T, 2) at the bottom of the mouth's square, below gums and teeth."""
    turned = tongue.uvs[:, ::-1] * [1, -1]
    low, extent = turned.min(0), np.ptp(turned, axis=0)
    bottom, top = _TONGUE_ROW
    scale = min(0.98 / extent[0], (top - bottom) / extent[1])
    return np.asarray((turned - low) * scale + [0.5 - extent[0] * scale / 2, bottom])


def signed_areas(uvs: FloatArray, triangles: NDArray[np.integer]) -> FloatArray:
    """Return the signed area (N,) of UV triangles: positive is anticlockwise."""
    a, b, c = (uvs[triangles[:, k]] for k in range(3))
    u, v = b - a, c - a
    return np.asarray(0.5 * (u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]))
