"""The head that an engine hands to the asset writers, whatever the engine.

Frame of every position: metres, x to the person's left, y up, z out of the face (right-handed, glTF's),
origin midway between the eyeball centres.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IndexArray = NDArray[np.int32]

#: The 52 ARKit shape names, in Apple's alphabetical order.
ARKIT_NAMES: tuple[str, ...] = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight",
    "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft",
    "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight",
    "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight",
    "mouthFunnel", "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft",
    "mouthPressRight", "mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper",
    "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft",
    "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CoarseLevel:
    """A part with about a quarter of its faces, whose vertices and uvs are some of the part's own."""

    #: (V2,) the part's vertex that each coarse vertex is.
    vertices: IndexArray
    #: (T2,) the part's uv that each coarse uv is.
    uvs: IndexArray
    #: (F2, 4) indices into `vertices`; a triangle repeats its last index.
    quads: IndexArray
    #: (F2, 4) indices into `uvs`, parallel to `quads`.
    uv_quads: IndexArray


@dataclass(frozen=True, kw_only=True)
class MeshPart:
    """One named mesh of the head: skin, eye_left, eye_right, tongue, teeth_upper, ..."""

    name: str
    #: Name of the material; parts that share one share its textures.
    material: str
    #: (V, 3) metres.
    positions: FloatArray
    #: (F, 4) vertex indices, anticlockwise seen from outside; a triangle repeats its last index.
    quads: IndexArray
    #: (T, 2) in 0..1, v up (OBJ's convention).
    uvs: FloatArray
    #: (F, 4) indices into `uvs`, parallel to `quads`.
    uv_quads: IndexArray
    #: (52, V, 3) metres, in the order of ARKIT_NAMES, added to `positions`.
    morph_deltas: FloatArray
    #: For level of detail 2; a part without one has its own faces there.
    coarse: CoarseLevel | None = None


@dataclass(frozen=True, kw_only=True)
class Camera:
    """The pinhole camera of the preprocessed photo.

    A point X of the head's frame projects to pixel (fx x/z + cx, fy y/z + cy) with (x, y, z) = R X + t; the
    camera looks along +z with x right and y down; the centre of the top-left pixel is (0.5, 0.5).
    """

    #: Pixels.
    focal: tuple[float, float]
    #: Pixels.
    centre: tuple[float, float]
    #: (3, 3), from the head's frame to the camera's.
    rotation: FloatArray
    #: (3,) metres.
    translation: FloatArray
    #: Pixels.
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class Head:
    """A reconstructed head: parts that share one set of 52 ARKit weights, and the photo's camera."""

    parts: tuple[MeshPart, ...]
    camera: Camera
    #: (52,) ARKit weights of the photo's expression, 0..1.
    expression: FloatArray
    #: True if `positions` carry the photo's expression, False if they are neutral.
    expression_in_base: bool

    def part(self, name: str) -> MeshPart:
        """Return the part of that name.

        Raises:
            KeyError: there is none.
        """
        for part in self.parts:
            if part.name == name:
                return part
        raise KeyError(name)
