"""The head that an engine hands to the asset writers, whatever the engine.

Frame of every position: metres, x to the person's left, y up, z out of the face (right-handed, glTF's),
origin midway between the eyeball centres.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from face3d.messages import Array

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


_PART_ARRAYS = ("positions", "quads", "uvs", "uv_quads")
_COARSE_ARRAYS = ("vertices", "uvs", "quads", "uv_quads")


def head_to_tensors(head: Head) -> dict[str, Array]:
    """Return the arrays of a head under names that `head_from_tensors` reads back.

    Of the shapes only what moves is kept, row (shape x vertices + vertex) and vector: a third of the whole.
    """
    tensors: dict[str, Array] = {
        "head/expression": head.expression,
        "head/expression_in_base": np.array([head.expression_in_base], np.uint8),
        "head/camera/intrinsics": np.array(
            [*head.camera.focal, *head.camera.centre, head.camera.width, head.camera.height], np.float64
        ),
        "head/camera/rotation": head.camera.rotation,
        "head/camera/translation": head.camera.translation,
    }
    for index, part in enumerate(head.parts):
        label = f"head/part/{index:02d}/{part.name}/{part.material}"
        for name in _PART_ARRAYS:
            tensors[f"{label}/{name}"] = getattr(part, name)
        if part.coarse is not None:
            for name in _COARSE_ARRAYS:
                tensors[f"{label}/coarse_{name}"] = getattr(part.coarse, name)
        moves = part.morph_deltas.reshape(-1, 3)
        # `any` along an axis of three takes seven times as long.
        x, y, z = (moves != 0).T
        rows = np.flatnonzero(x | y | z).astype(np.int32)
        tensors[f"{label}/morph_rows"], tensors[f"{label}/morph_moves"] = rows, moves.take(rows, axis=0)
    return tensors


def _spread_moves(rows: Array, moves: Array, vertices: int) -> FloatArray:
    """Return (52, V, 3) deltas from what `head_to_tensors` kept; a vertex's lie side by side in memory."""
    shapes, vertex = np.divmod(rows, vertices)
    deltas = np.zeros((vertices * len(ARKIT_NAMES), 3), np.float32)
    deltas[vertex * len(ARKIT_NAMES) + shapes] = moves
    return deltas.reshape(vertices, len(ARKIT_NAMES), 3).transpose(1, 0, 2)


def _read_coarse(tensors: Mapping[str, Array], label: str) -> CoarseLevel | None:
    if f"{label}/coarse_quads" not in tensors:
        return None
    return CoarseLevel(**{name: tensors[f"{label}/coarse_{name}"] for name in _COARSE_ARRAYS})


def head_from_tensors(tensors: Mapping[str, Array]) -> Head:
    """Return the head among the tensors of a stage result.

    Raises:
        KeyError: an array is missing.
    """
    labels = sorted({name.rsplit("/", 1)[0] for name in tensors if name.startswith("head/part/")})
    parts = tuple(
        MeshPart(
            name=label.split("/")[3],
            material=label.split("/")[4],
            **{name: tensors[f"{label}/{name}"] for name in _PART_ARRAYS},
            morph_deltas=_spread_moves(
                tensors[f"{label}/morph_rows"],
                tensors[f"{label}/morph_moves"],
                len(tensors[f"{label}/positions"]),
            ),
            coarse=_read_coarse(tensors, label),
        )
        for label in labels
    )
    fx, fy, cx, cy, width, height = (float(x) for x in tensors["head/camera/intrinsics"])
    camera = Camera(
        focal=(fx, fy),
        centre=(cx, cy),
        rotation=tensors["head/camera/rotation"],
        translation=tensors["head/camera/translation"],
        width=int(width),
        height=int(height),
    )
    return Head(
        parts=parts,
        camera=camera,
        expression=tensors["head/expression"],
        expression_in_base=bool(tensors["head/expression_in_base"][0]),
    )
