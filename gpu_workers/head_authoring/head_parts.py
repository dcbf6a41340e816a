"""The head's parts in their final order: those cut from MakeHuman's mesh, and those made to hang on them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from face3d.head import CoarseLevel
from gpu_workers.head.model.head_template import IRIS_DIAMETER, PART_MATERIALS, PartData
from gpu_workers.head.ops.mesh import split_quads
from gpu_workers.head.rigging.attachments import follow_lids
from gpu_workers.head.rigging.eyeballs import EYEBALL_RADIUS
from gpu_workers.head_authoring import uv_packing
from gpu_workers.head_authoring.corneas import make_corneas
from gpu_workers.head_authoring.eyeballs import make_eyeballs
from gpu_workers.head_authoring.eyelashes import Lashes, make_lashes
from gpu_workers.head_authoring.head_topology import MIRROR_PART, CutPart, Seam, find_lid_rim, pair_sides
from gpu_workers.head_authoring.loop_fill import span_loop
from gpu_workers.head_authoring.neck_cap import NeckCap, make_neck_cap
from gpu_workers.head_authoring.procedural_part import MadePart, follow_affinely
from gpu_workers.head_authoring.quad_simplification import QuadMesh, coarsen
from gpu_workers.head_authoring.teeth import make_teeth

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]

#: Share of its faces that a part keeps on level of detail 2; a part that is not named keeps all.
_COARSE_SHARES = {
    "skin": 0.25,
    "tongue": 0.25,
    "teeth": 0.3,
    "gums": 0.3,
    "cornea": 0.3,
    "lashes": 0.4,
    "eye": 0.4,
}
#: What the coarse skin keeps longest, and what it can spare: mask to the gain in importance.
_IMPORTANT = {"eyelids": 3.0, "eyelid_rim": 3.0, "lips": 1.0, "ears": 1.0}
_HIDDEN = ("mouth_interior", "eye_socket")
_HIDDEN_IMPORTANCE = 0.25
#: Whose motion of MakeHuman's parts a made part takes over.
_HOSTS = {
    "eye_left": "eye_left", "eye_right": "eye_right", "cornea_left": "eye_left", "cornea_right": "eye_right",
    "teeth_upper": "teeth_upper", "gums_upper": "teeth_upper",
    "teeth_lower": "teeth_lower", "gums_lower": "teeth_lower",
}  # fmt: skip


@dataclass(frozen=True)
class _Built:
    """One part and how its vertices follow those of the cut parts."""

    part: PartData
    positions: FloatArray
    #: (H,) vertices of the cut parts, and (V, H) weights.
    hosts: IndexArray
    weights: FloatArray
    #: (V, 3) lashes: what turns about the eyeball; the cut eyeball's vertices, the made one's middle.
    offsets: FloatArray | None = None
    eye: IndexArray | None = None
    eye_middle: FloatArray | None = None


@dataclass(frozen=True)
class AssembledParts:
    """All parts, and their places."""

    parts: tuple[PartData, ...]
    #: (V, 3) metres.
    positions: FloatArray
    #: (V,) mirror image of each vertex.
    mirror: IndexArray
    built: tuple[_Built, ...]

    def spread(self, columns: FloatArray) -> NDArray[np.float32]:
        """Return displacements (C, V, 3) of all parts from those of the cut parts (C, N, 3)."""
        return np.concatenate([_spread(one, columns) for one in self.built], axis=1)


def list_rows(cut: tuple[CutPart, ...]) -> dict[str, IndexArray]:
    """Return cut part to its rows in the list of the cut parts' vertices."""
    ends = np.cumsum([len(part.source) for part in cut])
    return {part.name: np.arange(end - len(part.source), end) for part, end in zip(cut, ends, strict=True)}


def assemble_parts(
    cut: tuple[CutPart, ...],
    positions: FloatArray,
    mirror: IndexArray,
    layouts: Mapping[str, tuple[FloatArray, IndexArray]],
    masks: Mapping[str, FloatArray],
    eyeball: FloatArray,
    seam: Seam,
) -> AssembledParts:
    """Return the head's parts in the order of PART_MATERIALS.

    Args:
        positions: (N, 3) of the cut parts, metres, origin midway between the eyes.
        mirror: (N,) of the cut parts.
        layouts: cut part to uvs and uv quads.
        masks: of the skin.
        eyeball: (3,) middle of the left one, metres.
    """
    rows = list_rows(cut)
    by_name = {part.name: part for part in cut}
    eye = positions[rows["eye_left"]]
    behind_lids = 0.5 * (eye.min(0) + eye.max(0))
    made = {part.name: part for part in make_teeth()}
    made |= {part.name: part for part in make_eyeballs(eyeball, EYEBALL_RADIUS, IRIS_DIAMETER / 2)}
    made |= {part.name: part for part in make_corneas(eyeball, EYEBALL_RADIUS)}
    lashes = {
        one.part.name: one
        for one in make_lashes(
            positions[rows["skin"]], by_name["skin"].quads, find_lid_rim(by_name["skin"]), behind_lids,
            mirror[rows["skin"]],
        )
    }  # fmt: skip
    built: list[_Built] = []
    first = 0
    for name in PART_MATERIALS:
        if name in layouts:
            one = _from_cut(by_name[name], positions[rows[name]], rows[name], layouts[name])
        elif name == "neck_cap":
            one = _from_cap(make_neck_cap(seam.loop, positions[rows["skin"]]), rows["skin"])
        elif name in lashes:
            sided = eyeball if name.endswith("left") else eyeball * [-1, 1, 1]
            one = _from_lashes(lashes[name], rows[f"eye_{name.rsplit('_', 1)[1]}"], sided)
        else:
            host = rows[_HOSTS[name]]
            one = _from_made(made[name], host, positions[host])
        built.append(replace(one, part=replace(one.part, first=first)))
        first += one.part.count
    whole = np.concatenate([one.positions for one in built])
    new_mirror = _mirror(tuple(one.part for one in built), whole)
    parts = _with_hosts(built)
    parts = _with_coarse_levels(parts, whole, new_mirror, masks)
    return AssembledParts(parts, whole, new_mirror, tuple(built))


def _part(
    name: str, quads: IndexArray, uvs: FloatArray, uv_quads: IndexArray, source: IndexArray
) -> PartData:
    return PartData(
        name=name,
        material=PART_MATERIALS[name],
        first=0,
        count=len(source),
        quads=quads.astype(np.int32),
        uvs=uvs.astype(np.float32),
        uv_quads=uv_quads.astype(np.int32),
        triangles=split_quads(quads).astype(np.int32),
        uv_triangles=split_quads(uv_quads).astype(np.int32),
        uv_islands=uv_packing.island_labels(uv_quads, uvs).astype(np.int32),
        source_vertices=source.astype(np.int32),
        host_vertices=np.zeros(0, np.int32),
        host_weights=np.zeros((0, 0), np.float32),
        host_offsets=np.zeros((0, 3), np.float32),
        coarse=None,
    )


def _from_cut(
    part: CutPart, positions: FloatArray, rows: IndexArray, layout: tuple[FloatArray, IndexArray]
) -> _Built:
    return _Built(_part(part.name, part.quads, *layout, part.source), positions, rows, np.zeros((0, 0)))


def _from_made(part: MadePart, hosts: IndexArray, host_positions: FloatArray) -> _Built:
    source = np.full(len(part.positions), -1)
    data = _part(part.name, part.quads, part.uvs, part.uv_quads, source)
    return _Built(data, part.positions, hosts, follow_affinely(part.positions, host_positions))


def _from_cap(cap: NeckCap, skin: IndexArray) -> _Built:
    data = _part(
        cap.part.name, cap.part.quads, cap.part.uvs, cap.part.uv_quads, np.full(len(cap.weights), -1)
    )
    return _Built(data, cap.part.positions, skin[cap.hosts], cap.weights)


def _from_lashes(lashes: Lashes, eye: IndexArray, eyeball: FloatArray) -> _Built:
    hosts, local = np.unique(lashes.hosts, return_inverse=True)
    weights = np.zeros((len(lashes.hosts), len(hosts)))
    rows = np.repeat(np.arange(len(lashes.hosts)), lashes.hosts.shape[1])
    np.add.at(weights, (rows, local.ravel()), lashes.weights.ravel())
    source = np.full(len(lashes.hosts), -1)
    data = _part(lashes.part.name, lashes.part.quads, lashes.part.uvs, lashes.part.uv_quads, source)
    return _Built(data, lashes.part.positions, hosts, weights, lashes.offsets, eye, eyeball)


def _spread(one: _Built, columns: FloatArray) -> NDArray[np.float32]:
    if not one.weights.size:
        return np.asarray(columns[:, one.hosts], np.float32)
    moved = np.einsum("vh,chk->cvk", one.weights, columns[:, one.hosts], optimize=True)
    if one.offsets is None or one.eye is None or one.eye_middle is None:
        return np.asarray(moved, np.float32)
    roots = one.positions - one.offsets
    poses = np.concatenate([roots[None], roots + moved])
    middle = one.eye_middle
    centres = np.concatenate([middle[None], middle + columns[:, one.eye].mean(1)])
    turned = follow_lids(*(torch.from_numpy(array) for array in (poses, centres, one.offsets))).numpy()
    return np.asarray(moved + turned[1:] - turned[0], np.float32)


def _with_hosts(built: list[_Built]) -> tuple[PartData, ...]:
    """Return the parts; those that hang on other parts of the head know them and can follow them later."""
    by_name = {one.part.name: one for one in built}
    skin = by_name["skin"]
    place = {int(row): k for k, row in enumerate(skin.hosts)}
    parts = []
    for one in built:
        part = one.part
        if one.offsets is not None:
            hosts = np.array([place[int(row)] for row in one.hosts])
            weights, offsets = one.weights, one.offsets
        elif part.material == "cornea":
            eye = by_name[part.name.replace("cornea", "eye")]
            hosts = np.arange(eye.part.first, eye.part.first + eye.part.count)
            weights, offsets = follow_affinely(one.positions, eye.positions), np.zeros((0, 3))
        elif part.name == "neck_cap":
            hosts, weights, offsets = (
                np.array([place[int(row)] for row in one.hosts]),
                one.weights,
                np.zeros((0, 3)),
            )
        else:
            parts.append(part)
            continue
        parts.append(
            replace(
                part,
                host_vertices=hosts.astype(np.int32),
                host_weights=weights.astype(np.float32),
                host_offsets=offsets.astype(np.float32),
            )
        )
    return tuple(parts)


def _mirror(parts: tuple[PartData, ...], positions: FloatArray) -> IndexArray:
    every = np.arange(len(positions))
    return pair_sides({part.name: every[part.vertices] for part in parts}, positions)


def _with_coarse_levels(
    parts: tuple[PartData, ...], positions: FloatArray, mirror: IndexArray, masks: Mapping[str, FloatArray]
) -> tuple[PartData, ...]:
    levels: dict[str, CoarseLevel | None] = {}
    for part in parts:
        share = _COARSE_SHARES.get(part.name.split("_", maxsplit=1)[0])
        opposite = MIRROR_PART.get(part.name, "")
        if part.name == "neck_cap":
            skin = levels["skin"]
            kept = np.isin(part.host_vertices, skin.vertices) if skin else np.ones(0)
            levels[part.name] = span_loop(np.flatnonzero(kept))
        elif share is None:
            levels[part.name] = None
        elif levels.get(opposite) is not None:
            levels[part.name] = _mirror_level(levels[opposite])
        else:
            own = np.arange(part.count) if opposite else mirror[part.vertices] - part.first
            mesh = QuadMesh(
                positions=positions[part.vertices],
                uvs=part.uvs.astype(np.float64),
                quads=part.quads.astype(np.int64),
                uv_quads=part.uv_quads.astype(np.int64),
                mirror=own,
                importance=_weigh_skin(masks) if part.name == "skin" else np.ones(part.count),
            )
            levels[part.name] = coarsen(mesh, share)
    return tuple(replace(part, coarse=levels[part.name]) for part in parts)


def _mirror_level(level: CoarseLevel | None) -> CoarseLevel | None:
    """Return the coarse level of a part made as another one's mirror image, which has the same numbers."""
    if level is None:
        return None
    flip = [0, 3, 2, 1]
    return replace(level, quads=level.quads[:, flip], uv_quads=level.uv_quads[:, flip])


def _weigh_skin(masks: Mapping[str, FloatArray]) -> FloatArray:
    weight = 1 + sum(gain * masks[name] for name, gain in _IMPORTANT.items())
    hidden = np.maximum.reduce([masks[name] for name in _HIDDEN])
    return np.asarray(weight * (1 - (1 - _HIDDEN_IMPORTANCE) * hidden))
