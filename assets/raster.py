"""A z-buffer in numpy: which triangle each pixel sees, and where on it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from face3d.head import FloatArray, IndexArray

#: Pixel tests made at once; bounds the memory.
_CHUNK = 1_500_000
#: Slack of the inside test, so that no pixel on a shared edge is lost to rounding.
_SLACK = 1e-4


@dataclass(frozen=True, kw_only=True)
class Fragments:
    """The nearest hit of every covered pixel; P of them."""

    #: (P,) index of the pixel in the flattened picture.
    pixels: NDArray[np.int64]
    #: (P,) row of the triangle list.
    triangles: IndexArray
    #: (P, 3) perspective-correct barycentric weights.
    weights: FloatArray


def rasterise(points: FloatArray, triangles: IndexArray, height: int, width: int) -> Fragments:
    """Return what a camera sees of triangles that face it.

    Args:
        points: (V, 3) pixel x right, pixel y down, depth > 0; the centre of the top-left pixel is (0.5, 0.5).
        triangles: (M, 3); those whose corners run clockwise on the screen face away and are skipped.
    """
    planes, area = _find_planes(points[triangles].astype(np.float64))
    x, y = points[triangles, 0], points[triangles, 1]
    low_x = np.clip(np.ceil(x.min(1) - 0.5), 0, width).astype(np.int32)
    low_y = np.clip(np.ceil(y.min(1) - 0.5), 0, height).astype(np.int32)
    span_x = np.clip(np.floor(x.max(1) - 0.5) + 1, 0, width).astype(np.int32) - low_x
    span_y = np.clip(np.floor(y.max(1) - 0.5) + 1, 0, height).astype(np.int32) - low_y
    # y runs down, so that anticlockwise seen from outside is a negative area here.
    kept = np.flatnonzero((area < -1e-9) & (span_x > 0) & (span_y > 0)).astype(np.int32)
    tests = np.cumsum(span_x[kept].astype(np.int64) * span_y[kept])
    total = int(tests[-1]) if len(tests) else 0
    nearest = np.zeros(height * width, np.uint64)
    for chunk in np.split(kept, np.searchsorted(tests, np.arange(_CHUNK, total, _CHUNK))):
        triangle, column, row = _list_tests(chunk, low_x, low_y, span_x, span_y)
        for k in range(3):
            inside = _evaluate(planes[k], triangle, column, row) >= -_SLACK
            triangle, column, row = triangle[inside], column[inside], row[inside]
        # A positive float's bits sort like the float: nearness and triangle fit one key.
        nearness = _evaluate(planes[3], triangle, column, row).view(np.uint32).astype(np.uint64)
        key = (nearness << np.uint64(32)) | triangle.astype(np.uint64)
        np.maximum.at(nearest, row.astype(np.int64) * width + column, key)
    pixels = np.flatnonzero(nearest)
    visible = (nearest[pixels] & np.uint64(0xFFFFFFFF)).astype(np.int32)
    column, row = (pixels % width).astype(np.int32), (pixels // width).astype(np.int32)
    weights = np.stack([_evaluate(planes[k], visible, column, row) for k in range(3)], axis=1)
    weights = np.maximum(weights, 0) / points[triangles[visible], 2]
    weights /= np.einsum("pk->p", weights)[:, None]
    return Fragments(pixels=pixels, triangles=visible, weights=weights.astype(np.float32))


def _find_planes(corners: NDArray[np.float64]) -> tuple[FloatArray, NDArray[np.float64]]:
    """Return (4, 3, M) factors of column, row and one for three weights and the inverse depth; areas (M,)."""
    x, y = corners[:, :, 0] - 0.5, corners[:, :, 1] - 0.5
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    scale = np.divide(1, area, out=np.zeros_like(area), where=np.abs(area) > 1e-9)
    planes = np.zeros((4, 3, len(corners)))
    for k in range(3):
        i, j = (k + 1) % 3, (k + 2) % 3
        planes[k] = [y[:, i] - y[:, j], x[:, j] - x[:, i], x[:, i] * y[:, j] - x[:, j] * y[:, i]]
        planes[k] *= scale
        planes[3] += planes[k] / corners[:, k, 2]
    return planes.astype(np.float32), area


def _list_tests(
    chunk: IndexArray, low_x: IndexArray, low_y: IndexArray, span_x: IndexArray, span_y: IndexArray
) -> tuple[IndexArray, IndexArray, IndexArray]:
    """Return triangle, column and row of every pixel of the triangles' boxes."""
    count = span_x[chunk] * span_y[chunk]
    triangle = np.repeat(chunk, count)
    first = np.cumsum(count, dtype=np.int32) - count
    offset = np.arange(len(triangle), dtype=np.int32) - np.repeat(first, count)
    row, column = np.divmod(offset, np.repeat(span_x[chunk], count))
    return triangle, column + np.repeat(low_x[chunk], count), row + np.repeat(low_y[chunk], count)


def _evaluate(plane: FloatArray, triangle: IndexArray, column: IndexArray, row: IndexArray) -> FloatArray:
    value: FloatArray = plane[0][triangle] * column.astype(np.float32)
    value += plane[1][triangle] * row.astype(np.float32)
    value += plane[2][triangle]
    return value
