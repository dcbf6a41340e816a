"""head.obj and head.mtl: quads and UV seams kept, one object a part (Wavefront OBJ 3.0)."""

from collections.abc import Mapping

import numpy as np

from assets.materials import find_surface
from face3d.head import Head, IndexArray


def write_obj(head: Head, *, material_file: str = "head.mtl") -> bytes:
    """Return the head's base shape in metres; faces are quads but for the triangles of the topology."""
    lines = [f"mtllib {material_file}"]
    vertex, uv = 1, 1
    for part in head.parts:
        lines += [f"o {part.name}", f"g {part.name}", f"usemtl {part.material}", "s 1"]
        lines += [f"v {row[0]:.6f} {row[1]:.6f} {row[2]:.6f}" for row in part.positions.tolist()]
        lines += [f"vt {row[0]:.6f} {row[1]:.6f}" for row in part.uvs.tolist()]
        lines += _write_faces(part.quads + vertex, part.uv_quads + uv)
        vertex += len(part.positions)
        uv += len(part.uvs)
    return ("\n".join(lines) + "\n").encode("ascii")


def _write_faces(quads: IndexArray, uv_quads: IndexArray) -> list[str]:
    corners = np.stack([quads, uv_quads], axis=-1).tolist()
    # A triangle repeats its last corner.
    faces = [row[:3] if row[2][0] == row[3][0] else row for row in corners]
    return ["f " + " ".join(f"{vertex}/{uv}" for vertex, uv in face) for face in faces]


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
