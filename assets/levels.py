"""Levels of detail of a head: 0 smooth (one Catmull-Clark step), 1 the cage that was fitted, 2 coarse.

All share the UV layout, so the same maps and the same 52 weights fit. They are linear maps of the cage, but
for the coarse blink.
"""

from dataclasses import replace

from assets.subdivision import subdivide
from face3d.head import ARKIT_NAMES, Head, MeshPart
from face3d.options import LevelOfDetail

#: A few straight edges along a lid leave a slit where it should meet the other: coarse lids close further.
_COARSE_BLINK = 1.04
_BLINKS = [ARKIT_NAMES.index(f"eyeBlink{side}") for side in ("Left", "Right")]


def head_at_level(head: Head, level: LevelOfDetail) -> Head:
    """Return a head on another level of detail than its own, which is 1."""
    if level == 1:
        return head
    change = _refine if level == 0 else _coarsen
    return replace(head, parts=tuple(change(part) for part in head.parts))


def _refine(part: MeshPart) -> MeshPart:
    finer = subdivide(part.quads, len(part.positions), part.uv_quads, len(part.uvs), keep_place=True)
    # A surface that passes through its cage's vertices swings a little beyond their range.
    shares = finer.map_vertices(part.joint_weights).clip(0, 1)
    return replace(
        part,
        positions=finer.map_vertices(part.positions),
        quads=finer.quads,
        uvs=finer.map_uvs(part.uvs),
        uv_quads=finer.uv_quads,
        morph_deltas=finer.map_vertices(part.morph_deltas),
        joint_weights=shares / shares.sum(1, keepdims=True),
        coarse=None,
    )


def _coarsen(part: MeshPart) -> MeshPart:
    coarse = part.coarse
    if coarse is None:
        return part
    deltas = part.morph_deltas[:, coarse.vertices]
    deltas[_BLINKS] *= _COARSE_BLINK
    return replace(
        part,
        positions=part.positions[coarse.vertices],
        quads=coarse.quads,
        uvs=part.uvs[coarse.uvs],
        uv_quads=coarse.uv_quads,
        morph_deltas=deltas,
        joint_weights=part.joint_weights[coarse.vertices],
        coarse=None,
    )
