"""The head that an engine hands to the asset writers, whatever the engine: parts, keys, joints, camera.

Frame of every position: metres, x to the person's left, y up, z out of the face (right-handed, glTF's),
origin midway between the eyeball centres.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

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

#: The 15 visemes of Oculus LipSync without `sil`, which is the neutral face: recipes of ARKit shapes.
VISEME_NAMES: tuple[str, ...] = (
    "viseme_PP", "viseme_FF", "viseme_TH", "viseme_DD", "viseme_kk", "viseme_CH", "viseme_SS", "viseme_nn",
    "viseme_RR", "viseme_aa", "viseme_E", "viseme_I", "viseme_O", "viseme_U",
)  # fmt: skip

#: `A__B` is what pose A and B at 1.0 lacks when both shapes are only added.
CORRECTIVE_NAMES: tuple[str, ...] = (
    "jawOpen__mouthSmileLeft", "jawOpen__mouthSmileRight",
    "eyeBlinkLeft__eyeSquintLeft", "eyeBlinkRight__eyeSquintRight",
    "eyeBlinkLeft__cheekSquintLeft", "eyeBlinkRight__cheekSquintRight",
    "eyeBlinkLeft__mouthSmileLeft", "eyeBlinkRight__mouthSmileRight",
    "eyeBlinkLeft__eyeLookDownLeft", "eyeBlinkRight__eyeLookDownRight",
    "eyeBlinkLeft__eyeLookUpLeft", "eyeBlinkRight__eyeLookUpRight",
    "eyeLookUpLeft__eyeLookInLeft", "eyeLookUpRight__eyeLookInRight",
    "eyeLookUpLeft__eyeLookOutLeft", "eyeLookUpRight__eyeLookOutRight",
    "eyeLookDownLeft__eyeLookInLeft", "eyeLookDownRight__eyeLookInRight",
    "eyeLookDownLeft__eyeLookOutLeft", "eyeLookDownRight__eyeLookOutRight",
)  # fmt: skip

#: The ARKit shapes, by index, whose weights' product is each corrective's weight.
CORRECTIVE_PAIRS: tuple[tuple[int, int], ...] = tuple(
    (ARKIT_NAMES.index(name.split("__")[0]), ARKIT_NAMES.index(name.split("__")[1]))
    for name in CORRECTIVE_NAMES
)

#: Joints of the skeleton, parents first; the columns of `MeshPart.joint_weights`.
JOINT_NAMES: tuple[str, ...] = ("root", "neck", "head", "jaw", "eye_left", "eye_right")


def add_correctives(weights: FloatArray, correctives: int) -> FloatArray:
    """Return the weights (52 + C,) of ARKit shapes and of the first C correctives.

    Args:
        weights: (52,) of the ARKit shapes.
    """
    products = [weights[one] * weights[other] for one, other in CORRECTIVE_PAIRS[:correctives]]
    return np.concatenate([weights, np.array(products, weights.dtype)])


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
    #: (52 + C, V, 3) metres, added to `positions`: the order of ARKIT_NAMES, then that of CORRECTIVE_NAMES,
    #: whose weights are products; C is 0 where an engine has no correctives.
    morph_deltas: FloatArray
    #: (V, 6) share of each vertex in the joints of JOINT_NAMES; rows sum to one.
    joint_weights: FloatArray
    #: For level of detail 2; a part without one has its own faces there.
    coarse: CoarseLevel | None = None


@dataclass(frozen=True, kw_only=True)
class Joint:
    """A joint of the skeleton; at rest its axes are those of the head's frame.

    Angles are degrees about x, y, z: positive about x nods, opens the jaw, looks down; about y turns to the
    person's left; about z tilts towards the person's right shoulder.
    """

    name: str
    #: Name of the joint that it hangs on; None: on nothing.
    parent: str | None
    #: (3,) metres, at rest.
    position: FloatArray
    #: The least and the most turn about x, y, z.
    limits: tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
    #: ARKit shape to the turn that it stands for at 1.0: a rotation vector (axis times angle).
    turns: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)


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
    """A reconstructed head: parts that share 52 ARKit weights and a skeleton, and the photo's camera."""

    parts: tuple[MeshPart, ...]
    #: In the order of JOINT_NAMES.
    joints: tuple[Joint, ...]
    camera: Camera
    #: (52,) ARKit weights of the photo's expression, 0..1.
    expression: FloatArray
    #: True if `positions` carry the photo's expression, False if they are neutral.
    expression_in_base: bool

    @property
    def correctives(self) -> tuple[str, ...]:
        """Names of the correctives that the parts have."""
        return CORRECTIVE_NAMES[: len(self.parts[0].morph_deltas) - len(ARKIT_NAMES)]

    @property
    def weights(self) -> FloatArray:
        """(52 + C,) the photo's expression as weights of the parts' shapes."""
        return add_correctives(self.expression, len(self.correctives))

    def part(self, name: str) -> MeshPart:
        """Return the part of that name.

        Raises:
            KeyError: there is none.
        """
        for part in self.parts:
            if part.name == name:
                return part
        raise KeyError(name)
