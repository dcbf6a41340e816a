"""Small operations on NumPy arrays that several modules of the engine share."""

import numpy as np

from face3d.messages import Array


def smoothstep_array(ramp: Array) -> Array:
    """Return 0 below 0, 1 above 1, and a smooth rise between; image.py has it for tensors."""
    clipped = np.clip(ramp, 0, 1)
    return np.asarray(clipped * clipped * (3 - 2 * clipped))
