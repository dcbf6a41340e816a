"""What moves inside a head's own shapes: the jaw about this head's joint, the tongue.

Nothing that is done for a head waits for the device or depends on what is found.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from face3d.head import ARKIT_NAMES
from gpu_workers.head.model.head_template import HeadData
from gpu_workers.head.ops.linalg import send
from gpu_workers.head.rigging.opening_grids import RingGrid

FloatArray = NDArray[np.floating]

_JAW_OPEN, _MOUTH_CLOSE = ARKIT_NAMES.index("jawOpen"), ARKIT_NAMES.index("mouthClose")
_TONGUE_OUT = ARKIT_NAMES.index("tongueOut")
#: Metres by which the tongue's tip passes the lower lip.
_TONGUE_PAST_LIP = 0.0220
#: Metres beside the midline of the tongue's underside that lies on the lip, and by how much a head may ask it
#: to rise.
_TONGUE_MIDDLE, _TONGUE_RISE = 0.004, 0.006
#: Rings of the lower lip, from its inner border, over which the tongue passes.
_LIP_TOP = 8
#: Parts that open with the jaw, whichever of them the head has.
JAW_PARTS = ("teeth_lower", "gums_lower", "tongue")
#: Metres around the jaw's axis, and metres aside, of the skin that tells where the joint is on a head.
_JOINT_REACH, _JOINT_ASIDE = 0.02, 0.05


@dataclass(frozen=True)
class Turn:
    """A rotation (3, 3) about a point (3,) metres."""

    rotation: FloatArray
    centre: FloatArray


class Jaw:
    """What turns with the jaw: skin by its share, teeth and tongue rigidly."""

    def __init__(self, data: HeadData, device: torch.device) -> None:
        template, shapes = data.positions.astype(np.float64), data.shapes.astype(np.float64)
        self._skin = data.parts[0].vertices
        rest = template[self._skin]
        teeth = data.part("teeth_lower").vertices
        jaw = find_jaw_turn(template[teeth], template[teeth] + shapes[_JAW_OPEN, teeth])
        self._centre, self._bend = send(jaw.centre, device), send(jaw.rotation.T - np.eye(3), device)
        opened = shapes[_JAW_OPEN, teeth]
        self._tongue_opens = float((shapes[_TONGUE_OUT, teeth] * opened).sum() / (opened**2).sum())
        shares = find_jaw_shares(rest, shapes[:, self._skin], jaw)
        shares[_TONGUE_OUT] = self._tongue_opens * shares[_JAW_OPEN]
        self._shares = {shape: send(share, device)[:, None] for shape, share in shares.items()}
        self._inside = slice(self._skin.stop, len(template))
        with_jaw = np.zeros((len(template), 1))
        for part in data.parts:
            with_jaw[part.vertices] = part.name in JAW_PARTS
        self._with_jaw = send(with_jaw[self._inside], device)
        self._tongue = data.part("tongue").vertices
        self._joint = send(find_jaw_joint(rest, jaw), device)

    def open(self, neutral: Tensor, change: Tensor, deltas: Tensor) -> None:
        """Turn what moves with the jaw about this head's joint, in its shapes (52 + C, V, 3), in place.

        Args:
            neutral: (V, 3) float64 metres; `change` is what it differs by from the template.
        """
        skin = change[self._skin]
        joint = skin[self._joint].mean(0)
        turned = ((skin - joint) @ self._bend).float()
        for shape, share in self._shares.items():
            deltas[shape, self._skin] += share * turned
        inside = neutral[self._inside] - joint - self._centre
        opened = (self._with_jaw * (inside @ self._bend)).float()
        deltas[_JAW_OPEN, self._inside] = opened
        # The tongue has its own way.
        tongue = deltas[_TONGUE_OUT, self._tongue].clone()
        deltas[_TONGUE_OUT, self._inside] = self._tongue_opens * opened
        deltas[_TONGUE_OUT, self._tongue] = tongue


class Tongue:
    """The tongue's way out between this head's lips.

    Args:
        lips: the mouth's grid.
    """

    def __init__(self, data: HeadData, lips: RingGrid, device: torch.device) -> None:
        self._part = data.part("tongue").vertices
        middle = lips.lower[len(lips.lower) // 2]
        self._lip = send(lips.vertices[lips.border : lips.border + _LIP_TOP + 1, middle], device)
        template, way = data.positions[self._part].astype(np.float64), data.shapes[_TONGUE_OUT, self._part]
        out = template + way
        lip = data.positions[lips.vertices[:, middle]] + data.shapes[_TONGUE_OUT, lips.vertices[:, middle]]
        lip = lip[lips.border : lips.border + _LIP_TOP + 1]
        self._tip = int(out[:, 2].argmax())
        below = np.abs(template[:, 0]) < _TONGUE_MIDDLE
        over_lip = np.where(below, np.abs(out[:, 2] - lip[lip[:, 1].argmax(), 2]) + 2 * out[:, 1], np.inf)
        self._over_lip = int(over_lip.argmin())
        self._clearance = float(out[self._over_lip, 1] - lip[:, 1].max())
        ahead = (way[:, 2:] / way[:, 2].max()).clip(0, 1) ** 2
        self._ahead = send(ahead.astype(np.float64), device)

    def put_out(self, neutral: Tensor, deltas: Tensor) -> None:
        """Stretch the tongue's way so far that its tip passes the lower lip, and lift it over that, in place.

        Args:
            neutral: (V, 3) float64 metres; `deltas` (52 + C, V, 3) its shapes.
        """
        tongue, way = neutral[self._part], deltas[_TONGUE_OUT, self._part].double()
        lip = neutral[self._lip] + deltas[_TONGUE_OUT, self._lip]
        reach = lip[:, 2].amax() + _TONGUE_PAST_LIP - tongue[self._tip, 2]
        way = way * (reach / way[self._tip, 2])
        above = tongue[self._over_lip, 1] + way[self._over_lip, 1] - lip[:, 1].amax()
        rise = (self._clearance - above).clamp(-_TONGUE_RISE, _TONGUE_RISE)
        way[:, 1:2] += rise * self._ahead
        deltas[_TONGUE_OUT, self._part] = way.float()


def _rigid(before: FloatArray, after: FloatArray) -> FloatArray:
    """Return the rotation (3, 3) that best takes points (N, 3) to others: Kabsch, 1976."""
    u, _, vt = np.linalg.svd((before - before.mean(0)).T @ (after - after.mean(0)))
    flip = np.diag([1, 1, np.linalg.det(u @ vt)])
    return np.asarray((u @ flip @ vt).T)


def find_jaw_turn(teeth: FloatArray, opened: FloatArray) -> Turn:
    """Return the template's opening of the jaw from its lower teeth, shut and open (N, 3): turn and axis."""
    rotation = _rigid(teeth, opened)
    # Turning about x, the axis' y and z are where the motion vanishes.
    shift = opened.mean(0) - rotation @ teeth.mean(0)
    centre = np.zeros(3)
    centre[1:] = np.linalg.solve(np.eye(2) - rotation[1:, 1:], shift[1:])
    return Turn(rotation, centre)


def find_jaw_joint(rest: FloatArray, jaw: Turn) -> NDArray[np.int64]:
    """Return the vertices of the skin (S, 3) that tell where the joint is on a head."""
    from_axis = np.linalg.norm((rest - jaw.centre)[:, 1:], axis=1)
    return np.flatnonzero((from_axis < _JOINT_REACH) & (np.abs(rest[:, 0]) > _JOINT_ASIDE))


def find_jaw_shares(rest: FloatArray, shapes: FloatArray, jaw: Turn) -> dict[int, FloatArray]:
    """Return how far each skin vertex (S,) turns with the jaw: in jawOpen, and what mouthClose takes back."""
    whole = (rest - jaw.centre) @ (jaw.rotation - np.eye(3)).T
    size = np.maximum((whole**2).sum(1), 1e-12)
    opened = np.clip((shapes[_JAW_OPEN] * whole).sum(1) / size, 0, 1)
    shut = np.clip(((shapes[_JAW_OPEN] + shapes[_MOUTH_CLOSE]) * whole).sum(1) / size, 0, 1)
    return {_JAW_OPEN: opened.astype(np.float32), _MOUTH_CLOSE: (shut - opened).astype(np.float32)}
