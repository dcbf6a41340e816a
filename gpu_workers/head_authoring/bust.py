"""The bust: shoulders and upper chest of MakeHuman's body below the seam, cut off by three closed loops.

The surface keeps the body's own quads; what it is cut by (under the breast bone and the armpits, and round
each upper arm) is made planar and closed with caps whose rims lie on the cuts, but are vertices of their own,
so that subdivision keeps the cuts' edges sharp.
"""

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.linalg import spsolve
from scipy.spatial import cKDTree

from gpu_workers.head.model.head_template import BustData, PartData
from gpu_workers.head.ops.image import smoothstep
from gpu_workers.head.ops.mesh import split_quads, walk_loop
from gpu_workers.head_authoring import uv_packing
from gpu_workers.head_authoring.bust_layout import lay_out_caps, lay_out_surface
from gpu_workers.head_authoring.bust_levels import coarsen_bust
from gpu_workers.head_authoring.edge_loops import EdgeLoops, split_by_loops
from gpu_workers.head_authoring.head_topology import SEAM_START, CutPart, Seam
from gpu_workers.head_authoring.identity_basis import TEMPLATE, Phenotypes
from gpu_workers.head_authoring.loop_fill import LoopFill, fill_loop
from gpu_workers.head_authoring.makehuman_source import AnnySource, BaseMesh
from gpu_workers.head_authoring.quad_simplification import find_open_edges
from gpu_workers.head_authoring.shapes.joint_weights import weigh_below_head

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]

#: Vertices of base.obj that the cuts begin with: under the shoulder blades, and round the left upper arm.
_CHEST_START, _ARM_START = (1599, 8271), (8097, 8133)
#: Metres: the chest is cut so far above the lowest point of its loop, which hangs through under the armpits.
_CHEST_ABOVE = 0.012
#: Metres over which the surface goes along with what is done to the chest's cut, an arm's and the seam.
_CHEST_REACH, _ARM_REACH, _SEAM_REACH = 0.12, 0.06, 0.10
#: Metres below the seam to which the root of the neck is bent anew.
_ROOT_REACH = 0.05
#: Vertices of a loop that a vertex near it follows, and smoothing steps of a loop.
_NEIGHBOURS, _LOOP_SMOOTHING = 6, 3


@dataclass(frozen=True)
class _Surface:
    """The body's skin between the cuts; the seam's vertices come first, in the order of `hosts`."""

    positions: FloatArray
    quads: IndexArray
    #: (L,) vertices of the head's skin on which the first vertices lie.
    hosts: IndexArray
    #: Open loops the way that the surface's edges run: the chest's, the left arm's, the right arm's.
    cuts: tuple[IndexArray, IndexArray, IndexArray]
    #: (V,) mirror image of each vertex.
    mirror: IndexArray


def make_bust(
    source: AnnySource,
    mesh: BaseMesh,
    skin: CutPart,
    seam: Seam,
    positions: FloatArray,
    middle: FloatArray,
    head_coarse: NDArray[np.integer],
) -> BustData:
    """Return the bust of the template, an average adult's.

    Args:
        positions: (S, 3) metres, the skin.
        middle: (3,) metres, the head's origin in the frame of base.obj.
        head_coarse: the skin's vertices that are left on level of detail 2.
    """
    surface = _cut_surface(source, mesh, skin, seam, positions, middle)
    caps = [(np.roll(cut[::-1], 1), fill_loop(len(cut))) for cut in surface.cuts]
    follow = _follow(surface.positions, surface.positions[: len(surface.hosts)], _SEAM_REACH)
    follow[: len(surface.hosts)] = np.eye(len(surface.hosts))
    mirror = surface.mirror
    # The seam begins on the midline: the other way round it is its own mirror image.
    follow = 0.5 * (follow + follow[mirror][:, -np.arange(len(surface.hosts))])
    quads, first = [surface.quads], len(surface.positions)
    for _, fill in caps:
        quads.append(fill.quads + first)
        first += len(fill.weights)
    whole, weights = (_extend(values, caps) for values in (surface.positions, follow))
    flat = lay_out_surface(surface.positions, surface.quads, surface.cuts)
    uvs = np.concatenate([0.5 * (flat + flat[mirror] * [-1, 1] + [1, 0]), lay_out_caps(caps)])
    faces = np.concatenate(quads)
    joints = weigh_below_head(whole)
    joints[: len(surface.hosts)] = weigh_below_head(positions[surface.hosts])
    return BustData(
        part=PartData(
            name="bust",
            material="bust",
            first=0,
            count=len(whole),
            quads=faces.astype(np.int32),
            uvs=uvs.astype(np.float32),
            uv_quads=faces.astype(np.int32),
            triangles=split_quads(faces).astype(np.int32),
            uv_triangles=split_quads(faces).astype(np.int32),
            uv_islands=uv_packing.island_labels(faces, uvs).astype(np.int32),
            source_vertices=np.full(len(whole), -1, np.int32),
            host_vertices=surface.hosts.astype(np.int32),
            host_weights=weights.astype(np.float32),
            host_offsets=np.zeros((0, 3), np.float32),
            coarse=coarsen_bust(
                surface.positions,
                uvs[: len(surface.positions)],
                surface.quads,
                mirror,
                np.isin(surface.hosts, head_coarse),
                [rim for rim, _ in caps],
                [len(fill.weights) for _, fill in caps],
            ),
        ),
        positions=whole.astype(np.float32),
        joint_weights=joints.astype(np.float32),
    )


def _extend(values: FloatArray, caps: list[tuple[IndexArray, LoopFill]]) -> FloatArray:
    """Return the surface's values (V, C) and those of its caps."""
    return np.concatenate([values, *(fill.weights @ values[rim] for rim, fill in caps)])


def _cut_surface(
    source: AnnySource,
    mesh: BaseMesh,
    skin: CutPart,
    seam: Seam,
    head: FloatArray,
    middle: FloatArray,
) -> _Surface:
    quads = mesh.quads["body"]
    edges = EdgeLoops(quads)
    neck, chest, arm = (edges.walk(*start) for start in (SEAM_START, _CHEST_START, _ARM_START))
    tree = cKDTree(mesh.positions)
    other_arm = tree.query(mesh.positions[arm] * [-1, 1, 1])[1].tolist()
    touching = np.isin(quads, neck).any(1) & ~np.isin(quads, skin.source).all(1)
    inside = split_by_loops(quads, [neck, chest, arm, other_arm], np.flatnonzero(touching))
    hosts = np.roll(seam.loop[::-1], 1)
    own = np.setdiff1d(quads[inside], skin.source[hosts])
    vertices = np.concatenate([skin.source[hosts], own])
    place = {int(vertex): k for k, vertex in enumerate(vertices)}
    local = np.array([[place[int(vertex)] for vertex in row] for row in quads[inside]])
    positions = mesh.positions[vertices] + Phenotypes(source, vertices).displacements([TEMPLATE])[0] - middle
    mirror = _pair(mesh.positions[vertices])
    positions = 0.5 * (positions + positions[mirror] * [-1, 1, 1])
    cuts = [_walk_from(local, place[loop[0]]) for loop in (chest, arm, other_arm)]
    positions = _level_chest(positions, cuts[0])
    for cut in cuts[1:]:
        positions = _flatten(positions, cut)
    # What the arms' cuts took along under the armpits is level again.
    positions[cuts[0], 1] = positions[cuts[0], 1].mean()
    moved = head[hosts] - positions[: len(hosts)]
    positions = positions + _follow(positions, positions[: len(hosts)], _SEAM_REACH) @ moved
    positions[: len(hosts)] = head[hosts]
    positions = _smooth_root(positions, local, skin, head, hosts)
    positions = 0.5 * (positions + positions[mirror] * [-1, 1, 1])
    positions[: len(hosts)] = head[hosts]
    return _Surface(positions, local, hosts, (cuts[0], cuts[1], cuts[2]), mirror)


def _pair(positions: FloatArray) -> IndexArray:
    """Return the mirror image (V,) of each vertex (V, 3)."""
    return np.asarray(cKDTree(positions).query(positions * [-1, 1, 1])[1])


def _walk_from(quads: IndexArray, start: int) -> IndexArray:
    following = {int(a): int(b) for a, b in find_open_edges(quads)}
    return np.array(walk_loop(following, start))


def _follow(points: FloatArray, loop: FloatArray, reach: float) -> FloatArray:
    """Return how far points (V, 3) go along with a loop's (L, 3): (V, L), zero beyond the reach."""
    distance, near = cKDTree(loop).query(points, k=_NEIGHBOURS)
    share = 1 / np.maximum(distance, 1e-6) ** 2
    share *= smoothstep(1 - distance[:, :1] / reach) / share.sum(1, keepdims=True)
    follow = np.zeros((len(points), len(loop)))
    np.put_along_axis(follow, near, share, axis=1)
    return follow


def _smooth_loop(points: FloatArray) -> FloatArray:
    for _ in range(_LOOP_SMOOTHING):
        points = 0.5 * points + 0.25 * (np.roll(points, 1, axis=0) + np.roll(points, -1, axis=0))
    return points


def _level_chest(positions: FloatArray, cut: IndexArray) -> FloatArray:
    """Return the surface with the chest's cut level; what lies above it stretches down over the breast."""
    edge = positions[cut]
    level = _smooth_loop(edge)
    level[:, 1] = edge[:, 1].min() + _CHEST_ABOVE
    return _move_loop(positions, cut, level, _CHEST_REACH)


def _flatten(positions: FloatArray, cut: IndexArray) -> FloatArray:
    edge = _smooth_loop(positions[cut])
    middle = edge.mean(0)
    normal = np.linalg.svd(edge - middle)[2][2]
    return _move_loop(positions, cut, edge - np.outer((edge - middle) @ normal, normal), _ARM_REACH)


def _move_loop(positions: FloatArray, loop: IndexArray, target: FloatArray, reach: float) -> FloatArray:
    moved = positions + _follow(positions, positions[loop], reach) @ (target - positions[loop])
    moved[loop] = target
    return moved


def _smooth_root(
    surface: FloatArray, quads: IndexArray, skin: CutPart, head: FloatArray, hosts: IndexArray
) -> FloatArray:
    """Return the surface (V, 3) with the neck's root bent evenly: the neck runs on into it without a kink.

    Between the skin above the seam and the shoulders, both of which stay, the squares of the change of the
    surface's curvature (the Laplacian's Laplacian, uniform weights) are least.
    """
    number = np.full(len(head), -1)
    number[hosts] = np.arange(len(hosts))
    rest = np.flatnonzero(number < 0)
    number[rest] = len(surface) + np.arange(len(rest))
    whole = np.concatenate([surface, head[rest]])
    faces = np.concatenate([quads, number[skin.quads]])
    edges = np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1).reshape(-1, 2)
    adjacency = sp.coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), (len(whole),) * 2)
    adjacency = ((adjacency + adjacency.T) > 0).astype(np.float64).tocsr()
    mean = sp.diags(1 / np.asarray(adjacency.sum(1)).ravel()) @ adjacency
    laplacian = sp.identity(len(whole), format="csr") - mean
    twice = (laplacian @ laplacian).tocsr()
    free = np.zeros(len(whole), bool)
    free[: len(surface)] = cKDTree(head[hosts]).query(surface)[0] < _ROOT_REACH
    free[find_open_edges(quads).ravel()] = False
    rows = twice[free]
    smooth = whole.copy()
    square = (rows[:, free].T @ rows[:, free]).tocsc()
    known = rows[:, ~free] @ whole[~free]
    smooth[free] = spsolve(square, -(rows[:, free].T @ known))
    return smooth[: len(surface)]
