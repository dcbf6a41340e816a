"""Parts that hang on others: corneas on eyeballs, lashes on lids. They follow whatever moved their hosts."""

import numpy as np
from numpy.typing import NDArray

from gpu_workers.engines.anny.eyeball import find_centre
from gpu_workers.engines.anny.head_data import HeadData, PartData
from gpu_workers.engines.anny.lashes import follow_lids

FloatArray = NDArray[np.float64]


def bind_parts(
    data: HeadData, neutral: FloatArray, deltas: NDArray[np.float32]
) -> tuple[FloatArray, NDArray[np.float32]]:
    """Return positions and shapes with the bound parts where their hosts take them.

    Args:
        neutral: (V, 3) metres; rows of bound parts are ignored.
        deltas: (52, V, 3) metres, likewise.
    """
    neutral, deltas = neutral.copy(), deltas.copy()
    for part in data.parts:
        if not len(part.host_vertices):
            continue
        poses = _follow(data, part, neutral, deltas)
        neutral[part.vertices] = poses[0]
        deltas[:, part.vertices] = poses[1:] - poses[0]
    return neutral, deltas


def _follow(data: HeadData, part: PartData, neutral: FloatArray, deltas: NDArray[np.float32]) -> FloatArray:
    """Return a bound part (53, V, 3), at rest and in each shape."""
    hosts = part.host_vertices
    rest = data.positions[None, hosts].astype(np.float64)
    poses = np.concatenate([rest, neutral[None, hosts], neutral[hosts] + deltas[:, hosts]])
    roots: FloatArray = np.einsum("vh,phc->pvc", part.host_weights.astype(np.float64), poses, optimize=True)
    if not len(part.host_offsets):
        return np.asarray(roots[1:])
    eye = data.part(f"eye_{part.name.rsplit('_', 1)[1]}").vertices
    middle = find_centre(neutral[eye])
    centres = np.concatenate(
        [find_centre(data.positions[eye])[None], middle[None], middle + find_centre(deltas[:, eye])]
    )
    # The pose at rest is the one that the offsets were drawn in.
    return np.asarray((roots + follow_lids(roots, centres, part.host_offsets.astype(np.float64)))[1:])
