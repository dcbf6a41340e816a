"""What other programs do with head.glb: one is asked here, the large ones were asked by hand.

Debian's assimp 5.2.5, Open3D 0.20.0, VTK 9.7.2, f3d 4.0.0 and trimesh 5.2.0 read all vertices of a real
head.glb, head_lod1.glb and head_lod2.glb on 1 December 2026 (docs/reference/consumers.md).
"""

from dataclasses import replace
from pathlib import Path

import assimp_py
import numpy as np
import pytest

from assets.gltf import write_glb
from assets.levels import head_at_level
from assets.mesh import find_normals, split_vertices
from assets.tangents import find_tangents
from face3d.head import MeshPart
from face3d.options import LevelOfDetail, PartsLayout
from tests.unit.assets.glb_support import read_accessor, read_glb
from tests.unit.assets.test_shapes import HEAD, TEXTURES

#: No shape moves its eyes, as brows and cheeks leave those of a real head alone.
QUIET = replace(
    HEAD, parts=(HEAD.parts[0], *(replace(p, morph_deltas=0 * p.morph_deltas) for p in HEAD.parts[1:]))
)


@pytest.mark.parametrize("parts", ["merged", "separate"])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_assimp_opens_every_level_whole(level: LevelOfDetail, parts: PartsLayout, tmp_path: Path) -> None:
    head = head_at_level(QUIET, level)
    path = tmp_path / "head.glb"
    path.write_bytes(write_glb(head, {**TEXTURES, "skin.normal": TEXTURES["skin"]}, parts=parts))
    meshes = assimp_py.import_file(str(path), 0).meshes
    found = {mesh.name: mesh.num_vertices for mesh in meshes}
    counts = {part.name: len(split_vertices(part).vertices) for part in head.parts}
    skin, left, right = counts.values()
    assert found == (counts if parts == "separate" else {"head-0": skin, "head-1": left + right})


def test_no_accessor_leaves_to_the_reader_what_some_readers_lack() -> None:
    """VTK, f3d: no default byteOffset in sparse parts. assimp, Open3D: no accessor without any data."""
    document, binary = read_glb(write_glb(QUIET, TEXTURES))
    sparse = [accessor["sparse"] for accessor in document["accessors"] if "sparse" in accessor]
    assert all("bufferView" in accessor or "sparse" in accessor for accessor in document["accessors"])
    assert {part["byteOffset"] for one in sparse for part in (one["indices"], one["values"])} == {0}
    for mesh in document["meshes"]:
        for target in mesh["primitives"][1]["targets"]:
            for index in target.values():
                assert not read_accessor(document, binary, index).any()
                assert document["accessors"][index]["sparse"]["count"] == 1, "a still shape costs one zero"


def plain_tangent(part: MeshPart, vertex: int) -> tuple[np.ndarray, float]:
    """The reference, in MikkTSpace's words: the corners' tangents by their angles in the normal's plane."""
    mesh = split_vertices(part)
    positions = part.positions[mesh.vertices].astype(float)
    normal = find_normals(part.positions, part.quads)[mesh.vertices][vertex].astype(float)
    uvs = mesh.uvs.astype(float)

    def lay(vector: np.ndarray) -> np.ndarray:
        flat = vector - normal * (vector @ normal)
        return flat / np.linalg.norm(flat)

    total, turn = np.zeros(3), 0.0
    for triangle in mesh.triangles.tolist():
        if vertex not in triangle:
            continue
        at = triangle.index(vertex)
        here, after, before = (triangle[(at + k) % 3] for k in range(3))
        edges = np.stack([positions[after] - positions[here], positions[before] - positions[here]])
        grown = np.stack([uvs[after] - uvs[here], uvs[before] - uvs[here]])
        along = np.linalg.solve(grown, edges)[0]
        angle = np.arccos(np.clip(lay(edges[0]) @ lay(edges[1]), -1, 1))
        total += angle * lay(along)
        turn += angle * np.sign(np.linalg.det(grown))
    return lay(total), float(np.sign(turn))


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_part_with_a_normal_map_has_mikkelsen_s_tangents(mirrored: bool) -> None:
    parts = HEAD.parts
    if mirrored:
        parts = tuple(
            replace(part, uvs=part.uvs * np.float32([-1, 1]) + np.float32([1, 0])) for part in parts
        )
    document, binary = read_glb(
        write_glb(replace(HEAD, parts=parts), {**TEXTURES, "skin.normal": TEXTURES["skin"]}, parts="separate")
    )
    for mesh, part in zip(document["meshes"], parts, strict=True):
        attributes = mesh["primitives"][0]["attributes"]
        assert ("TANGENT" in attributes) == (part.material == "skin"), "only where a map needs them"
        if "TANGENT" not in attributes:
            continue
        tangents = read_accessor(document, binary, attributes["TANGENT"])
        normals = read_accessor(document, binary, attributes["NORMAL"])
        np.testing.assert_allclose(np.linalg.norm(tangents[:, :3], axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(np.einsum("vc,vc->v", tangents[:, :3], normals), 0, atol=1e-5)
        assert set(np.unique(tangents[:, 3])) == {-1.0 if mirrored else 1.0}
        for vertex in range(0, len(tangents), 7):
            expected, sign = plain_tangent(part, vertex)
            np.testing.assert_allclose(tangents[vertex, :3], expected, atol=2e-3)
            assert tangents[vertex, 3] == sign


def test_vertices_without_a_place_in_the_texture_still_have_a_frame() -> None:
    part = HEAD.part("skin")
    mesh = split_vertices(replace(part, uvs=np.zeros_like(part.uvs)))
    normals = find_normals(part.positions, part.quads)[mesh.vertices]
    tangents = find_tangents(part.positions[mesh.vertices], normals, mesh.uvs, mesh.triangles)
    np.testing.assert_allclose(np.linalg.norm(tangents[:, :3], axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.einsum("vc,vc->v", tangents[:, :3], normals), 0, atol=1e-5)
    assert set(np.unique(tangents[:, 3])) == {1.0}
