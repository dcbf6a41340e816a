"""head.obj and head.mtl: quads and UV seams kept, one object a part (Wavefront OBJ 3.0)."""

from collections.abc import Mapping

import numpy as np

from assets.materials import find_surface
from assets.text import write_decimals, write_pairs
from face3d.head import Head


def write_obj(head: Head, *, material_file: str = "head.mtl") -> bytes:
    """Return the head's base shape in metres; faces are quads but for the triangles of the topology."""
    pieces = [f"mtllib {material_file}\n".encode("ascii")]
    vertex, uv = 1, 1
    for part in head.parts:
        corners = np.stack([part.quads + vertex, part.uv_quads + uv], axis=-1)
        kept = np.ones(part.quads.shape, bool)
        # A triangle repeats its last corner.
        kept[:, 3] = part.quads[:, 2] != part.quads[:, 3]
        pieces += [
            f"o {part.name}\ng {part.name}\nusemtl {part.material}\ns 1\n".encode("ascii"),
            write_decimals("v", part.positions),
            write_decimals("vt", part.uvs),
            write_pairs("f", corners, kept),
        ]
        vertex += len(part.positions)
        uv += len(part.uvs)
    return b"".join(pieces)


def write_mtl(head: Head, maps: Mapping[str, str], skin_maps: Mapping[str, str] | None = None) -> bytes:
    """Return the materials of `write_obj`.

    Args:
        maps: material to the file name of its albedo map, beside the .mtl.
        skin_maps: `normal` and `roughness` to the file names of the skin's, by the format's PBR extension.
    """
    further = {"normal": "norm", "roughness": "map_Pr"}
    lines: list[str] = []
    for material in dict.fromkeys(part.material for part in head.parts):
        surface = find_surface(material)
        roughness = surface.roughness
        # Blinn-Phong exponent of the same highlight width: 2 / roughness^4 - 2.
        shininess = min(1000.0, 2 / roughness**4 - 2)
        specular = 0.04
        *colour, coverage = surface.tint if surface.transparent and material not in maps else (1, 1, 1, 1)
        lines += [f"newmtl {material}", "Ka 0 0 0", "Kd {:g} {:g} {:g}".format(*colour)]
        lines += [f"Ks {specular} {specular} {specular}", f"Ns {shininess:.1f}", f"d {coverage:g}", "illum 2"]
        if material in maps:
            lines.append(f"map_Kd {maps[material]}")
            if surface.transparent:
                lines.append(f"map_d {maps[material]}")
        if material == "skin":
            lines += [f"{further[kind]} {file}" for kind, file in (skin_maps or {}).items()]
        lines.append("")
    return "\n".join(lines).encode("ascii")
