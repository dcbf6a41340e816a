"""What a UV layout is worth: the face's share, flips, overlaps, stretch, density, gutters between islands."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from gpu_workers.head_authoring.uv_packing import signed_areas

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]

#: Pixels a side of the picture that overlaps and gutters are measured on.
_RASTER = 2048
#: Pixels a side of the delivered map, in which gutters are told.
_MAP = 4096


@dataclass(frozen=True, kw_only=True)
class AtlasQuality:
    """Measures of one map; percentiles are of the face and weighted by area on the head."""

    #: Share of the square that the face takes, and that all islands take.
    face_share: float
    used_share: float
    #: Triangles whose uvs run clockwise.
    flipped: int
    #: Texels under two triangles at once, of those under any.
    overlap_share: float
    #: Longest to shortest stretch of a triangle: 95th percentile.
    anisotropy: float
    #: Texels a length: 95th over 5th percentile.
    density_range: float
    #: Least distance between two islands, pixels of a 4096 map; infinite with one island.
    gutter: float


def measure_atlas(
    positions: FloatArray,
    triangles: NDArray[np.integer],
    uvs: FloatArray,
    uv_triangles: NDArray[np.integer],
    islands: NDArray[np.integer],
    face: NDArray[np.bool_],
) -> AtlasQuality:
    """Measure a layout.

    Args:
        positions: (V, 3); triangles: (N, 3).
        uvs: (T, 2) in 0..1; uv_triangles: (N, 3).
        islands: (T,) number of each uv's island.
        face: (N,) whether a triangle lies in the face.
    """
    areas = signed_areas(uvs, uv_triangles)
    long, short, weight = _stretches(positions[triangles[face]], uvs[uv_triangles[face]])
    low, high = weigh_percentiles(np.sqrt(long * short), weight, (5, 95))
    count, owner = count_triangles(uvs, uv_triangles, islands[uv_triangles[:, 0]])
    return AtlasQuality(
        face_share=float(areas[face].sum()),
        used_share=float(np.abs(areas).sum()),
        flipped=int((areas <= 0).sum()),
        overlap_share=float((count > 1).sum() / (count > 0).sum()),
        anisotropy=float(weigh_percentiles(long / short, weight, (95,))[0]),
        density_range=float(high / low),
        gutter=_gutter(owner),
    )


def _stretches(corners: FloatArray, flat: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the largest and smallest stretch (N,) from the head to the map, and areas on the head (N,)."""
    u, v = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    length = np.linalg.norm(u, axis=1)
    along = (u * v).sum(1) / length
    across = np.linalg.norm(np.cross(u, v), axis=1) / length
    # The triangle in a plane of its own: (0, 0), (length, 0), (along, across).
    plane = np.stack([np.stack([length, along], -1), np.stack([np.zeros_like(length), across], -1)], axis=1)
    mapped = np.stack([flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]], axis=-1)
    stretch: FloatArray = np.linalg.svd(mapped @ np.linalg.inv(plane), compute_uv=False).astype(np.float64)
    return stretch[:, 0], stretch[:, 1], np.asarray(0.5 * length * across)


def weigh_percentiles(values: FloatArray, weights: FloatArray, wanted: tuple[float, ...]) -> FloatArray:
    """Return the percentiles of values whose counts are weights."""
    order = np.argsort(values)
    share = np.cumsum(weights[order]) / weights.sum() * 100
    return np.asarray(values[order][np.searchsorted(share, wanted).clip(0, len(values) - 1)])


def count_triangles(
    uvs: FloatArray, triangles: NDArray[np.integer], labels: NDArray[np.integer], size: int = _RASTER
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return how many triangles strictly contain each texel's centre, and a label of one of them or -1."""
    count = np.zeros((size, size), np.int32)
    owner = np.full((size, size), -1, np.int32)
    for (a, b, c), label in zip(uvs[triangles].astype(np.float64) * size - 0.5, labels, strict=True):
        low = np.maximum(np.ceil(np.minimum(np.minimum(a, b), c)).astype(int), 0)
        high = np.minimum(np.floor(np.maximum(np.maximum(a, b), c)).astype(int), size - 1)
        if (high < low).any():
            continue
        x, y = np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1))
        sides = [(q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0]) for p, q in ((a, b), (b, c), (c, a))]
        turn = np.stack(sides)
        inside = (turn > 1e-9).all(0) | (turn < -1e-9).all(0)
        window = np.s_[low[1] : high[1] + 1, low[0] : high[0] + 1]
        count[window] += inside
        owner[window][inside] = label
    return count, owner


def _gutter(owner: NDArray[np.int32]) -> float:
    least = float("inf")
    for label in np.unique(owner[owner >= 0]):
        distance = distance_transform_edt(owner != label)
        others = distance[(owner >= 0) & (owner != label)]
        least = min(least, float(others.min(initial=np.inf)))
    # Between centres of pixels: one less is free.
    return float((least - 1) * _MAP / owner.shape[0])
