"""A z-buffer in numpy: which triangle each pixel sees, and where on it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from face3d.head import FloatArray, IndexArray

#: Pixel tests made at once; they stay in a core's cache.
_CHUNK = 150_000
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
    corners = np.ascontiguousarray(triangles.T)
    x, y = (points[:, axis].take(corners) for axis in (0, 1))
    # y runs down, so that anticlockwise seen from outside is a negative area here.
    area = _find_areas(x.astype(np.float64), y.astype(np.float64))
    low_x, span_x = _find_span(x, width)
    low_y, span_y = _find_span(y, height)
    kept = np.flatnonzero((area < -1e-9) & (span_x > 0) & (span_y > 0)).astype(np.int32)
    low_x, low_y, span_x, span_y = (values.take(kept) for values in (low_x, low_y, span_x, span_y))
    planes = _find_planes(points.take(corners.take(kept, axis=1), axis=0).astype(np.float64), area.take(kept))
    tests = np.cumsum(span_x.astype(np.int64) * span_y)
    total = int(tests[-1]) if len(tests) else 0
    nearest = np.zeros(height * width, np.uint64)
    edges = np.searchsorted(tests, np.arange(_CHUNK, total, _CHUNK))
    for chunk in np.split(np.arange(len(kept), dtype=np.int32), edges):
        triangle, column, row = _list_tests(chunk, low_x, low_y, span_x, span_y)
        for k in range(3):
            inside = np.flatnonzero(_evaluate(planes[k], triangle, column, row) >= -_SLACK)
            triangle, column, row = triangle.take(inside), column.take(inside), row.take(inside)
        # A positive float's bits sort like the float: nearness and triangle fit one key.
        nearness = _evaluate(planes[3], triangle, column, row).view(np.uint32).astype(np.uint64)
        key = (nearness << np.uint64(32)) | triangle.astype(np.uint64)
        np.maximum.at(nearest, row.astype(np.int64) * width + column, key)
    pixels = np.flatnonzero(nearest)
    seen = (nearest[pixels] & np.uint64(0xFFFFFFFF)).astype(np.int32)
    column, row = (pixels % width).astype(np.int32), (pixels // width).astype(np.int32)
    weights = np.stack([_evaluate(planes[k], seen, column, row) for k in range(3)], axis=1)
    visible = kept.take(seen)
    weights = np.maximum(weights, 0) / points[triangles[visible], 2]
    weights /= np.einsum("pk->p", weights)[:, None]
    return Fragments(pixels=pixels, triangles=visible, weights=weights.astype(np.float32))


def _find_areas(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (M,) areas, doubled, of triangles whose corners lie at (3, M)."""
    x, y = x - 0.5, y - 0.5
    areas: NDArray[np.float64] = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
    return areas


def _find_span(corners: FloatArray, side: int) -> tuple[IndexArray, IndexArray]:
    """Return the first pixel and the number of pixels, (M,) each, of corners (3, M) along an axis."""
    first, second, third = corners
    low = np.minimum(np.minimum(first, second), third)
    high = np.maximum(np.maximum(first, second), third)
    start = np.clip(np.ceil(low - 0.5), 0, side).astype(np.int32)
    return start, np.clip(np.floor(high - 0.5) + 1, 0, side).astype(np.int32) - start


def _find_planes(corners: NDArray[np.float64], area: NDArray[np.float64]) -> FloatArray:
    """Return (4, 3, M) factors of column, row and one for three weights and the inverse depth.

    Args:
        corners: (3, M, 3) pixel x, pixel y, depth.
        area: (M,) of `_find_areas`, not zero.
    """
    x, y = corners[:, :, 0] - 0.5, corners[:, :, 1] - 0.5
    scale = 1 / area
    planes = np.zeros((4, 3, len(area)))
    for k in range(3):
        i, j = (k + 1) % 3, (k + 2) % 3
        planes[k] = [y[i] - y[j], x[j] - x[i], x[i] * y[j] - x[j] * y[i]]
        planes[k] *= scale
        planes[3] += planes[k] / corners[k, :, 2]
    return planes.astype(np.float32)


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
    value: FloatArray = plane[0].take(triangle)
    value *= column
    value += plane[1].take(triangle) * row
    value += plane[2].take(triangle)
    return value
