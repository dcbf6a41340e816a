"""The keys of an asset's meshes: 52 ARKit shapes, 14 visemes, and the correctives that the head has."""

import numpy as np

from face3d.head import ARKIT_NAMES, CORRECTIVE_PAIRS, VISEME_NAMES, FloatArray, Head, MeshPart
from face3d.visemes import viseme_matrix

_ARKIT, _VISEMES = len(ARKIT_NAMES), len(VISEME_NAMES)


def list_keys(head: Head) -> tuple[str, ...]:
    """Return the names of the keys, in the order of every file."""
    return ARKIT_NAMES + VISEME_NAMES + head.correctives


def list_formulas(head: Head) -> dict[str, tuple[str, str]]:
    """Return corrective to the two keys whose weights' product is its weight."""
    pairs = zip(head.correctives, CORRECTIVE_PAIRS, strict=False)
    return {name: (ARKIT_NAMES[one], ARKIT_NAMES[other]) for name, (one, other) in pairs}


def find_deltas(part: MeshPart) -> FloatArray:
    """Return (V, 66 + C, 3) metres: what each key adds to a part's vertices, in the order of `list_keys`."""
    shapes = part.morph_deltas.transpose(1, 0, 2)
    vertices, count, _ = shapes.shape
    deltas = np.empty((vertices, count + _VISEMES, 3), np.float32)
    deltas[:, :_ARKIT] = shapes[:, :_ARKIT]
    deltas[:, _ARKIT + _VISEMES :] = shapes[:, _ARKIT:]
    matrix = viseme_matrix()
    used = np.flatnonzero(matrix.any(axis=0))
    of_mouth = shapes[:, used]
    visemes = deltas[:, _ARKIT : _ARKIT + _VISEMES]
    visemes[:] = 0
    # Most of a head never speaks.
    rows = np.flatnonzero(of_mouth.reshape(vertices, -1).any(axis=1))
    visemes[rows] = np.tensordot(matrix[:, used], of_mouth[rows], axes=(1, 1)).transpose(1, 0, 2)
    return deltas
