"""One Catmull-Clark step: against a plain twin, a cube, and what a boundary or a crease must keep."""

from collections import defaultdict

import numpy as np
import pytest

from assets.subdivision import subdivide
from gpu_workers.engines.null.head import make_head

CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float32)
CUBE_QUADS = np.array(
    [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]], np.int32
)


def plain_step(points: np.ndarray, quads: np.ndarray) -> list[list[np.ndarray]]:
    """The slow twin: the corners of the finer faces, face by face, straight from the rules."""
    faces = [list(dict.fromkeys(row)) for row in quads.tolist()]
    centres = [points[face].mean(0) for face in faces]
    edge_faces = defaultdict(list)
    for number, face in enumerate(faces):
        for a, b in zip(face, face[1:] + face[:1], strict=True):
            edge_faces[frozenset((a, b))].append(number)
    edge_points = {}
    for edge, owners in edge_faces.items():
        middle = points[list(edge)].mean(0)
        edge_points[edge] = middle if len(owners) == 1 else (middle + centres[owners[0]]) / 4 + (
            middle + centres[owners[1]]) / 4  # fmt: skip
    moved = []
    for vertex, point in enumerate(points):
        edges = [edge for edge in edge_faces if vertex in edge]
        rim = [edge for edge in edges if len(edge_faces[edge]) == 1]
        n = len(edges)
        if rim:
            others = [points[next(iter(edge - {vertex}))] for edge in rim]
            moved.append(0.75 * point + 0.125 * sum(others))
            continue
        q = np.mean([centres[k] for k, face in enumerate(faces) if vertex in face], axis=0)
        r = np.mean([points[list(edge)].mean(0) for edge in edges], axis=0)
        moved.append((q + 2 * r + (n - 3) * point) / n)
    finer = []
    for number, face in enumerate(faces):
        for before, vertex, after in zip(face[-1:] + face[:-1], face, face[1:] + face[:1], strict=True):
            here, back = edge_points[frozenset((vertex, after))], edge_points[frozenset((before, vertex))]
            finer.append([moved[vertex], here, centres[number], back])
    return finer


@pytest.mark.parametrize("name", ["skin", "eye_left"])
def test_it_agrees_with_its_plain_twin_on_quads_triangles_and_boundaries(name: str) -> None:
    part = make_head().part(name)
    quads = part.quads[::2] if name == "skin" else part.quads
    used, quads = np.unique(quads, return_inverse=True)
    quads, points = quads.reshape(-1, 4).astype(np.int32), part.positions[used]
    level = subdivide(quads, len(points), quads, len(points))
    finer = level.map_vertices(points)[level.quads]
    np.testing.assert_allclose(finer, plain_step(points.astype(float), quads), atol=1e-6)


def test_a_cube_becomes_the_known_rounded_cube() -> None:
    level = subdivide(CUBE_QUADS, 8, CUBE_QUADS, 8)
    points = level.map_vertices(CUBE)
    assert len(level.quads) == 24
    np.testing.assert_allclose(points[:8], CUBE * 5 / 9, atol=1e-6)
    np.testing.assert_allclose(np.sort(np.abs(points[8:20]), axis=1), [[0, 0.75, 0.75]] * 12, atol=1e-6)
    np.testing.assert_allclose(np.sort(np.abs(points[20:]), axis=1), [[0, 0, 1]] * 6, atol=1e-6)
    normals = np.cross(*(points[level.quads[:, k]] - points[level.quads[:, 0]] for k in (1, 2)))
    assert ((normals * points[level.quads].mean(1)).sum(1) > 0).all(), "faces keep their winding"


def test_a_creased_square_stays_square_at_corners_only_where_three_creases_meet() -> None:
    top = np.array([[1, 3], [3, 7], [7, 5], [5, 1]])
    points = subdivide(CUBE_QUADS, 8, CUBE_QUADS, 8, creases=top).map_vertices(CUBE)
    # Along the crease a corner moves within the plane of the crease.
    np.testing.assert_allclose(points[[1, 3, 5, 7], 2], 1, atol=1e-6)
    np.testing.assert_allclose(np.abs(points[[1, 3, 5, 7], :2]), 0.75, atol=1e-6)
    np.testing.assert_allclose(points[[0, 2, 4, 6]], CUBE[[0, 2, 4, 6]] * 5 / 9, atol=1e-6)
    every = np.concatenate([np.stack([q, np.roll(q, -1)], 1) for q in CUBE_QUADS])
    kept = subdivide(CUBE_QUADS, 8, CUBE_QUADS, 8, creases=every).map_vertices(CUBE)
    np.testing.assert_array_equal(kept[:8], CUBE)


def test_uvs_are_interpolated_linearly_and_seams_stay_seams() -> None:
    """Every corner of the finer faces carries the uv of its place in the cage's face."""
    part = make_head().part("skin")
    level = subdivide(part.quads, len(part.positions), part.uv_quads, len(part.uvs))
    finer = level.map_uvs(part.uvs)[level.uv_quads].astype(float)
    row = 0
    for quad, uv_quad in zip(part.quads.tolist(), part.uv_quads.tolist(), strict=True):
        size = len(dict.fromkeys(quad))
        corners = part.uvs[uv_quad[:size]].astype(float)
        for k in range(size):
            after, before = corners[(k + 1) % size], corners[k - 1]
            expected = [corners[k], (corners[k] + after) / 2, corners.mean(0), (corners[k] + before) / 2]
            np.testing.assert_allclose(finer[row], expected, atol=1e-6)
            row += 1
    assert row == len(finer)


def test_a_finer_surface_that_keeps_its_place_passes_by_the_cages_vertices() -> None:
    part = make_head().part("eye_left")
    cage, count = part.positions, len(part.positions)
    shrunk = subdivide(part.quads, count, part.quads, count).map_vertices(cage)[:count]
    kept = subdivide(part.quads, count, part.quads, count, keep_place=True).map_vertices(cage)[:count]
    assert np.linalg.norm(kept - cage, axis=1).max() < 0.35 * np.linalg.norm(shrunk - cage, axis=1).max()


def test_shapes_subdivide_as_positions_do() -> None:
    part = make_head().part("skin")
    level = subdivide(part.quads, len(part.positions), part.uv_quads, len(part.uvs))
    deltas = level.map_vertices(part.morph_deltas)
    moved = level.map_vertices(part.positions + part.morph_deltas[24])
    assert deltas.shape == (52, level.vertex_weights.shape[0], 3)
    np.testing.assert_allclose(moved, level.map_vertices(part.positions) + deltas[24], atol=1e-6)
