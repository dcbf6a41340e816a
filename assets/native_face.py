"""face_front.*: the face that an engine's own model made, in that model's topology and UVs.

And, apart, what made it: whoever has the model changes the expression from these numbers alone.
"""

import json
from collections.abc import Mapping

import numpy as np

from assets.gltf import write_glb
from assets.materials import name_map
from assets.obj import write_mtl, write_obj
from face3d import __version__
from face3d.head import ARKIT_NAMES, JOINT_NAMES, Head, MeshPart
from face3d.options import JobOptions
from face3d.stage_results import NativeFace

_MATERIAL = "front"
#: The front is of one piece: it goes with the head's joint.
_WITH_HEAD = np.array([name == "head" for name in JOINT_NAMES], np.float32)
#: What `face_front.safetensors` holds.
_LAYOUT = {
    "coefficients": "(1, 257): identity 0:80, expression 80:144, texture 144:224, angles 224:227, "
    "light 227:254 (3 x 9 spherical harmonics), translation 254:257; bases of the Basel Face Model",
    "deformation": "(1, 64, 64, 3) offsets in UV space, unit of the model",
    "displacement": "(1, 1, 256, 256) height in UV space, unit of the model",
    "placement": "(3, 4) from the model's unturned face to the head's frame, metres",
}


def build_front(
    head: Head, face: NativeFace, textures: Mapping[str, bytes], options: JobOptions
) -> dict[str, bytes]:
    """Return the files of the front: the coefficients always, the mesh with format `front`.

    Args:
        head: gives the camera.
        textures: material to JPEG bytes; the front's is `front`.
    """
    from safetensors.numpy import save

    kept = {
        "coefficients": face.fit.coefficients,
        "deformation": face.fit.deformation,
        "displacement": face.fit.displacement,
        "placement": face.placement,
    }
    kept = {name: np.ascontiguousarray(array) for name, array in kept.items()}
    files = {"face_front.safetensors": save(kept, metadata={"layout": json.dumps(_LAYOUT)})}
    if "front" not in options.formats:
        return files
    front = _as_head(head, face)
    texture = {name: data for name, data in textures.items() if name == _MATERIAL}
    files["face_front.glb"] = write_glb(front, texture, parts="separate", generator=f"Face3D {__version__}")
    files["face_front.obj"] = write_obj(front, parts="separate", material_file="face_front.mtl")
    maps = {name: name_map(name, options.texture_format) for name in texture}
    files["face_front.mtl"] = write_mtl(front, maps)
    return files


def _as_head(head: Head, face: NativeFace) -> Head:
    triangles = face.triangles.astype(np.int32)
    quads = triangles[:, [0, 1, 2, 2]]
    positions = face.positions.astype(np.float32)
    part = MeshPart(
        name="face_front",
        material=_MATERIAL,
        positions=positions,
        quads=quads,
        uvs=face.uvs.astype(np.float32),
        uv_quads=quads,
        morph_deltas=np.zeros((len(ARKIT_NAMES), *positions.shape), np.float32),
        joint_weights=np.tile(_WITH_HEAD, (len(positions), 1)),
    )
    return Head(
        parts=(part,),
        joints=head.joints,
        camera=head.camera,
        expression=np.zeros_like(head.expression),
        expression_in_base=head.expression_in_base,
    )
