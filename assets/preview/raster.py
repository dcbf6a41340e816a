"""A z-buffer in numpy: which triangle each pixel sees, and where on it."""

import itertools
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
    runs = _list_runs(planes, low_x, low_y, span_x, span_y, width, height)
    tests = np.cumsum(runs.count, dtype=np.int64)
    total = int(tests[-1]) if len(tests) else 0
    nearest = np.zeros(height * width, np.uint64)
    edges = [0, *np.searchsorted(tests, np.arange(_CHUNK, total, _CHUNK)), len(tests)]
    for start, stop in itertools.pairwise(edges):
        _keep_nearest(nearest, planes, runs.choose(slice(start, stop)), width)
    pixels = np.flatnonzero(nearest)
    seen = nearest.take(pixels).astype(np.uint32).astype(np.intp)
    row, column = np.divmod(pixels.astype(np.int32), np.int32(width))
    column = column.astype(np.float32)
    weights = np.stack([_Line.along(plane, seen, row).evaluate(column) for plane in planes[:3]], axis=1)
    visible = kept.take(seen)
    np.maximum(weights, 0, out=weights)
    weights /= points[:, 2].take(triangles.take(visible, axis=0))
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


@dataclass(frozen=True)
class _Runs:
    """Pixels beside each other that a triangle may cover: its number, their row, first column, count."""

    #: (R,) each.
    triangle: IndexArray
    row: IndexArray
    column: IndexArray
    count: IndexArray

    def choose(self, rows: NDArray[np.intp] | slice) -> "_Runs":
        return _Runs(self.triangle[rows], self.row[rows], self.column[rows], self.count[rows])


def _list_runs(
    planes: FloatArray,
    low_x: IndexArray,
    low_y: IndexArray,
    span_x: IndexArray,
    span_y: IndexArray,
    width: int,
    height: int,
) -> _Runs:
    """Return, a row of a triangle's box, the pixels that no edge rules out by more than rounding."""
    triangle = np.repeat(np.arange(len(span_y), dtype=np.int32), span_y)
    first = np.cumsum(span_y, dtype=np.int32) - span_y
    row = np.arange(len(triangle), dtype=np.int32) - (first - low_y).take(triangle)
    start, end = (values.take(triangle).astype(np.float64) for values in (low_x, low_x + span_x))
    end -= 1
    for plane in planes[:3].astype(np.float64):
        along, across, constant = plane
        # What float32 may add up to, several times over.
        slack = _SLACK + 1e-6 * (abs(along) * width + abs(across) * height + abs(constant))
        # The edge cuts the row where along * column + across * row + constant = -slack.
        steep = np.where(along == 0, 1e-300, along)
        cut = across.take(triangle)
        cut *= row
        cut += (constant + slack).take(triangle)
        cut /= -steep.take(triangle)
        rising = (steep > 0).take(triangle)
        np.maximum(start, cut, out=start, where=rising)
        np.minimum(end, cut, out=end, where=~rising)
    column = np.ceil(start)
    count = np.floor(end) - column + 1
    kept = np.flatnonzero(count > 0)
    column, count = (values.take(kept).astype(np.int32) for values in (column, count))
    return _Runs(triangle.take(kept), row.take(kept), column, count)


def _keep_nearest(nearest: NDArray[np.uint64], planes: FloatArray, runs: _Runs, width: int) -> None:
    """Enter the hits of some runs into what each pixel sees nearest."""
    # Indices as wide as numpy takes by: narrower ones are copied each time.
    run = np.repeat(np.arange(len(runs.count)), runs.count)
    first = np.cumsum(runs.count, dtype=np.int32) - runs.count
    column = (np.arange(len(run), dtype=np.int32) + (runs.column - first).take(run)).astype(np.float32)
    triangle = runs.triangle.astype(np.intp)
    for plane in planes[:3]:
        inside = np.flatnonzero(
            _Line.along(plane, triangle, runs.row).choose(run).evaluate(column) >= -_SLACK
        )
        if len(inside) < len(run):
            run, column = run.take(inside), column.take(inside)
    nearness = _Line.along(planes[3], triangle, runs.row).choose(run).evaluate(column)
    # A positive float's bits sort like the float: nearness and triangle fit one key.
    key = nearness.view(np.uint32).astype(np.uint64)
    key <<= np.uint64(32)
    key |= triangle.astype(np.uint64).take(run)
    pixel = (runs.row.astype(np.intp) * width).take(run)
    pixel += column.astype(np.int32)
    np.maximum.at(nearest, pixel, key)


@dataclass(frozen=True)
class _Line:
    """Planes on rows: factors of the column and of one, (R,) each; the second is float64."""

    slope: FloatArray
    row: NDArray[np.float64]
    constant: FloatArray

    @classmethod
    def along(cls, plane: FloatArray, triangle: NDArray[np.integer], row: IndexArray) -> "_Line":
        """Return the lines of planes (3, M) of some triangles on some rows, (R,) each."""
        slope, across, constant = (values.take(triangle) for values in plane)
        return cls(slope, across * row.astype(np.float64), constant)

    def choose(self, rows: NDArray[np.intp]) -> "_Line":
        return _Line(self.slope.take(rows), self.row.take(rows), self.constant.take(rows))

    def evaluate(self, column: FloatArray) -> FloatArray:
        """Return the values (R,) at a column each; the lines are used up."""
        value = self.slope
        value *= column
        value += self.row
        value += self.constant
        return value
