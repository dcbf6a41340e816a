"""Level of detail 2: whole strips of quads collapse until a quarter of the faces is left; once, at build.

A strip (polychord) runs from a quad's edge to the opposite one, on into the next quad, until it meets itself
or a boundary. Where it collapses, the two ends of each of its rungs become one of them, so the mesh stays
all quads, its vertices and uvs stay a choice of the old ones, and the left side stays the right one's mirror
image because mirrored strips collapse together.

Source: Daniels, Silva, Shepherd and Cohen, Quadrilateral mesh simplification, 2008, section 3.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from face3d.head import CoarseLevel
from gpu_workers.head.ops.mesh import split_quads

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]

#: A face may turn by less than the angle of this cosine.
_SMALLEST_COSINE = 0.3
#: A collapsed face keeps this share of its area on the map at least, of either of its triangles.
_SMALLEST_SHARE = 0.02


@dataclass(frozen=True, kw_only=True)
class QuadMesh:
    """A quad mesh with uvs; what does not change is shared between its states."""

    #: (V, 3) and (T, 2).
    positions: FloatArray
    uvs: FloatArray
    #: (F, 4) each.
    quads: IndexArray
    uv_quads: IndexArray
    #: (V,) mirror image of each vertex.
    mirror: IndexArray
    #: (V,) how much the place of each vertex matters: strips where it is high go last.
    importance: FloatArray
    #: (V,) vertices none of which is merged with another of them; none when omitted.
    held: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class _Strip:
    """R rungs, each from one side of a strip to the other, and the faces between them."""

    #: Face numbers; a face that the strip crosses twice is there twice.
    faces: list[int]
    #: (R, 4) vertex and uv on one side, vertex and uv on the other; a rung once for each face it touches.
    rungs: IndexArray


def coarsen(mesh: QuadMesh, share: float) -> CoarseLevel:
    """Return the mesh with about `share` of its faces, or as few as can be reached."""
    wanted = round(share * len(mesh.quads))
    while len(mesh.quads) > wanted:
        smaller = _collapse_best(mesh, len(mesh.quads) - wanted)
        if smaller is None:
            break
        mesh = smaller
    vertices, quads = np.unique(mesh.quads, return_inverse=True)
    uvs, uv_quads = np.unique(mesh.uv_quads, return_inverse=True)
    return CoarseLevel(
        vertices=vertices.astype(np.int32),
        uvs=uvs.astype(np.int32),
        quads=quads.reshape(-1, 4).astype(np.int32),
        uv_quads=uv_quads.reshape(-1, 4).astype(np.int32),
    )


def _collapse_best(mesh: QuadMesh, wanted: int) -> QuadMesh | None:
    """Return the mesh without the strip of least cost that can go, or None if none can."""
    strips = [strip for strip in _find_strips(mesh) if len(set(strip.faces)) == len(strip.faces)]
    by_face: dict[int, list[int]] = {}
    for number, strip in enumerate(strips):
        for face in strip.faces:
            by_face.setdefault(face, []).append(number)
    mirrored_faces = _mirror_faces(mesh)
    sets = [frozenset(strip.faces) for strip in strips]
    for number in np.argsort([_cost(mesh, strip) for strip in strips], kind="stable"):
        strip = strips[number]
        if mirrored_faces is None:
            return None
        image = frozenset(int(mirrored_faces[face]) for face in strip.faces)
        partners = [other for other in by_face[next(iter(image))] if sets[other] == image] if image else []
        removed = len(sets[number] | image)
        if not partners or removed > 1.5 * wanted + 8:
            continue
        chosen = [strip] if image == sets[number] else [strip, strips[partners[0]]]
        smaller = _collapse(mesh, chosen)
        if smaller is not None:
            return smaller
    return None


def _mirror_faces(mesh: QuadMesh) -> IndexArray | None:
    """Return the mirror image (F,) of each face, or None where the mesh is not symmetric."""
    own = np.sort(mesh.quads, axis=1)
    image = np.sort(mesh.mirror[mesh.quads], axis=1)
    numbers = {tuple(row): number for number, row in enumerate(own.tolist())}
    found = [numbers.get(tuple(row), -1) for row in image.tolist()]
    return None if min(found) < 0 else np.array(found, dtype=np.int64)


def _find_strips(mesh: QuadMesh) -> list[_Strip]:
    quads, uv_quads = mesh.quads.tolist(), mesh.uv_quads.tolist()
    owners: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for face, quad in enumerate(quads):
        for k in range(4):
            a, b = quad[k], quad[(k + 1) % 4]
            owners.setdefault((min(a, b), max(a, b)), []).append((face, k))
    crossed: set[tuple[int, int]] = set()
    strips = []

    def walk(face: int, k: int, faces: list[int], rungs: list[list[int]], *, swap: bool) -> None:
        """Go from the edge k of a face through it and on, noting each rung in each face it touches."""
        while (face, k % 2) not in crossed:
            crossed.add((face, k % 2))
            faces.append(face)
            quad, uv = quads[face], uv_quads[face]
            i, j, m, n = k, (k + 1) % 4, (k + 2) % 4, (k + 3) % 4
            for left, right in ((i, j), (n, m)):
                ends = (right, left) if swap else (left, right)
                rungs.append([quad[ends[0]], uv[ends[0]], quad[ends[1]], uv[ends[1]]])
            a, b = quad[m], quad[n]
            following = [entry for entry in owners[min(a, b), max(a, b)] if entry[0] != face]
            if not following:
                return
            face, k = following[0]

    for face in range(len(quads)):
        for k in (0, 1):
            if (face, k) in crossed:
                continue
            faces: list[int] = []
            rungs: list[list[int]] = []
            walk(face, k, faces, rungs, swap=False)
            a, b = quads[face][k], quads[face][(k + 1) % 4]
            back = [entry for entry in owners[min(a, b), max(a, b)] if entry[0] != face]
            if back:
                walk(*back[0], faces, rungs, swap=True)
            strips.append(_Strip(faces, np.array(rungs, dtype=np.int64)))
    return strips


def _cost(mesh: QuadMesh, strip: _Strip) -> float:
    """Return how much a strip matters: its width on the head and on the map, which magnifies the face."""
    a, ua, b, ub = strip.rungs.T
    width = np.linalg.norm(mesh.positions[a] - mesh.positions[b], axis=1)
    on_map = np.linalg.norm(mesh.uvs[ua] - mesh.uvs[ub], axis=1)
    weight = np.maximum(mesh.importance[a], mesh.importance[b])
    return float(np.sqrt(((weight * width) ** 2).mean() * (on_map**2).mean()))


def _collapse(mesh: QuadMesh, strips: list[_Strip]) -> QuadMesh | None:
    """Return the mesh without the strips, or None where that would tear, fold or pinch it."""
    rank = _rank_vertices(mesh)
    vertex_map, uv_map = np.arange(len(mesh.positions)), np.arange(len(mesh.uvs))
    lost_wedges: set[int] = set()
    for strip in strips:
        rungs = strip.rungs
        # The side that lies further forward stays where nothing else decides: it carries the outline.
        forward = mesh.positions[rungs[:, 2], 2].sum() > mesh.positions[rungs[:, 0], 2].sum()
        for a, ua, b, ub in rungs.tolist():
            if mesh.mirror[a] == b or (mesh.held is not None and mesh.held[a] and mesh.held[b]):
                return None
            keep_b = forward if rank[a] == rank[b] else rank[b] > rank[a]
            kept, kept_uv, lost, lost_uv = (b, ub, a, ua) if keep_b else (a, ua, b, ub)
            if vertex_map[lost] not in (lost, kept) or uv_map[lost_uv] not in (lost_uv, kept_uv):
                return None
            vertex_map[lost], uv_map[lost_uv] = kept, kept_uv
            lost_wedges.add(lost_uv)
    lost_vertices = vertex_map != np.arange(len(vertex_map))
    if lost_vertices[vertex_map].any() or (uv_map[uv_map] != uv_map).any():
        return None
    wedges = np.unique(mesh.uv_quads[lost_vertices[mesh.quads]])
    if not set(wedges.tolist()) <= lost_wedges:
        return None
    gone = np.zeros(len(mesh.quads), bool)
    gone[[face for strip in strips for face in strip.faces]] = True
    smaller = QuadMesh(
        positions=mesh.positions,
        uvs=mesh.uvs,
        quads=vertex_map[mesh.quads[~gone]],
        uv_quads=uv_map[mesh.uv_quads[~gone]],
        mirror=mesh.mirror,
        importance=mesh.importance,
        held=mesh.held,
    )
    before = mesh.quads[~gone]
    return smaller if _is_sound(mesh, smaller) and not _folds(smaller, before) else None


def _rank_vertices(mesh: QuadMesh) -> IndexArray:
    """Return how firmly each vertex is held: by a seam or boundary (2) and by the middle of the head (1)."""
    wedges = np.unique(np.stack([mesh.quads.ravel(), mesh.uv_quads.ravel()], axis=1), axis=0)
    seam = np.bincount(wedges[:, 0], minlength=len(mesh.positions))
    held = 2 * np.maximum(seam - 1, 0)
    open_edges = find_open_edges(mesh.quads)
    held[open_edges] = np.maximum(held[open_edges], 2)
    return np.asarray(held + (mesh.mirror == np.arange(len(mesh.mirror))), dtype=np.int64)


def find_open_edges(quads: NDArray[np.integer]) -> IndexArray:
    """Return the edges (E, 2) that only one face has, in the direction of that face."""
    edges = np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1).reshape(-1, 2).astype(np.int64)
    span = int(edges.max(initial=0)) + 1
    back = np.isin(edges[:, 0] * span + edges[:, 1], edges[:, 1] * span + edges[:, 0])
    return np.asarray(edges[~back])


def _is_sound(mesh: QuadMesh, smaller: QuadMesh) -> bool:
    """Tell whether a collapsed mesh is a manifold of the same kind, with neither slivers nor slits."""
    quads = smaller.quads
    if (np.sort(quads, axis=1)[:, 1:] == np.sort(quads, axis=1)[:, :-1]).any():
        return False
    edges = np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1).reshape(-1, 2)
    span = len(mesh.positions)
    if len(np.unique(edges[:, 0] * span + edges[:, 1])) != len(edges):
        return False
    if _characteristic(quads) != _characteristic(mesh.quads):
        return False
    valence = np.bincount(quads.ravel(), minlength=span)
    inner = valence > 0
    inner[find_open_edges(quads)] = False
    return bool(valence[inner].min(initial=3) >= 3)


def _characteristic(quads: IndexArray) -> int:
    edges = np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1).reshape(-1, 2)
    keys = edges.min(1) * (int(quads.max()) + 1) + edges.max(1)
    return len(np.unique(quads)) - len(np.unique(keys)) + len(quads)


def _folds(mesh: QuadMesh, before: IndexArray) -> bool:
    """Tell whether a face turned over, on the head or on the map.

    Args:
        before: (F, 4) the faces' old vertices, parallel to `mesh.quads`.
    """
    changed = (mesh.quads != before).any(1)
    old, new = (_normals(mesh.positions[quads[changed]]) for quads in (before, mesh.quads))
    if ((old * new).sum(1) < _SMALLEST_COSINE).any():
        return True
    a, b, c = (mesh.uvs[split_quads(mesh.uv_quads[changed])[:, k]] for k in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    longest = np.maximum(((b - a) ** 2).sum(1), ((c - a) ** 2).sum(1))
    return bool((area < _SMALLEST_SHARE * longest).any())


def _normals(corners: FloatArray) -> FloatArray:
    normals = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-15))
