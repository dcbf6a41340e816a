"""Soft masks 0..1 on the skin's vertices, from MakeHuman's mask textures and from the landmarks' places."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from gpu_workers.head.model.mediapipe_landmarks import LEFT_BROW, LEFT_LIDS, RIGHT_BROW, RIGHT_LIDS
from gpu_workers.head.ops.image import smoothstep
from gpu_workers.head.rigging.eye_sockets import MARGIN
from gpu_workers.head_authoring.eyelashes import find_ring
from gpu_workers.head_authoring.head_topology import CutPart, find_lid_rim
from gpu_workers.head_authoring.makehuman_source import AnnySource

FloatArray = NDArray[np.float64]

#: How wet the rings outwards of the eye socket's border are: foot and bridge wholly, the margin partly.
_WET = (1.0, 1.0, 0.55)
#: Metres from the corner at the nose that are the caruncle's; it fades over as much again.
_CARUNCLE = 0.0032


def skin_masks(
    source: AnnySource,
    skin: CutPart,
    positions: FloatArray,
    landmarks: FloatArray,
    mirror: NDArray[np.integer],
) -> dict[str, FloatArray]:
    """Return mask name to (S,) weights.

    Args:
        positions: (S, 3) metres, origin midway between the eyes.
        landmarks: (478, 3) metres on that surface.
        mirror: (S,) the vertex on the other side.
    """
    masks = {
        "lips": _texture_mask(source, skin, "lips"),
        "eyelids": _texture_mask(source, skin, "eyelids"),
        "face": _texture_mask(source, skin, "face"),
        "ears": _texture_mask(source, skin, "ears"),
        "mouth_interior": _region_mask(skin, "mouth"),
        "eye_socket": np.maximum(_region_mask(skin, "socket_left"), _region_mask(skin, "socket_right")),
        "neck": _region_mask(skin, "neck"),
    }
    outer = 1 - np.maximum(masks["mouth_interior"], masks["eye_socket"])
    masks["brows"] = outer * _near(positions, _brow_line(landmarks), 0.004, 0.009)
    rims = landmarks[[*RIGHT_LIDS, *LEFT_LIDS]]
    masks["eyelid_rim"] = _near(positions, rims, 0.0015, 0.004)
    masks["conjunctiva"], masks["caruncle"] = _wet_rims(skin, positions, mirror)
    masks["scalp"] = (
        outer * (1 - masks["ears"]) * (1 - masks["neck"]) * _behind_hairline(positions, landmarks)
    )
    return masks


def _wet_rims(
    skin: CutPart, positions: FloatArray, mirror: NDArray[np.integer]
) -> tuple[FloatArray, FloatArray]:
    """Return (S,) twice: what is wet between the lids' edges and the eyeballs, and its part at the nose."""
    wet, corner = np.zeros(len(positions)), np.zeros(len(positions))
    rim = find_lid_rim(skin)
    rings = [find_ring(skin.quads, rim, number) for number in range(len(_WET))]
    nose = positions[rings[MARGIN]][np.argmin(positions[rings[MARGIN], 0])]
    for ring, amount in zip(rings, _WET, strict=True):
        wet[ring] = amount
        from_nose = np.linalg.norm(positions[ring] - nose, axis=1)
        corner[ring] = smoothstep(2 - from_nose / _CARUNCLE)
    return np.maximum(wet, wet[mirror]), np.maximum(corner, corner[mirror])


def _region_mask(skin: CutPart, region: str) -> FloatArray:
    """Return 1 on vertices whose every face lies in the region: its border belongs to the neighbours."""
    inside = np.zeros(len(skin.source), bool)
    inside[skin.quads[skin.regions == region]] = True
    inside[skin.quads[skin.regions != region]] = False
    return inside.astype(np.float64)


def _texture_mask(source: AnnySource, skin: CutPart, name: str) -> FloatArray:
    values = source.mask(name, skin.uvs)
    total = np.zeros(len(skin.source))
    count = np.zeros(len(skin.source))
    np.add.at(total, skin.quads.ravel(), values[skin.uv_quads.ravel()])
    np.add.at(count, skin.quads.ravel(), 1.0)
    return np.clip(total / np.maximum(count, 1), 0, 1)


def _brow_line(landmarks: FloatArray) -> FloatArray:
    lines = []
    for brow in (RIGHT_BROW, LEFT_BROW):
        upper, lower = landmarks[list(brow[:5])], landmarks[list(brow[:4:-1])]
        middle = 0.5 * (upper + lower)
        steps = np.linspace(0, 4, 60)
        lines.append(np.stack([np.interp(steps, np.arange(5), middle[:, k]) for k in range(3)], axis=1))
    return np.concatenate(lines)


def _near(positions: FloatArray, points: FloatArray, full: float, zero: float) -> FloatArray:
    distance = cKDTree(points).query(positions)[0]
    return smoothstep((zero - distance) / (zero - full))


def _behind_hairline(positions: FloatArray, landmarks: FloatArray) -> FloatArray:
    """Return 1 behind the plane through the top of the forehead and in front of the ears, above the nape."""
    top, temples, chin = landmarks[10], landmarks[[127, 356]].mean(0), landmarks[152]
    along = np.array([0.0, top[1] - temples[1], top[2] - temples[2]])
    along /= np.linalg.norm(along)
    forward = np.array([0.0, -along[2], along[1]])
    depth = (positions - temples) @ forward
    nape = 0.5 * (chin[1] + temples[1])
    return np.asarray(smoothstep(-depth / 0.012) * smoothstep((positions[:, 1] - nape) / 0.02))
