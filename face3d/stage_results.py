"""What the stages of an engine hand on: the photo as measured, the fitted head, the baked maps.

Everything that a later stage needs is in here, so that stages may run on different machines; how the first
two travel between them is the matter of face3d/artifact_format.py alone. An engine that has more to hand on
than others derives a class of its own (engine hrn: `HrnPhoto`).

Pixels are those of `PreprocessedPhoto.photo`; the centre of its first pixel is (0.5, 0.5). Metres are in the
frame of face3d/head.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from face3d.head import FloatArray, Head, IndexArray
from face3d.observed import Observed

#: Measurements, scores and versions that JSON can hold; an engine's methods say which.
Facts = Mapping[str, Any]
ByteArray = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class DensePoints:
    """K points of the face as the face network predicts them."""

    #: (K, 3) float32 pixels, z in the same unit away from the camera.
    points: FloatArray
    #: (K, 2) float32 pixels: standard deviation in the picture and in depth; infinite: without weight.
    deviation: FloatArray
    #: (3 K, R) float32: how the errors of all coordinates move together, in R common factors.
    loadings: FloatArray


@dataclass(frozen=True, kw_only=True)
class PreprocessedPhoto:
    """A photo, upright and cropped, with what was measured on it."""

    #: (H, W, 3) uint8 sRGB, the longest side at most `options.input_size`.
    photo: ByteArray
    #: (N, 2 or 3) float32 pixels; engines of the parametric head: (478, 3), z away from the camera.
    landmarks: FloatArray
    #: (52,) float32 expression scores, 0..1, in the order of ARKIT_NAMES; 0 for parts that are hidden.
    scores: FloatArray
    #: (3,) float64 pixels: assumed focal length and principal point (x, y).
    camera: NDArray[np.float64]
    observed: Observed = field(default_factory=Observed)
    #: None where the face network was not asked or not believed.
    network: DensePoints | None = None
    #: A second, turned photo of the same person; its facts are among this one's.
    view: "PreprocessedPhoto | None" = None
    facts: Facts = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class FittedFront:
    """The face in an engine's own model, as the model knows it."""

    #: (1, 257) identity 80, expression 64, texture 80, angles 3, light 27, translation 3.
    coefficients: FloatArray
    #: (1, 64, 64, 3) the mid frequencies' offsets in UV space, unit of the model.
    deformation: FloatArray
    #: (1, 1, 256, 256) the high frequencies' height in UV space, unit of the model.
    displacement: FloatArray
    #: (1, 3, 256, 256) RGB, 0..1, in UV space.
    albedo: FloatArray
    #: (35709, 3) camera's side towards the viewer: x right, y up, z out of the face; unit of the model.
    vertices: FloatArray
    #: (35709, 3) the same face without expression, unturned, about the model's origin; unit of the model.
    neutral: FloatArray


@dataclass(frozen=True, kw_only=True)
class NativeFace:
    """The face in an engine's own topology, laid onto the head."""

    #: (V, 3) float32 metres.
    positions: FloatArray
    #: (F, 3) vertex indices.
    triangles: IndexArray
    #: (V, 2) float32 in 0..1, v up.
    uvs: FloatArray
    #: (3, 4) from the model's unturned face to the head's frame, metres.
    placement: FloatArray
    #: What the model made it from.
    fit: FittedFront


@dataclass(frozen=True, kw_only=True)
class FittedHead:
    """The head that was fitted to a photo."""

    #: With the expression that `options.expression` asks for in its positions.
    head: Head
    #: Of engines with a topology of their own.
    native_face: NativeFace | None = None
    facts: Facts = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SurfaceImages:
    """The skin's maps besides its colour, S a side; row 0 lies at v = 1."""

    #: (S, S, 3) uint8, tangent space, +Y up.
    normal: ByteArray
    #: (S, S) uint8, 0..1 in 255 steps, linear.
    roughness: ByteArray
    #: (S, S) uint8, 255 where nothing is in the way of ambient light.
    occlusion: ByteArray
    #: (S, S) uint16; the middle is no displacement, the ends are the fact `displacement_range_m`.
    displacement: NDArray[np.uint16]


@dataclass(frozen=True, kw_only=True)
class BakedMaps:
    """The maps of a head: albedo by material, sRGB, row 0 at v = 1.

    They leave their stage encoded, as files.
    """

    #: (S, S, 3) uint8; S is `options.texture_size`.
    skin: ByteArray
    #: (S', S', 3) uint8, as the following; None where the engine's head has no such material.
    eyes: ByteArray | None = None
    mouth: ByteArray | None = None
    #: Where the head has a bust.
    bust: ByteArray | None = None
    #: (S', S', 4) uint8, the fourth channel coverage.
    lashes: ByteArray | None = None
    #: (S, S, 3) uint8, of `FittedHead.native_face`.
    front: ByteArray | None = None
    #: The skin's further maps, with format `maps` and of engines that make them.
    surface: SurfaceImages | None = None
    facts: Facts = field(default_factory=dict)

    def albedos(self) -> dict[str, ByteArray]:
        """Return material to map, of those that there are."""
        found = {
            "skin": self.skin,
            "eyes": self.eyes,
            "mouth": self.mouth,
            "bust": self.bust,
            "lashes": self.lashes,
            "front": self.front,
        }
        return {material: image for material, image in found.items() if image is not None}
