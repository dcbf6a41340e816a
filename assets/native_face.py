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
from face3d.head import ARKIT_NAMES, Head, MeshPart
from face3d.messages import Array
from face3d.options import JobOptions

#: Prefix of the tensors in a geometry stage's result.
_PREFIX = "front/"
_MATERIAL = "front"
#: The tensors of `face_front.safetensors`.
_KEPT = ("coefficients", "deformation", "displacement", "placement")
_LAYOUT = {
    "coefficients": "(1, 257): identity 0:80, expression 80:144, texture 144:224, angles 224:227, "
    "light 227:254 (3 x 9 spherical harmonics), translation 254:257; bases of the Basel Face Model",
    "deformation": "(1, 64, 64, 3) offsets in UV space, unit of the model",
    "displacement": "(1, 1, 256, 256) height in UV space, unit of the model",
    "placement": "(3, 4) from the model's unturned face to the head's frame, metres",
}


def has_front(tensors: Mapping[str, Array]) -> bool:
    """Tell whether a geometry stage's result holds a front."""
    return f"{_PREFIX}positions" in tensors


def build_front(
    head: Head, tensors: Mapping[str, Array], textures: Mapping[str, bytes], options: JobOptions
) -> dict[str, bytes]:
    """Return the files of the front: the coefficients always, the mesh with format `front`.

    Args:
        head: gives the camera.
        tensors: the geometry stage's.
        textures: material to JPEG bytes; the front's is `front`.
    """
    from safetensors.numpy import save

    kept = {name: np.ascontiguousarray(tensors[f"{_PREFIX}{name}"]) for name in _KEPT}
    files = {"face_front.safetensors": save(kept, metadata={"layout": json.dumps(_LAYOUT)})}
    if "front" not in options.formats:
        return files
    front = _as_head(head, tensors)
    texture = {name: data for name, data in textures.items() if name == _MATERIAL}
    files["face_front.glb"] = write_glb(front, texture, generator=f"Face3D {__version__}")
    files["face_front.obj"] = write_obj(front, material_file="face_front.mtl")
    maps = {name: name_map(name, options.texture_format) for name in texture}
    files["face_front.mtl"] = write_mtl(front, maps)
    return files


def _as_head(head: Head, tensors: Mapping[str, Array]) -> Head:
    triangles = tensors[f"{_PREFIX}triangles"].astype(np.int32)
    quads = triangles[:, [0, 1, 2, 2]]
    positions = tensors[f"{_PREFIX}positions"].astype(np.float32)
    part = MeshPart(
        name="face_front",
        material=_MATERIAL,
        positions=positions,
        quads=quads,
        uvs=tensors[f"{_PREFIX}uvs"].astype(np.float32),
        uv_quads=quads,
        morph_deltas=np.zeros((len(ARKIT_NAMES), *positions.shape), np.float32),
    )
    return Head(
        parts=(part,),
        camera=head.camera,
        expression=np.zeros_like(head.expression),
        expression_in_base=head.expression_in_base,
    )
