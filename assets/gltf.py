"""head.glb: one mesh with a primitive a material slot, or a mesh a part; 66 keys and more, a skeleton.

glTF 2.0, sections 3.6 and 3.7. Morph targets are sparse accessors: a key moves a small share of the vertices.
Every primitive has all keys, so that one set of weights drives the head; a key that leaves a primitive alone
points at shared zeros there. Primitives with a normal map have tangents (3.7.2.1): without them each reader
finds its own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from assets.gltf_buffer import Buffer
from assets.gltf_materials import MaterialWriter
from assets.keys import list_keys
from assets.materials import NORMAL
from assets.morphs import Morph
from assets.pieces import Piece, find_pieces, join_pieces
from assets.skinning import bind_matrices, describe_joints, pack_weights
from assets.slots import find_slots, name_slot
from assets.tangents import find_tangents
from face3d.head import Head
from face3d.options import PartsLayout

#: The mesh of a head that is one, and the scene.
_HEAD = "head"


def write_glb(
    head: Head,
    textures: Mapping[str, bytes],
    *,
    parts: PartsLayout = "merged",
    generator: str = "Face3D",
    copyright_text: str | None = None,
) -> bytes:
    """Return the head as binary glTF.

    Args:
        textures: material to JPEG or PNG bytes, see `MaterialWriter`.
        parts: merged: one mesh, its primitives the material slots; separate: a mesh a part.
        generator: the program and version that `asset.generator` names.
        copyright_text: what `asset.copyright` says, if anything.
    """
    buffer = Buffer()
    slots = find_slots(head)
    writer = MaterialWriter(buffer, textures)
    materials = [writer.write(slot.name, slot.material) for slot in slots]
    mapped = [slot.material + NORMAL in textures for slot in slots]
    numbers = {slot.name: number for number, slot in enumerate(slots)}
    pieces: dict[str, list[Piece]] = {}
    meshes: dict[str, list[dict[str, Any]]] = {}
    for part, piece in zip(head.parts, find_pieces(head), strict=True):
        slot = name_slot(part)
        if parts == "separate":
            primitive = _write_primitive(buffer, piece, numbers[slot], with_tangents=mapped[numbers[slot]])
            meshes[part.name] = [primitive]
        else:
            pieces.setdefault(slot, []).append(piece)
    if parts == "merged":
        meshes[_HEAD] = [
            _write_primitive(buffer, join_pieces(pieces[slot]), number, with_tangents=mapped[number])
            for slot, number in numbers.items()
        ]
    keys = list_keys(head)
    nodes: list[dict[str, Any]] = [
        {"name": name, "mesh": number, "skin": 0} for number, name in enumerate(meshes)
    ]
    joints = [len(nodes) + number for number in range(len(head.joints))]
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": generator},
        "scene": 0,
        # A skin's meshes stand where its joints put them: no node above them counts.
        "scenes": [{"name": "scene", "nodes": list(range(len(nodes) + 1))}],
        "nodes": nodes + describe_joints(head.joints, len(nodes)),
        "skins": [_describe_skin(buffer, head, joints)],
        "meshes": [
            {
                "name": name,
                "primitives": primitives,
                "weights": [0.0] * len(keys),
                "extras": {"targetNames": list(keys)},
            }
            for name, primitives in meshes.items()
        ],
        "materials": materials,
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": buffer.length}],
    }
    if copyright_text:
        document["asset"]["copyright"] = copyright_text
    writer.complete(document)
    return buffer.pack(document)


def _describe_skin(buffer: Buffer, head: Head, joints: Sequence[int]) -> dict[str, Any]:
    return {
        "name": "skeleton",
        "joints": list(joints),
        "skeleton": joints[0],
        "inverseBindMatrices": buffer.add_matrices(bind_matrices(head.joints)),
    }


def _write_primitive(buffer: Buffer, piece: Piece, material: int, *, with_tangents: bool) -> dict[str, Any]:
    targets = [_write_key(buffer, morph, len(piece.positions)) for morph in piece.morphs]
    # glTF's v runs down the picture; ours runs up.
    uvs = np.stack([piece.uvs[:, 0], 1 - piece.uvs[:, 1]], axis=1)
    joints, weights = pack_weights(piece.joint_weights)
    attributes = {
        "POSITION": buffer.add_dense(piece.positions, bounds=True),
        "NORMAL": buffer.add_dense(piece.normals),
        "TEXCOORD_0": buffer.add_dense(uvs),
        "JOINTS_0": buffer.add_whole(joints),
        "WEIGHTS_0": buffer.add_whole(weights, normalized=True),
    }
    if with_tangents:
        # Keys have none of their own: readers lay these into the plane of the normal that a key turned.
        frames = find_tangents(piece.positions, piece.normals, piece.uvs, piece.triangles)
        attributes["TANGENT"] = buffer.add_dense(frames)
    return {
        "attributes": attributes,
        "indices": buffer.add_indices(piece.triangles, len(piece.positions)),
        "material": material,
        "targets": targets,
    }


def _write_key(buffer: Buffer, morph: Morph, vertices: int) -> dict[str, int]:
    return {
        "POSITION": buffer.add_sparse(morph.moves, vertices, bounds=True),
        "NORMAL": buffer.add_sparse(morph.turns, vertices, bounds=False),
    }
