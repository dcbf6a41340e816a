"""The bust's own UV square: the surface as a disc about the neck, without a cut, and caps in the corners."""

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.linalg import spsolve

from gpu_workers.head.ops.mesh import cotangent_laplacian, split_quads
from gpu_workers.head_authoring.loop_fill import LoopFill, fill_loop

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]

#: Radius of the disc, and the power of a point's share of it that enlarges the neck, where the seam is.
_RADIUS, _POWER = 0.49, 0.62
#: Middles and radius of the caps: the chest's, the left arm's, the right arm's.
_CORNERS, _CORNER_RADIUS = ((0.08, 0.08), (0.92, 0.08), (0.08, 0.92)), 0.07


def lay_out_surface(
    positions: FloatArray, quads: IndexArray, cuts: tuple[IndexArray, IndexArray, IndexArray]
) -> FloatArray:
    """Return uvs (V, 2) of the bust's surface, as seen from above: the front is below, the left side right.

    A harmonic map with positive weights onto a disc has no fold (Tutte, How to draw a graph, 1963; Floater,
    1997); neck and arms are filled for it, the chest's cut lies on the circle.

    Args:
        cuts: open loops of the chest, which begins in the middle of the back, and of both arms.
    """
    chest, *arms = cuts
    loops = [np.arange(_count_seam(quads, cuts)), *arms]
    faces, places = [quads], [positions]
    first = len(positions)
    for loop in loops:
        fill = fill_loop(len(loop))
        faces.append(
            np.where(fill.quads < len(loop), loop[fill.quads % len(loop)], fill.quads - len(loop) + first)
        )
        places.append(fill.weights[len(loop) :] @ positions[loop])
        first += len(places[-1])
    whole = np.concatenate(places)
    laplacian, _ = cotangent_laplacian(whole, split_quads(np.concatenate(faces)))
    edge = np.linalg.norm(positions[chest] - np.roll(positions[chest], -1, axis=0), axis=1)
    turn = 2 * np.pi * np.concatenate([[0], np.cumsum(edge)[:-1]]) / edge.sum()
    # The loop runs the way of the surface's edges; seen from above with the back on top it turns so, too.
    side = np.sign(positions[chest[1], 0])
    rim = np.stack([side * np.sin(turn), np.cos(turn)], axis=1)
    inner = np.setdiff1d(np.arange(len(whole)), chest)
    found = np.zeros((len(whole), 2))
    found[chest] = rim
    matrix = sp.csc_matrix(laplacian[inner][:, inner])
    found[inner] = np.stack(
        [spsolve(matrix, -laplacian[inner][:, chest] @ rim[:, k]) for k in (0, 1)], axis=1
    )
    disc = found[: len(positions)] - found[: len(loops[0])].mean(0) * (
        1 - np.linalg.norm(found[: len(positions)], axis=1, keepdims=True)
    )
    radius = np.linalg.norm(disc, axis=1, keepdims=True)
    return np.asarray(0.5 + _RADIUS * disc * np.maximum(radius, 1e-9) ** (_POWER - 1))


def _count_seam(quads: IndexArray, cuts: tuple[IndexArray, IndexArray, IndexArray]) -> int:
    """Return the number of open vertices that belong to no cut: the seam's."""
    edges = np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1).reshape(-1, 2)
    pairs = {(int(a), int(b)) for a, b in edges}
    open_vertices = {a for a, b in pairs if (b, a) not in pairs}
    return len(open_vertices - {int(vertex) for cut in cuts for vertex in cut})


def lay_out_caps(caps: list[tuple[IndexArray, LoopFill]]) -> FloatArray:
    """Return uvs of the caps, one after another, each a disc in a corner."""
    placed = []
    for corner, (rim, fill) in zip(_CORNERS, caps, strict=True):
        turn = 2 * np.pi * np.arange(len(rim)) / len(rim)
        circle = np.array(corner) + _CORNER_RADIUS * np.stack([np.cos(turn), np.sin(turn)], axis=1)
        placed.append(fill.weights @ circle)
    return np.concatenate(placed)
