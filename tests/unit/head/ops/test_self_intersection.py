"""Triangles that pass through each other: known cases, and a plain twin that tries every pair."""

import numpy as np
import pytest

from gpu_workers.head.ops.self_intersection import intersecting_pairs, intersecting_triangles

FLAT = [[0, 0, 0], [1, 0, 0], [0, 1, 0]]


def pairs_of(first, second):
    return intersecting_pairs(np.array([*first, *second], float), np.array([[0, 1, 2], [3, 4, 5]])).tolist()


@pytest.mark.parametrize(
    ("second", "crosses"),
    [
        ([[0.2, 0.2, -1], [0.3, 0.2, 1], [0.2, 0.3, 1]], True),
        ([[0.2, 0.2, 0.1], [0.3, 0.2, 1], [0.2, 0.3, 1]], False),
        ([[0.9, 0.9, -1], [1.0, 0.9, 1], [0.9, 1.0, 1]], False),
        ([[-0.5, 0.2, -1], [-0.5, 0.2, 1], [2, 0.2, 0.1]], True),
        ([[0, 0, 0.001], [1, 0, 0.001], [0, 1, 0.001]], False),
        ([[0.1, 0.1, 0], [0.9, 0.1, 0], [0.1, 0.9, 0]], False),
    ],
    ids=["pierces", "hovers", "beside", "edge through", "parallel", "coplanar"],
)
def test_two_triangles(second, crosses):
    assert pairs_of(FLAT, second) == ([[0, 1]] if crosses else [])
    assert pairs_of(second, FLAT) == ([[0, 1]] if crosses else [])


def test_neighbours_do_not_count():
    positions = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0.2, 0.2, 1], [0.2, 0.2, -1]])
    assert not len(intersecting_pairs(positions, np.array([[0, 1, 2], [0, 3, 4]])))


def segment_crosses(start, end, corners):
    """Moeller and Trumbore's test of a segment and a triangle."""
    a, b, c = corners
    way, u, v = end - start, b - a, c - a
    normal = np.cross(way, v)
    det = u @ normal
    if abs(det) < 1e-14:
        return False
    offset = start - a
    x = offset @ normal / det
    cross = np.cross(offset, u)
    y, t = way @ cross / det, v @ cross / det
    return x >= 0 and y >= 0 and x + y <= 1 and 0 <= t <= 1


def every_pair(positions, triangles):
    found = []
    for i in range(len(triangles)):
        for j in range(i + 1, len(triangles)):
            if set(triangles[i]) & set(triangles[j]):
                continue
            for one, other in ((i, j), (j, i)):
                corners = positions[triangles[one]]
                if any(
                    segment_crosses(corners[k], corners[k - 1], positions[triangles[other]]) for k in range(3)
                ):
                    found.append([i, j])
                    break
    return found


@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(4))
def test_a_soup_of_triangles_gives_what_trying_every_pair_gives(seed):
    rng = np.random.default_rng(seed)
    centres = rng.uniform(size=(60, 1, 3)) * 2
    corners = centres + rng.normal(size=(60, 3, 3)) * rng.choice([0.1, 0.5], size=(60, 1, 1))
    positions = corners.reshape(-1, 3)
    # Some triangles share vertices.
    triangles = np.concatenate([np.arange(180).reshape(60, 3), rng.integers(0, 180, size=(20, 3))])
    triangles = triangles[(np.diff(np.sort(triangles, axis=1), axis=1) > 0).all(1)]
    found = intersecting_pairs(positions, triangles)
    assert len(found) > 20
    assert found.tolist() == sorted(every_pair(positions, triangles))
    assert intersecting_triangles(positions, triangles).tolist() == sorted(set(found.ravel().tolist()))
