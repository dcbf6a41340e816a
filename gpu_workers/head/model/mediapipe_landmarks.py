"""The reviewed table that ties MediaPipe's 478 landmarks to points of MakeHuman's base mesh.

data/correspondence.json holds one row a landmark: three vertex indices of base.obj, three barycentric
weights, the landmark on the other side of the face, and a trust in 0..1. Made by rendering the template,
detecting the landmarks, and casting them back to the front-facing skin; reviewed by picture, depth and
symmetry.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]

TABLE = Path(__file__).parent / "data" / "correspondence.json"

LANDMARKS = 478
#: Landmarks of the skin; the ten after them are the irises (centre, then four points of the rim, right eye
#: first).
SKIN_LANDMARKS = 468
RIGHT_IRIS = tuple(range(468, 473))
LEFT_IRIS = tuple(range(473, 478))
OUTER_EYE_CORNERS = (33, 263)
INNER_EYE_CORNERS = (133, 362)
NOSE_TIP = 1

#: Closed chains of landmarks, in order; right and left are the person's.
FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
RIGHT_LIDS = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_LIDS = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
RIGHT_BROW = (70, 63, 105, 66, 107, 55, 65, 52, 53, 46)
LEFT_BROW = (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)
OUTER_LIPS = (
    61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146,
)  # fmt: skip
INNER_LIPS = (
    78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95,
)  # fmt: skip
#: Edges of the openings, the upper and the lower one, each from the person's right corner to the left one.
RIGHT_EYE_EDGES = ((RIGHT_LIDS[0], *RIGHT_LIDS[:7:-1]), RIGHT_LIDS[:9])
LEFT_EYE_EDGES = ((*LEFT_LIDS[8:], LEFT_LIDS[0]), LEFT_LIDS[8::-1])
MOUTH_EDGES = (INNER_LIPS[:11], (INNER_LIPS[0], *INNER_LIPS[:9:-1]))


@dataclass(frozen=True, kw_only=True)
class Correspondence:
    """The table as arrays."""

    #: (478, 3) vertex indices of base.obj.
    vertices: IndexArray
    #: (478, 3) barycentric weights.
    weights: FloatArray
    #: (478,) the mirror landmark, itself on the midline.
    mirror: IndexArray
    #: (478,) 0..1.
    trust: FloatArray


def load_correspondence(path: Path = TABLE) -> Correspondence:
    """Return the committed table."""
    rows = json.loads(path.read_text())["landmarks"]
    return Correspondence(
        vertices=np.array([row[0:3] for row in rows], dtype=np.int64),
        weights=np.array([row[3:6] for row in rows], dtype=np.float64),
        mirror=np.array([row[6] for row in rows], dtype=np.int64),
        trust=np.array([row[7] for row in rows], dtype=np.float64),
    )
