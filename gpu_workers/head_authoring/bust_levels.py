"""Level of detail 2 of the bust: its seam has just the vertices that the coarse skin keeps of it."""

import numpy as np
from numpy.typing import NDArray

from face3d.head import CoarseLevel
from gpu_workers.head_authoring.loop_fill import span_loop
from gpu_workers.head_authoring.quad_simplification import QuadMesh, coarsen

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]

#: Share of its faces that the surface keeps before its seam loses vertices.
_SHARE = 0.4


def coarsen_bust(
    positions: FloatArray,
    uvs: FloatArray,
    quads: IndexArray,
    mirror: IndexArray,
    kept: NDArray[np.bool_],
    rims: list[IndexArray],
    cap_sizes: list[int],
) -> CoarseLevel:
    """Return the coarse bust; uvs have the numbers of vertices.

    Args:
        positions: (V, 3) metres of the surface, without caps; the seam's L vertices come first, in order.
        uvs: (V, 2).
        quads: (F, 4).
        mirror: (V,).
        kept: (L,) whether the coarse skin keeps a vertex of the seam.
        rims: each cap's rim among the surface's vertices.
        cap_sizes: each cap's number of vertices; they follow the surface's.
    """
    held = np.arange(len(positions)) < len(kept)
    mesh = QuadMesh(
        positions=positions,
        uvs=uvs,
        quads=quads,
        uv_quads=quads,
        mirror=mirror,
        importance=np.ones(len(positions)),
        held=held,
    )
    level = coarsen(mesh, _SHARE)
    merged = np.arange(len(positions))
    merged[: len(kept)] = _merge_along(kept)
    faces = [_close_up(row) for row in merged[level.vertices[level.quads]].tolist()]
    left = np.isin(np.arange(len(positions)), level.vertices)
    first = len(positions)
    for rim, size in zip(rims, cap_sizes, strict=True):
        cap = span_loop(np.flatnonzero(left[rim]))
        faces += (cap.vertices[cap.quads] + first).tolist()
        first += size
    vertices, local = np.unique(np.array(faces), return_inverse=True)
    rows = local.reshape(-1, 4).astype(np.int32)
    numbers = vertices.astype(np.int32)
    return CoarseLevel(vertices=numbers, uvs=numbers, quads=rows, uv_quads=rows)


def _merge_along(kept: NDArray[np.bool_]) -> IndexArray:
    """Return for each vertex of a closed loop the nearest one along it that is kept."""
    count = len(kept)
    places = np.flatnonzero(kept)
    apart = np.abs(np.arange(count)[:, None] - places[None])
    return np.asarray(places[np.minimum(apart, count - apart).argmin(1)])


def _close_up(row: list[int]) -> list[int]:
    """Return a face whose corners may have become one: a triangle repeats its last index."""
    corners = list(dict.fromkeys(row))
    return corners + corners[-1:] * (4 - len(corners))
