"""Which place of the model's front each vertex of our head's skin is: once a topology, from landmarks.

The model's mean face is bent onto our template by its 68 landmarks (a thin-plate spline), and each skin
vertex takes the nearest place of it. A face of any shape then says where these vertices belong.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spl
from numpy.typing import NDArray
from scipy.interpolate import RBFInterpolator
from scipy.spatial import cKDTree

from gpu_workers.head.model.head_template import HeadData
from gpu_workers.head.ops.mesh import cotangent_laplacian, vertex_normals

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.integer]

#: MediaPipe's landmark at each of iBUG's 68: contour, brows, nose, eyes, outer and inner lips.
MEDIAPIPE_OF_IBUG = (
    162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389,
    71, 63, 105, 66, 107, 336, 296, 334, 293, 301,
    168, 197, 5, 4, 75, 97, 2, 326, 305,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,
    78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip
#: Contours slide with pose and definition: they count less than features.
_CONTOUR = 17
_SMOOTHING = 1e-3
#: A skin vertex farther from the bent mean face, metres, is no place of it; trust fades before.
_REACH = (0.004, 0.012)
#: Metres from the front's border at which it is fully trusted.
_BORDER = 0.015
#: Nearest triangles by their middle, of which the nearest counts.
_CANDIDATES = 12
#: Weights of bending and of size against what the front says; lengths in centimetres.
_BENDING, _SIZE = 0.02, 0.02
#: Parts of the skin that the model has not, or has otherwise: it covers eyes, and has no mouth inside.
_FOREIGN = ("eye_socket", "eyelid_rim", "mouth_interior", "ears", "scalp", "neck")


@dataclass(frozen=True)
class FrontBinding:
    """Constant; S counts the skin's vertices."""

    #: (S, 3) vertices of the front's triangle, and their weights.
    vertices: IndexArray
    weights: FloatArray
    #: (S,) 0..1, how far the front knows that vertex.
    trust: FloatArray
    _smooth: spl.SuperLU
    _areas: FloatArray

    def sample(self, values: FloatArray) -> FloatArray:
        """Return (S, C): the front's vertex values (N, C) at the skin's vertices."""
        return np.asarray((values[self.vertices] * self.weights[..., None]).sum(1))

    def spread(self, displacements: FloatArray) -> FloatArray:
        """Return displacements (S, 3) as far as they are trusted, carried on smoothly and to nothing.

        D = argmin sum trust a |D - d|^2 + 0.02 |L D|^2 over M + 0.02 (1 - trust) a |D|^2, in centimetres, as
        the biharmonic residual of engine anny (biharmonic_residual.py).
        """
        right = (self.trust * self._areas)[:, None] * displacements
        return np.asarray(self._smooth.solve(right))


def bind_front(
    data: HeadData, mean: FloatArray, triangles: IndexArray, keypoints: IndexArray
) -> FrontBinding:
    """Return the binding of a topology to a model.

    Args:
        mean: (N, 3) the model's mean face, x to the person's left, y up, z out of the face; any unit.
        triangles: (F, 3).
        keypoints: (68,) vertices of the landmarks, in iBUG's order.
    """
    skin = data.parts[0]
    template = data.positions[skin.vertices].astype(np.float64)
    corners = data.positions[data.landmark_vertices].astype(np.float64)
    landmarks = (corners * data.landmark_weights[..., None]).sum(1)[list(MEDIAPIPE_OF_IBUG)]
    bent = _bend(mean.astype(np.float64), keypoints, landmarks)
    vertices, weights, distance, facing = _nearest(template, skin.triangles, bent, triangles)
    trust = np.clip((_REACH[1] - distance) / (_REACH[1] - _REACH[0]), 0, 1) * np.clip(2 * facing, 0, 1)
    border = cKDTree(bent[_border(triangles)]).query(template)[0]
    trust *= np.clip(border / _BORDER, 0, 1)
    for name in _FOREIGN:
        trust *= 1 - data.masks[name]
    laplacian, areas = cotangent_laplacian(template * 100, skin.triangles)
    areas = np.maximum(areas, 1e-4)
    system = sp.diags(trust * areas) + _BENDING * laplacian.T @ sp.diags(1 / areas) @ laplacian
    return FrontBinding(
        vertices=vertices,
        weights=weights,
        trust=trust,
        _smooth=spl.splu((system + sp.diags(_SIZE * (1 - trust) * areas)).tocsc()),
        _areas=areas,
    )


def align(points: FloatArray, targets: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return matrix (3, 3), scale included, and shift (3,) that best take points (N, 3) to targets.

    Source: Umeyama, Least-squares estimation of transformation parameters, 1991.
    """
    share = (weights / weights.sum())[:, None]
    middle, aim = (share * points).sum(0), (share * targets).sum(0)
    model, seen = points - middle, targets - aim
    u, s, vt = np.linalg.svd((share * seen).T @ model)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    matrix = (u * sign) @ vt * ((s * sign).sum() / (share * model**2).sum())
    return matrix, aim - matrix @ middle


def _bend(mean: FloatArray, keypoints: IndexArray, landmarks: FloatArray) -> FloatArray:
    """Return the mean face (N, 3) with its landmarks on ours (68, 3)."""
    count = np.arange(len(keypoints))
    matrix, shift = align(mean[keypoints], landmarks, np.where(count < _CONTOUR, 0.1, 1.0))
    placed = mean @ matrix.T + shift
    moves = landmarks - placed[keypoints]
    smoothing = np.where(count < _CONTOUR, 100 * _SMOOTHING, _SMOOTHING)
    # Several landmarks of a coarse model may be one vertex; the spline needs them apart.
    _, first = np.unique(keypoints, return_index=True)
    # In decimetres a landmark's smoothing is that of a well-scaled problem.
    spline = RBFInterpolator(10 * placed[keypoints[first]], moves[first], smoothing=smoothing[first])
    return np.asarray(placed + spline(10 * placed))


def _border(triangles: IndexArray) -> IndexArray:
    """Return the vertices on the edges that have one triangle only."""
    edges = np.sort(np.concatenate([triangles[:, [i, (i + 1) % 3]] for i in range(3)]), axis=1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    return np.unique(unique[count == 1])


def _nearest(
    points: FloatArray, own: IndexArray, surface: FloatArray, triangles: IndexArray
) -> tuple[IndexArray, FloatArray, FloatArray, FloatArray]:
    """Return corners and weights (P, 3) of the nearest places, distances (P,), cosines of normals (P,)."""
    middles = surface[triangles].mean(1)
    _, near = cKDTree(middles).query(points, k=_CANDIDATES)
    corners = surface[triangles[near]]
    weights = _closest_weights(points[:, None], corners)
    distance = np.linalg.norm((corners * weights[..., None]).sum(2) - points[:, None], axis=2)
    best = distance.argmin(1)
    row = np.arange(len(points))
    chosen = triangles[near[row, best]]
    normals, own_normals = vertex_normals(surface, triangles), vertex_normals(points, own)
    facing = (normals[chosen].mean(1) * own_normals).sum(1)
    return chosen, weights[row, best], distance[row, best], facing


def _closest_weights(points: FloatArray, corners: FloatArray) -> FloatArray:
    """Return barycentric weights (..., 3) of the places of triangles (..., 3, 3) about nearest to points.

    The foot of the perpendicular with weights cut off at the border: exact inside, near enough outside.
    """
    a = corners[..., 0, :]
    ab, ac, ap = corners[..., 1, :] - a, corners[..., 2, :] - a, points - a
    d00, d01, d11 = (ab * ab).sum(-1), (ab * ac).sum(-1), (ac * ac).sum(-1)
    d20, d21 = (ap * ab).sum(-1), (ap * ac).sum(-1)
    scale = np.maximum(d00 * d11 - d01 * d01, 1e-30)
    b, c = (d11 * d20 - d01 * d21) / scale, (d00 * d21 - d01 * d20) / scale
    weights = np.clip(np.stack([1 - b - c, b, c], axis=-1), 0, None)
    return np.asarray(weights / weights.sum(-1, keepdims=True))
