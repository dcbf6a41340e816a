"""head.obj and head.mtl: quads and UV seams kept, one object with its materials, or one a part (OBJ 3.0).

The materials hold what Blender, three.js and MeshLab read alike, and nothing that one of them reads wrongly
(docs/reference/consumers.md has the measurements):
- Coverage is a picture of its own, the same in all four channels: Blender takes the fourth, three.js the
  second, and multiplies it with what the colour's picture covers: that one is opaque.
- Roughness is a number. Blender 5 takes every picture of an .mtl for sRGB: a roughness map makes skin wet
  (0.52 becomes 0.23), a normal map by `map_Bump` bends the light by 38 degrees. `norm` it does not read.
- Nothing in the format has two sides: strips of such a material face the front.
"""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from assets.materials import PLAIN_MIRRORED, Surface, find_surface
from assets.mesh import find_areas, find_areas_across, find_normals
from assets.slots import find_slots, name_slot
from assets.text import write_decimals, write_tuples
from face3d import srgb
from face3d.head import Head, MeshPart
from face3d.options import PartsLayout

#: A normal's decimals: less than a hundredth of a degree.
_NORMAL_DECIMALS = 4
#: The format's largest exponent.
_SHARPEST = 1000.0
_ADVICE = "# Blender: the normal and roughness maps go in by hand, as Non-Color images."


def write_obj(head: Head, *, parts: PartsLayout = "merged", material_file: str = "head.mtl") -> bytes:
    """Return the head's base shape in metres; faces are quads but for the triangles of the topology.

    Merged it is the object `head`, whose faces stand slot after slot; some readers make an object of every
    `g` too, so there is none.

    Normals are those of head.glb: smooth within a part, one a vertex.
    """
    pieces = [f"mtllib {material_file}\n".encode("ascii")]
    vertex, uv = 1, 1
    ordered = [part for slot in find_slots(head) for part in slot.parts] if parts == "merged" else head.parts
    beyond = find_areas_across(ordered, [part.positions for part in ordered])
    for index, (part, extra) in enumerate(zip(map(_face_front, ordered), beyond, strict=True)):
        corners = np.stack([part.quads + vertex, part.uv_quads + uv, part.quads + vertex], axis=-1)
        kept = np.ones(part.quads.shape, bool)
        # A triangle repeats its last corner.
        kept[:, 3] = part.quads[:, 2] != part.quads[:, 3]
        pieces += [
            _begin(part, "head" if index == 0 else "") if parts == "merged" else _begin(part, part.name),
            write_decimals("v", part.positions),
            write_decimals("vt", part.uvs),
            write_decimals("vn", find_normals(part.positions, part.quads, extra), _NORMAL_DECIMALS),
            write_tuples("f", corners, kept),
        ]
        vertex += len(part.positions)
        uv += len(part.uvs)
    return b"".join(pieces)


def _begin(part: MeshPart, name: str) -> bytes:
    """Return the lines before a part: those of an object, if there is a name of one, and its material."""
    named = f"o {name}\n" if name else ""
    return f"{named}usemtl {name_slot(part)}\ns 1\n".encode("ascii")


def _face_front(part: MeshPart) -> MeshPart:
    """Return a part whose connected strips look along +z in the mean, where its material has two sides."""
    if not find_surface(part.material).double_sided:
        return part
    quads, count = part.quads, len(part.positions)
    links = (quads[:, [0, 1, 2]].ravel(), quads[:, [1, 2, 3]].ravel())
    _, strips = connected_components(
        coo_matrix((np.ones(len(links[0])), links), (count, count)), directed=False
    )
    ahead = np.bincount(strips[quads[:, 0]], find_areas(part.positions, quads)[:, 2])
    back = ahead[strips[quads[:, 0]]] < 0
    # The other way round from the first corner; a triangle's repeated corner stays its last.
    order = np.where((quads[:, 2] == quads[:, 3])[:, None], [0, 2, 1, 1], [0, 3, 2, 1])
    order = np.where(back[:, None], order, np.arange(4))
    turned, turned_uvs = (np.take_along_axis(c, order, axis=1) for c in (quads, part.uv_quads))
    return replace(part, quads=turned, uv_quads=turned_uvs)


def write_mtl(
    head: Head,
    maps: Mapping[str, str],
    coverage: Mapping[str, str] | None = None,
    *,
    normal: str | None = None,
) -> bytes:
    """Return the materials of `write_obj`.

    Args:
        maps: material to the file name of its opaque albedo map, beside the .mtl.
        coverage: transparent material to the file name of its coverage, in all four channels.
        normal: the file name of the skin's normal map.
    """
    lines: list[str] = []
    for slot in find_slots(head):
        material = slot.material
        surface = find_surface(material)
        *colour, alpha = (1, 1, 1, 1) if material in maps else surface.tint
        lines += [f"newmtl {slot.name}", "Ka 0 0 0", "Kd {:g} {:g} {:g}".format(*colour)]
        lines += [*_describe_mirroring(surface), f"d {alpha:g}", "illum 2"]
        if material in maps:
            lines.append(f"map_Kd {maps[material]}")
        if coverage and material in coverage:
            lines.append(f"map_d {coverage[material]}")
        if normal and material == "skin":
            lines += [f"norm {normal}", _ADVICE]
        lines.append("")
    return "\n".join(lines).encode("ascii")


def _describe_mirroring(surface: Surface) -> list[str]:
    """Return the lines of a highlight as strong and as wide as glTF's.

    three.js reads `Ks` as sRGB and takes it for what is mirrored of light that falls straight on it. Blender
    takes it as it is, and multiplies by twice of it what follows from `Ni`; `Pr` is its roughness.
    """
    mirrored = min(1.0, PLAIN_MIRRORED * surface.specular * surface.mirroring_gain)
    strength = float(srgb.encode(np.asarray(mirrored)))
    root = math.sqrt(mirrored / (2 * strength))
    # Blinn-Phong exponent of the same highlight width.
    exponent = min(_SHARPEST, 2 / surface.roughness**4 - 2)
    return [
        f"Ks {strength:.3f} {strength:.3f} {strength:.3f}",
        f"Ns {exponent:.1f}",
        f"Ni {(1 + root) / (1 - root):.3f}",
        f"Pr {surface.roughness:g}",
        "Pm 0",
    ]
