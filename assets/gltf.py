"""head.glb: a mesh a part, PBR materials, 52 named morph targets on every part (glTF 2.0, sections 3.6, 3.7).

Morph targets are sparse accessors: a shape moves a small share of the vertices. Every part has all 52, so
that one set of weights drives the head; a shape that leaves a part alone points at shared zeros there.
"""

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assets.materials import NORMAL, ORM, find_surface
from assets.mesh import NormalFinder, split_vertices
from face3d.head import ARKIT_NAMES, FloatArray, Head, IndexArray, MeshPart
from face3d.messages import Array

_FLOAT, _USHORT, _UINT = 5126, 5123, 5125
_VERTICES, _INDICES = 34962, 34963
#: A morph moves a vertex, or turns its normal, when it does more than this: metres; length of the difference.
_SMALLEST_MOVE = 2e-6
_SMALLEST_TURN = 4e-3
_SPECULAR = "KHR_materials_specular"
_LINEAR, _LINEAR_MIPMAP, _CLAMP = 9729, 9987, 33071


def write_glb(
    head: Head,
    textures: Mapping[str, bytes],
    *,
    generator: str = "Face3D",
    copyright_text: str | None = None,
) -> bytes:
    """Return the head as binary glTF.

    Args:
        textures: material to JPEG or PNG bytes; a material without one has its surface's tint. With
            `materials.NORMAL` or `materials.ORM` behind the name: its normals, and its occlusion, roughness
            and metalness.
        generator: the program and version that `asset.generator` names.
        copyright_text: what `asset.copyright` says, if anything.
    """
    buffer = _Buffer()
    images: list[dict[str, Any]] = []
    names = list(dict.fromkeys(part.material for part in head.parts))
    materials = [_write_material(buffer, images, name, textures) for name in names]
    meshes = [_write_part(buffer, part, names.index(part.material)) for part in head.parts]
    nodes: list[dict[str, Any]] = [{"name": part.name, "mesh": i} for i, part in enumerate(head.parts)]
    nodes.append({"name": "head", "children": list(range(len(meshes)))})
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": generator},
        "scene": 0,
        "scenes": [{"name": "head", "nodes": [len(meshes)]}],
        "nodes": nodes,
        "meshes": meshes,
        "materials": materials,
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": buffer.length}],
    }
    if copyright_text:
        document["asset"]["copyright"] = copyright_text
    if any("extensions" in material for material in materials):
        document["extensionsUsed"] = [_SPECULAR]
    if images:
        document["images"] = images
        document["samplers"] = [
            {"magFilter": _LINEAR, "minFilter": _LINEAR_MIPMAP, "wrapS": _CLAMP, "wrapT": _CLAMP}
        ]
        document["textures"] = [{"source": i, "sampler": 0} for i in range(len(images))]
    return _pack(document, buffer)


def _write_material(
    buffer: "_Buffer", images: list[dict[str, Any]], name: str, textures: Mapping[str, bytes]
) -> dict[str, Any]:
    surface = find_surface(name)

    def add(key: str, title: str) -> dict[str, int] | None:
        if key not in textures:
            return None
        data = textures[key]
        kind = "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
        images.append({"name": title, "mimeType": kind, "bufferView": buffer.add_view(data)})
        return {"index": len(images) - 1}

    pbr: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": surface.roughness}
    material: dict[str, Any] = {"name": name, "pbrMetallicRoughness": pbr}
    if albedo := add(name, f"albedo_{name}"):
        pbr["baseColorTexture"] = albedo
    else:
        pbr["baseColorFactor"] = list(surface.tint)
    if packed := add(name + ORM, f"occlusion_roughness_metalness_{name}"):
        pbr["metallicRoughnessTexture"] = packed
        pbr["roughnessFactor"] = 1.0
        material["occlusionTexture"] = dict(packed)
    if normal := add(name + NORMAL, f"normal_{name}"):
        material["normalTexture"] = normal
    if surface.double_sided:
        material["doubleSided"] = True
    if surface.transparent:
        material["alphaMode"] = "BLEND"
    if surface.specular < 1:
        material["extensions"] = {_SPECULAR: {"specularFactor": surface.specular}}
    return material


def _write_part(buffer: "_Buffer", part: MeshPart, material: int) -> dict[str, Any]:
    mesh = split_vertices(part)
    # Normals are found on unsplit vertices, so that shading does not break at UV seams.
    finder = NormalFinder(part.positions, part.quads)
    targets = [_write_shape(buffer, mesh.vertices, finder, deltas) for deltas in part.morph_deltas]
    # glTF's v runs down the picture; ours runs up.
    uvs = np.stack([mesh.uvs[:, 0], 1 - mesh.uvs[:, 1]], axis=1)
    attributes = {
        "POSITION": buffer.add_dense(part.positions[mesh.vertices], bounds=True),
        "NORMAL": buffer.add_dense(finder.normals[mesh.vertices]),
        "TEXCOORD_0": buffer.add_dense(uvs),
    }
    primitive = {
        "attributes": attributes,
        "indices": buffer.add_indices(mesh.triangles, len(mesh.vertices)),
        "material": material,
        "targets": targets,
    }
    return {
        "name": part.name,
        "primitives": [primitive],
        "weights": [0.0] * len(ARKIT_NAMES),
        "extras": {"targetNames": list(ARKIT_NAMES)},
    }


def _write_shape(
    buffer: "_Buffer", split: IndexArray, finder: NormalFinder, deltas: FloatArray
) -> dict[str, int]:
    """Write a shape's displacements (V, 3) and what they do to normals; `split` tells vertices' copies."""
    lengths = np.einsum("vc,vc->v", deltas, deltas)
    touched = np.flatnonzero(lengths)
    turned = finder.find_turns(touched, deltas.take(touched, axis=0))
    moved = np.flatnonzero(lengths > _SMALLEST_MOVE**2)
    turns = turned.turns
    bent = np.flatnonzero(np.einsum("vc,vc->v", turns, turns) > _SMALLEST_TURN**2)
    return {
        "POSITION": buffer.add_sparse(moved, deltas.take(moved, axis=0), split, bounds=True),
        "NORMAL": buffer.add_sparse(
            turned.vertices.take(bent), turns.take(bent, axis=0), split, bounds=False
        ),
    }


class _Buffer:
    """The binary chunk as it grows, with the views and accessors that describe it."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.length = 0
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []
        self._zeros: dict[tuple[int, bool], int] = {}

    def add_view(self, data: bytes, target: int | None = None) -> int:
        view = {"buffer": 0, "byteOffset": self.length, "byteLength": len(data)}
        if target is not None:
            view["target"] = target
        self.views.append(view)
        padded = data + b"\0" * (-len(data) % 4)
        self.pieces.append(padded)
        self.length += len(padded)
        return len(self.views) - 1

    def add_dense(self, values: FloatArray, *, bounds: bool = False) -> int:
        values = np.ascontiguousarray(values, np.float32)
        accessor: dict[str, Any] = {
            "bufferView": self.add_view(values.tobytes(), _VERTICES),
            "componentType": _FLOAT,
            "count": len(values),
            "type": f"VEC{values.shape[1]}",
        }
        return self._add(accessor, values if bounds else None)

    def add_sparse(
        self, vertices: NDArray[np.integer], vectors: FloatArray, split: IndexArray, *, bounds: bool
    ) -> int:
        """Add an accessor of the N split vertices that is zero but for some vertices' vectors.

        Args:
            vertices: (K,) unsplit vertices.
            vectors: (K, 3) theirs.
            split: (N,) the unsplit vertex of each split one.
        """
        accessor: dict[str, Any] = {"componentType": _FLOAT, "count": len(split), "type": "VEC3"}
        if not len(vertices):
            key = (len(split), bounds)
            if key not in self._zeros:
                self._zeros[key] = self._add(accessor, np.zeros((1, 3), np.float32) if bounds else None)
            return self._zeros[key]
        place = np.full(int(split.max()) + 1, -1, np.int32)
        place[vertices] = np.arange(len(vertices), dtype=np.int32)
        copies = place.take(split)
        moved = np.flatnonzero(copies >= 0)
        kept = vectors.take(copies.take(moved), axis=0)
        index_type = _index_type(len(split))
        accessor["sparse"] = {
            "count": len(moved),
            "indices": {
                "bufferView": self.add_view(moved.astype(index_type).tobytes()),
                "componentType": _component(index_type),
            },
            "values": {"bufferView": self.add_view(kept.tobytes())},
        }
        still = np.zeros((int(len(moved) < len(split)), 3), np.float32)
        return self._add(accessor, np.concatenate([kept, still]) if bounds else None)

    def add_indices(self, triangles: Array, vertices: int) -> int:
        index_type = _index_type(vertices)
        data = triangles.astype(index_type).tobytes()
        accessor = {
            "bufferView": self.add_view(data, _INDICES),
            "componentType": _component(index_type),
            "count": triangles.size,
            "type": "SCALAR",
        }
        return self._add(accessor, None)

    def _add(self, accessor: dict[str, Any], bounded: FloatArray | None) -> int:
        if bounded is not None:
            accessor["min"] = [float(x) for x in bounded.min(axis=0)]
            accessor["max"] = [float(x) for x in bounded.max(axis=0)]
        self.accessors.append(accessor)
        return len(self.accessors) - 1


def _index_type(vertices: int) -> type[np.uint16] | type[np.uint32]:
    # 65535 itself restarts primitives, so it must not be an index.
    return np.uint16 if vertices <= 65535 else np.uint32


def _component(index_type: type[np.uint16] | type[np.uint32]) -> int:
    return _USHORT if index_type is np.uint16 else _UINT


def _pack(document: dict[str, Any], buffer: _Buffer) -> bytes:
    """Return the binary container: header, JSON chunk, binary chunk (glTF 2.0, section 4.4)."""
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + 8 + buffer.length
    return b"".join(
        [
            struct.pack("<4sII", b"glTF", 2, total),
            struct.pack("<I4s", len(text), b"JSON"),
            text,
            struct.pack("<I4s", buffer.length, b"BIN\0"),
            *buffer.pieces,
        ]
    )
