"""The seam: the open loop in which the neck ends."""

import numpy as np

from assets.manifest import SeamEntry
from assets.mesh import find_rim
from face3d.head import Head
from face3d.options import LevelOfDetail

#: Parts that close the neck.
_CLOSINGS = ("neck_cap", "bust")
#: Metres: a loop that leaves its plane by less is planar.
_FLAT = 1e-4


def describe_seam(head: Head, level: LevelOfDetail) -> SeamEntry | None:
    """Return the manifest's entry of a head (the cage), None for one whose neck has no open loop.

    Args:
        level: of detail, at which vertices are counted.
    """
    closing = next((part.name for part in head.parts if part.name in _CLOSINGS), None)
    if closing is None:
        return None
    skin = head.part("skin")
    loop = find_rim(skin.quads)
    points = skin.positions[loop].astype(np.float64)
    middle = points.mean(0)
    normal = np.linalg.svd(points - middle)[2][2]
    kept = find_rim(skin.coarse.quads) if level == 2 and skin.coarse is not None else loop
    # A subdivided edge has one vertex more.
    return SeamEntry(
        part=skin.name,
        vertices=2 * len(loop) if level == 0 else len(kept),
        planar=bool(np.abs((points - middle) @ normal).max() < _FLAT),
        closed_by=closing,
    )
