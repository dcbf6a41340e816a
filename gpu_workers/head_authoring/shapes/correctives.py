"""What two of the template's shapes lack when both stand at 1.0.

A blink's correctives are found on each head, where its lids touch (contact_resolution.py): on the template
they are empty.
"""

import numpy as np
from numpy.typing import NDArray

from face3d.head import CORRECTIVE_NAMES
from gpu_workers.head_authoring.shapes.cheek_shapes import CHEEK_REACH, Table, draw_lips, mirror_field
from gpu_workers.head_authoring.shapes.muscle_fields import SkinFields

FloatArray = NDArray[np.float64]

#: An open mouth is narrower, for its corners are drawn down; one that laughs stays as wide as the smile.
_LAUGH_CORNER = (2.4, 1.4, -1.6)
_LAUGH: Table = {
    436: (1.8, 1.2, -0.8), 432: (2.0, 1.2, -0.8), 426: (0.8, 0.8, 0), 427: (1.0, 0.8, 0.6),
    422: (1.8, 0.8, -0.8), 424: (1.4, 0.6, -0.6), 434: (0.8, 0.6, 0.2), 411: (0.3, 0.3, 0.3),
    358: (0, 0, 0), 2: (0, 0, 0), 61: (0, 0, 0), 18: (0, 0, 0), 152: (0, 0, 0), 364: (0, 0, 0),
}  # fmt: skip


def make_correctives(
    shapes: FloatArray, fields: SkinFields, landmarks: FloatArray, mirror: NDArray[np.integer]
) -> FloatArray:
    """Return the correctives (C, V, 3) metres of the template, in the order of CORRECTIVE_NAMES.

    Args:
        shapes: (52, V, 3) metres; the skin's vertices come first.
        landmarks: (478, 3) metres on the template.
        mirror: (V,) the vertex on the other side.
    """
    lips = draw_lips(landmarks, _LAUGH_CORNER, curve=1.2, upper=(0.4, 0.4), lower=(0.0, 0.0))
    left = fields.spread({**_LAUGH, **lips}, CHEEK_REACH)
    made = {"jawOpen__mouthSmileLeft": left, "jawOpen__mouthSmileRight": mirror_field(left, mirror)}
    correctives = np.zeros((len(CORRECTIVE_NAMES), *shapes.shape[1:]))
    for name, field in made.items():
        correctives[CORRECTIVE_NAMES.index(name), : len(field)] = field
    return correctives
