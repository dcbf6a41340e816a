"""Neck and bust: closed, watertight on every level, moved by nothing but the head's own shape."""

from functools import lru_cache

import numpy as np
import pytest
from scipy.spatial import cKDTree

from assets.gltf import write_glb
from assets.levels import head_at_level
from assets.mesh import find_areas_across, find_normals
from assets.seam import describe_seam
from face3d.head import Head, MeshPart
from face3d.options import JobOptions
from gpu_workers.engines.null.head import make_head
from gpu_workers.head.ops.mesh import split_quads
from gpu_workers.head.ops.self_intersection import intersecting_pairs, intersecting_triangles
from gpu_workers.head.rigging.bust import join_bust
from tests.unit.head.head_support import astronaut_geometry, engine, head_data, prepared_astronaut
from tests.unit.head_authoring.topology_support import (
    assert_manifold,
    find_open_loops,
    list_edges,
    share_of_quads,
)

#: Metres: vertices that are so near are one.
WELD = 1e-6
#: Vertices of the seam.
SEAM = 42


@lru_cache(maxsize=1)
def with_bust() -> Head:
    return join_bust(astronaut_geometry().head, head_data())


def closed_head(name: str) -> Head:
    return astronaut_geometry().head if name == "neck_cap" else with_bust()


def weld(parts: list[MeshPart]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return vertices, quads and each quad's part: what lies on open edges and meets is one."""
    first = np.cumsum([0, *(len(part.positions) for part in parts)])
    positions = np.concatenate([part.positions for part in parts]).astype(np.float64)
    quads = np.concatenate([part.quads + start for part, start in zip(parts, first, strict=False)])
    rim = np.array([vertex for loop in find_open_loops(quads) for vertex in loop])
    number = np.arange(len(positions))
    for a, b in cKDTree(positions[rim]).query_pairs(WELD):
        low, high = sorted((rim[a], rim[b]))
        number[high] = min(number[high], low)
    owner = np.repeat(np.arange(len(parts)), [len(part.quads) for part in parts])
    return positions, number[number][quads], owner


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("name", ["neck_cap", "bust"])
def test_the_skin_with_its_cap_or_bust_has_no_open_edge(name: str, level: int) -> None:
    head = head_at_level(closed_head(name), level)
    _, quads, _ = weld([head.part("skin"), head.part(name)])
    edges = set(list_edges(quads))
    assert not [edge for edge in edges if edge[::-1] not in edges]
    assert_manifold(quads)


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("name", ["neck_cap", "bust"])
def test_cap_and_bust_are_quads(name: str, level: int) -> None:
    part = head_at_level(closed_head(name), level).part(name)
    assert share_of_quads(part.quads) == 1
    assert_manifold(part.quads)


def test_the_coarse_bust_is_smaller_and_nearly_all_quads() -> None:
    coarse = head_at_level(with_bust(), 2).part("bust")
    assert len(coarse.quads) < 0.4 * len(with_bust().part("bust").quads)
    assert share_of_quads(coarse.quads) > 0.9


@pytest.mark.parametrize("level", [0, 1])
def test_nothing_of_neck_and_bust_passes_through_itself_or_the_head(level: int) -> None:
    head = head_at_level(with_bust(), level)
    positions, quads, owner = weld([head.part("skin"), head.part("bust")])
    triangles = split_quads(quads)
    # Both halves of a quad keep its order.
    owners = np.concatenate([owner, owner])[: len(triangles)]
    low = positions[triangles][..., 1].max(1) < -0.07
    pairs = intersecting_pairs(positions, triangles[low])
    across = owners[low][pairs]
    assert not len(pairs[(across == 1).any(1)])


def test_the_neutral_skin_passes_nowhere_through_itself() -> None:
    data = head_data()
    skin = data.part("skin")
    for positions in (data.positions[skin.vertices], astronaut_geometry().head.part("skin").positions):
        assert not len(intersecting_triangles(positions, skin.triangles))


def test_the_seam_is_one_planar_loop_of_the_same_tilt_on_every_head() -> None:
    data, head = head_data(), astronaut_geometry().head
    (loop,) = find_open_loops(head.part("skin").quads)
    assert len(loop) == SEAM
    assert set(loop) == set(data.bust.part.host_vertices.tolist())
    # The ring of a body's mesh, not a stair: every vertex has one edge that leads away.
    counts = np.bincount(head.part("skin").quads.ravel())[loop]
    assert (counts == 2).all()
    tilts = []
    for positions in (data.positions[loop], head.part("skin").positions[loop]):
        tilt, height = np.polyfit(positions[:, 2], positions[:, 1], 1)
        assert np.abs(positions[:, 1] - height - tilt * positions[:, 2]).max() < 1e-5
        tilts.append(tilt)
    assert tilts[0] == pytest.approx(tilts[1], abs=1e-3)


@pytest.mark.parametrize("name", ["neck_cap", "bust"])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_the_manifest_describes_the_seam(name: str, level: int) -> None:
    head = closed_head(name)
    entry = describe_seam(head, level)
    (loop,) = find_open_loops(head_at_level(head, level).part("skin").quads)
    assert entry is not None
    assert entry.model_dump() == {
        "part": "skin", "vertices": len(loop), "planar": True, "closed_by": name,
    }  # fmt: skip
    assert describe_seam(make_head(), level) is None


def test_no_shape_moves_seam_cap_or_bust() -> None:
    rows = head_data().bust.part.host_vertices
    assert not astronaut_geometry().head.part("skin").morph_deltas[:, rows].any()
    assert not astronaut_geometry().head.part("neck_cap").morph_deltas.any()
    assert not with_bust().part("bust").morph_deltas.any()


def test_the_bust_has_the_size_of_an_adult_and_is_symmetric() -> None:
    bust = with_bust().part("bust").positions
    assert 0.45 < np.ptp(bust[:, 0]) < 0.60
    assert bust[:, 1].min() > -0.45
    own = head_data().bust.positions
    assert cKDTree(own).query(own * [-1, 1, 1])[0].max() < 1e-4


def test_the_bust_takes_the_place_of_the_cap() -> None:
    names = [part.name for part in with_bust().parts]
    assert "neck_cap" not in names
    assert names[-1] == "bust"
    assert [part.name for part in astronaut_geometry().head.parts][-1] == "neck_cap"


def test_joint_weights_run_on_over_the_seam() -> None:
    rows = head_data().bust.part.host_vertices
    bust, cap = with_bust().part("bust"), astronaut_geometry().head.part("neck_cap")
    skin = astronaut_geometry().head.part("skin").joint_weights
    np.testing.assert_allclose(bust.joint_weights.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(bust.joint_weights[: len(rows)], skin[rows], atol=1e-6)
    np.testing.assert_allclose(cap.joint_weights[: len(rows)], skin[rows], atol=1e-6)
    chest = bust.positions[:, 1] < bust.positions[:, 1].min() + 0.02
    assert bust.joint_weights[chest, 0].min() == pytest.approx(1)


def test_shading_runs_on_over_the_seam() -> None:
    head = head_at_level(with_bust(), 0)
    places = [part.positions for part in head.parts]
    beyond = find_areas_across(head.parts, places)
    normals = {
        part.name: find_normals(part.positions, part.quads, extra)
        for part, extra in zip(head.parts, beyond, strict=True)
    }
    skin, bust = head.part("skin"), head.part("bust")
    loop = find_open_loops(skin.quads)[0]
    apart, nearest = cKDTree(bust.positions).query(skin.positions[loop])
    assert apart.max() < WELD
    assert np.abs(normals["skin"][loop] - normals["bust"][nearest]).max() < 1e-3


def test_a_head_without_a_bust_costs_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Head:
        raise AssertionError("the bust was made")

    monkeypatch.setattr("gpu_workers.head.stages.geometry.join_bust", fail)
    found = engine().geometry(prepared_astronaut(), JobOptions(bust="off")).head
    assert "bust" not in [part.name for part in found.parts]
    assert b"bust" not in write_glb(found, {})
    with pytest.raises(AssertionError, match="the bust was made"):
        engine().geometry(prepared_astronaut(), JobOptions(bust="on"))
