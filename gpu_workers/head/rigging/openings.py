"""Mouth and eyes of one topology: their grids of vertices, and what keeps lips and lids in place."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from face3d.errors import ConfigurationError
from gpu_workers.head.model.head_template import PartData
from gpu_workers.head.rigging.eyelids import Lids
from gpu_workers.head.rigging.opening_grids import RingGrid, ring_grid
from gpu_workers.head.rigging.rim_contact import RimContact

FloatArray = NDArray[np.floating]

_SIDES = ("Left", "Right")
#: Rings of each grid inwards and outwards of the opening's border.
_MOUTH_RINGS = (5, 12)
_EYE_RINGS = (5, 10)
#: Rings that can touch the other lip or lid, metres between them when they do, samples that are a corner's.
_LIPS_TOUCH, _LIPS_GAP, _LIPS_CORNER = (2, 6), 0.00025, 3
_LIDS_TOUCH, _LIDS_GAP, _LIDS_CORNER = (0, 6), 0.00014, 7
#: An opening whose middle lies nearer to the middle of the face is the mouth, metres.
_MIDDLE = 0.01


@dataclass(frozen=True)
class Eyes:
    """Lids of one eye or of several; `edges` keep them apart."""

    lids: Lids
    edges: RimContact


@dataclass(frozen=True)
class Openings:
    """The openings of the skin; `eyes` by the side's suffix in ARKit's names, and both of them at once."""

    lips: RimContact
    eyes: dict[str, Eyes]
    both_eyes: Eyes


def find_openings(
    skin: PartData, positions: FloatArray, device: torch.device, *, lids_corner: int = _LIDS_CORNER
) -> Openings:
    """Return the openings of a skin.

    Args:
        positions: (S, 3) metres, the template.
        device: of all tensors.
        lids_corner: samples beside a corner of the eye where the lids' contact is not sought.
    Raises:
        ConfigurationError: the skin is not MakeHuman's.
    """
    islands = skin.uv_islands[skin.uv_quads[:, 0]]
    face = np.unique(skin.quads[islands == 0])
    grids: dict[str, RingGrid] = {}
    for island in np.unique(islands)[1:]:
        border = np.intersect1d(np.unique(skin.quads[islands == island]), face)
        x, _, z = positions[border].mean(0)
        if z < 0:
            continue  # the neck
        name = "mouth" if abs(x) < _MIDDLE else "Left" if x > 0 else "Right"
        corners = (int(border[positions[border, 0].argmin()]), int(border[positions[border, 0].argmax()]))
        inwards, outwards = _MOUTH_RINGS if name == "mouth" else _EYE_RINGS
        grids[name] = ring_grid(
            positions, skin.quads, islands == island, corners, inwards=inwards, outwards=outwards
        )
    if sorted(grids) != [*_SIDES, "mouth"]:
        raise ConfigurationError("the skin has no mouth and two eyes")

    def join_eyes(*sides: str) -> Eyes:
        chosen = [grids[side] for side in sides]
        contact = RimContact(chosen, positions, _LIDS_TOUCH, _LIDS_GAP, lids_corner, device)
        return Eyes(Lids(chosen, positions, device), contact)

    return Openings(
        lips=RimContact([grids["mouth"]], positions, _LIPS_TOUCH, _LIPS_GAP, _LIPS_CORNER, device),
        eyes={side: join_eyes(side) for side in _SIDES},
        both_eyes=join_eyes(*_SIDES),
    )
