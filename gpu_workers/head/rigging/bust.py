"""Joins the bust to a head that is made: it takes the neck's size and place, and no shape moves it.

It is no part of what the device assembles, so that heads without it cost nothing.
"""

from dataclasses import replace

import numpy as np

from face3d.head import Head, MeshPart
from gpu_workers.head.model.head_template import HeadData

#: How much of the neck's difference in size from the template's the shoulders have: they vary less.
_SIZE_SHARE = 0.6


def join_bust(head: Head, data: HeadData) -> Head:
    """Return the head with the bust in the place of the neck's cap."""
    skin = head.part("skin")
    bust = data.bust
    part, rest = bust.part, bust.positions.astype(np.float64)
    seam = skin.positions[part.host_vertices].astype(np.float64)
    template = data.positions[part.host_vertices].astype(np.float64)
    middle, own_middle = template.mean(0), seam.mean(0)
    size = np.linalg.norm(seam - own_middle) / np.linalg.norm(template - middle)
    size = 1 + _SIZE_SHARE * (size - 1)
    # The seam's own shape fades out below it.
    remaining = seam - own_middle - size * (template - middle)
    places = own_middle + size * (rest - middle) + part.host_weights.astype(np.float64) @ remaining
    places[: len(seam)] = seam
    joined = MeshPart(
        name=part.name,
        material=part.material,
        positions=places.astype(np.float32),
        quads=part.quads,
        uvs=part.uvs,
        uv_quads=part.uv_quads,
        morph_deltas=np.zeros((len(skin.morph_deltas), len(places), 3), np.float32),
        joint_weights=bust.joint_weights,
        coarse=part.coarse,
    )
    kept = tuple(one for one in head.parts if one.name != "neck_cap")
    return replace(head, parts=(*kept, joined))
