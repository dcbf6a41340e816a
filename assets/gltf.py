"""head.glb: a mesh a part, PBR materials, 52 named morph targets on every part (glTF 2.0, sections 3.6, 3.7).

Morph targets are sparse accessors: a shape moves a small share of the vertices. Every part has all 52, so
that one set of weights drives the head; a shape that leaves a part alone points at shared zeros there.
Parts with a normal map have tangents (3.7.2.1): without them each reader finds its own.
"""

import json
import struct
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from assets.materials import NORMAL, ORM, find_surface
from assets.mesh import TriangleMesh, split_vertices
from assets.morphs import Morph, MorphFinder, SparseVectors
from assets.tangents import find_tangents
from assets.threads import ARRAY_THREADS
from face3d.head import ARKIT_NAMES, FloatArray, Head, MeshPart
from face3d.messages import Array

_FLOAT, _USHORT, _UINT = 5126, 5123, 5125
_VERTICES, _INDICES = 34962, 34963
_SPECULAR = "KHR_materials_specular"
#: Threads share the shapes of a part with more vertices than that.
_SMALL_PART = 4000
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
    mapped = {name for name in names if name + NORMAL in textures}
    meshes = _write_parts(buffer, head, names, mapped)
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


def _write_parts(
    buffer: "_Buffer", head: Head, materials: Sequence[str], mapped: Collection[str]
) -> list[dict[str, Any]]:
    """Return a mesh a part; those whose material is `mapped` have the tangents that a normal map needs."""
    splits = [split_vertices(part) for part in head.parts]
    # Normals are found on unsplit vertices, so that shading does not break at UV seams.
    finders = [MorphFinder(*pair) for pair in zip(head.parts, splits, strict=True)]
    with ThreadPoolExecutor(ARRAY_THREADS) as pool:
        large = [len(part.positions) > _SMALL_PART for part in head.parts]
        begun = {index: finders[index].find_all(pool.map) for index in range(len(large)) if large[index]}
        # What is small is done here before another thread had taken it over.
        found = [begun.get(index) or list(finder.find_all()) for index, finder in enumerate(finders)]
        return [
            _write_part(
                buffer,
                *(part, mesh, finder.normals, morphs, materials.index(part.material)),
                with_tangents=part.material in mapped,
            )
            for part, mesh, finder, morphs in zip(head.parts, splits, finders, found, strict=True)
        ]


def _write_part(
    buffer: "_Buffer",
    part: MeshPart,
    mesh: TriangleMesh,
    normals: FloatArray,
    morphs: Iterable[Morph],
    material: int,
    *,
    with_tangents: bool,
) -> dict[str, Any]:
    targets = [_write_shape(buffer, morph, len(mesh.vertices)) for morph in morphs]
    # glTF's v runs down the picture; ours runs up.
    uvs = np.stack([mesh.uvs[:, 0], 1 - mesh.uvs[:, 1]], axis=1)
    positions, turned = part.positions[mesh.vertices], normals[mesh.vertices]
    attributes = {
        "POSITION": buffer.add_dense(positions, bounds=True),
        "NORMAL": buffer.add_dense(turned),
        "TEXCOORD_0": buffer.add_dense(uvs),
    }
    if with_tangents:
        # Shapes have none of their own: readers lay these into the plane of the normal that a shape turned.
        attributes["TANGENT"] = buffer.add_dense(find_tangents(positions, turned, mesh.uvs, mesh.triangles))
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


def _write_shape(buffer: "_Buffer", morph: Morph, vertices: int) -> dict[str, int]:
    return {
        "POSITION": buffer.add_sparse(morph.moves, vertices, bounds=True),
        "NORMAL": buffer.add_sparse(morph.turns, vertices, bounds=False),
    }


class _Buffer:
    """The binary chunk as it grows, with the views and accessors that describe it."""

    def __init__(self) -> None:
        self.pieces: list[bytes | memoryview] = []
        self.length = 0
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []
        #: The accessor of zeros for a number of vertices, with or without bounds.
        self._zeros: dict[tuple[int, bool], int] = {}
        #: Component type to the views of one index and of its zeros.
        self._still_views: dict[int, tuple[int, int]] = {}

    def add_view(self, data: bytes | Array, target: int | None = None) -> int:
        piece = (memoryview(data) if isinstance(data, bytes) else data.data).cast("B")
        view = {"buffer": 0, "byteOffset": self.length, "byteLength": len(piece)}
        if target is not None:
            view["target"] = target
        self.views.append(view)
        padding = -len(piece) % 4
        self.pieces += [piece, bytes(padding)] if padding else [piece]
        self.length += len(piece) + padding
        return len(self.views) - 1

    def add_dense(self, values: FloatArray, *, bounds: bool = False) -> int:
        values = np.ascontiguousarray(values, np.float32)
        accessor: dict[str, Any] = {
            "bufferView": self.add_view(values, _VERTICES),
            "componentType": _FLOAT,
            "count": len(values),
            "type": f"VEC{values.shape[1]}",
        }
        return self._add(accessor, values if bounds else None)

    def add_sparse(self, vectors: SparseVectors, count: int, *, bounds: bool) -> int:
        """Add an accessor of `count` split vertices that is zero but for some vertices' vectors."""
        accessor: dict[str, Any] = {"componentType": _FLOAT, "count": count, "type": "VEC3"}
        kept = len(vectors.vertices)
        index_type = _index_type(count)
        if not kept:
            key = (count, bounds)
            if key not in self._zeros:
                accessor["sparse"] = self._still(index_type)
                self._zeros[key] = self._add(accessor, np.zeros((1, 3), np.float32) if bounds else None)
            return self._zeros[key]
        accessor["sparse"] = _describe_sparse(
            kept,
            self.add_view(vectors.vertices.astype(index_type)),
            _component(index_type),
            self.add_view(vectors.vectors),
        )
        if vectors.bounds is None:
            return self._add(accessor, None)
        still = np.zeros((int(kept < count), 3), np.float32)
        return self._add(accessor, np.concatenate([vectors.bounds, still]))

    def _still(self, index_type: type[np.uint16] | type[np.uint32]) -> dict[str, Any]:
        """Return the sparse part of an accessor of zeros: the first vertex's zero, shared by all of them.

        The specification needs none, but assimp (also inside Open3D) refuses a file with an accessor that
        has neither a buffer view nor a sparse part.
        """
        component = _component(index_type)
        if component not in self._still_views:
            self._still_views[component] = (
                self.add_view(np.zeros(1, index_type)), self.add_view(np.zeros(3, np.float32)),
            )  # fmt: skip
        first, zero = self._still_views[component]
        return _describe_sparse(1, first, component, zero)

    def add_indices(self, triangles: Array, vertices: int) -> int:
        index_type = _index_type(vertices)
        accessor = {
            "bufferView": self.add_view(triangles.astype(index_type), _INDICES),
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


def _describe_sparse(count: int, indices: int, component: int, values: int) -> dict[str, Any]:
    """Return the sparse part of an accessor; VTK and f3d refuse one whose `byteOffset` is left out."""
    return {
        "count": count,
        "indices": {"bufferView": indices, "byteOffset": 0, "componentType": component},
        "values": {"bufferView": values, "byteOffset": 0},
    }


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
