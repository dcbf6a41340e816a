"""Gaze: eyeballs turn rigidly about their centres, and lids go along as far as their weights say.

Both do what a skeleton's eye joint does by linear blend skinning with the same weights, so that an eye looks
the same whichever of them turns it; but that lids which skinning lets sink into the eyeball rise a little.
Two looks at once, each a straight move, would stretch the eyeball by a tenth: correctives make it round.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from face3d.head import ARKIT_NAMES, CORRECTIVE_NAMES, JOINT_NAMES
from gpu_workers.head.model.head_template import HeadData
from gpu_workers.head.ops.linalg import box_centre, send
from gpu_workers.head.rigging.eyeballs import bulge

FloatArray = NDArray[np.float64]

#: The eyeball of each side's suffix in ARKit's names.
EYES = {"Left": "eye_left", "Right": "eye_right"}
#: Degrees that a look at 1.0 turns the eye: chosen, within what people's eyes do
#: (bench/quality/length_references.py).
LOOK_ASIDE, LOOK_UP_DOWN = 35.0, 25.0
#: How far lids rise off the eyeball at most, shares of its radius: 0.3 mm in one look, 0.7 in two at once.
_RISE_AT_MOST = (0.025, 0.06)


def look_degrees(name: str) -> tuple[float, float]:
    """Return the turn of an eyeLook shape at 1.0, degrees about x (down is positive) and y (to the left)."""
    way, side = split_look(name)
    outwards = LOOK_ASIDE if side == "Left" else -LOOK_ASIDE
    turns = {"Up": (-LOOK_UP_DOWN, 0.0), "Down": (LOOK_UP_DOWN, 0.0), "In": (0.0, -outwards)}
    return turns.get(way, (0.0, outwards))


def look_rotation(*names: str) -> FloatArray:
    """Return the rotation (3, 3) of eyeLook shapes at 1.0: of two, about the sum of both axes.

    Eyes turn from straight ahead to any gaze about one axis in the plane across (Listing's law).
    """
    x, y = np.radians(np.sum([look_degrees(name) for name in names], axis=0))
    cross = np.array([[0, 0, y], [0, 0, -x], [-y, x, 0]])
    angle = np.hypot(x, y)
    rotation = np.eye(3) + np.sin(angle) / angle * cross + (1 - np.cos(angle)) / angle**2 * cross @ cross
    return np.asarray(rotation)


def look_shapes(side: str) -> list[int]:
    """Return the shapes, by index, that turn the eye of a side (Left, Right)."""
    return [k for k, name in enumerate(ARKIT_NAMES) if name.startswith("eyeLook") and name.endswith(side)]


@dataclass(frozen=True)
class _Eye:
    """One eye's looks: up, down, in, out and the four between, which are correctives' poses."""

    #: (N,) vertices that move, and (N, 1) their shares; and how many of them are lids, which come first.
    rows: Tensor
    shares: Tensor
    lids: int
    #: (8, 3, 3) rotation less identity, transposed; (8, 3, 1) where the eye looks.
    bends: Tensor
    ahead: Tensor
    #: (8, 1, 1) shares of the radius.
    rise_at_most: Tensor
    #: (8 N,) rows of the shapes, all vertices of one after the other's.
    targets: Tensor
    #: (4, 2) the two single looks of each between.
    singles: Tensor


class Gaze:
    """The eyeLook shapes of heads of one topology, and what two at once lack."""

    def __init__(self, data: HeadData, device: torch.device) -> None:
        self._spheres = [data.part(name).vertices for name in EYES.values()]
        self._eyes = [_make_eye(data, side, device) for side in EYES]

    def turn(self, neutral: Tensor, deltas: Tensor) -> None:
        """Turn eyeballs and lids of a head (V, 3) float64 in its shapes (52 + C, V, 3), in place.

        Nothing else moves in an eyeLook shape, but what hangs on these.
        """
        for eye, sphere in zip(self._eyes, self._spheres, strict=True):
            centre = box_centre(neutral[sphere])
            arms = neutral[eye.rows] - centre
            moves = (eye.shares * arms) @ eye.bends
            moves[:, : eye.lids] += _rise(arms[: eye.lids], moves[:, : eye.lids], eye, arms[-1].norm())
            singles, both = moves[:4], moves[4:]
            moves = torch.cat([singles, both - singles[eye.singles].sum(1)])
            deltas.view(-1, 3).index_copy_(0, eye.targets, moves.float().view(-1, 3))


def _rise(arms: Tensor, moves: Tensor, eye: _Eye, radius: Tensor) -> Tensor:
    """Return by how much lids (N, 3) about the eye's middle, moved by (8, N, 3), rise off it (8, N, 3)."""
    placed = arms + moves
    distance = placed.norm(dim=-1, keepdim=True)
    direction = placed / distance
    reach = radius * (1 + bulge(direction @ eye.ahead))
    rise = torch.minimum((reach - distance).clamp(min=0), eye.rise_at_most * radius)
    # What lies inside of the eyeball at rest hides there.
    risen: Tensor = rise * (arms.norm(dim=-1, keepdim=True) > radius) * direction
    return risen


def _make_eye(data: HeadData, side: str, device: torch.device) -> _Eye:
    sphere = data.part(EYES[side]).vertices
    column = data.joint_weights[:, JOINT_NAMES.index(EYES[side])]
    lids = np.flatnonzero(column[data.parts[0].vertices])
    rows = np.concatenate([lids, np.arange(sphere.start, sphere.stop)])
    single = [f"eyeLook{way}{side}" for way in ("Up", "Down", "In", "Out")]
    pairs = [(one, other) for one in (0, 1) for other in (2, 3)]
    poses = [(name,) for name in single] + [(single[one], single[other]) for one, other in pairs]
    rotations = np.stack([look_rotation(*pose) for pose in poses])
    names = ARKIT_NAMES + CORRECTIVE_NAMES
    shapes = np.array([names.index("__".join(pose)) for pose in poses])
    return _Eye(
        rows=send(rows, device),
        shares=send(column[rows].astype(np.float64)[:, None], device),
        lids=len(lids),
        bends=send(rotations.transpose(0, 2, 1) - np.eye(3), device),
        ahead=send(rotations[:, :, 2:], device),
        rise_at_most=send(np.repeat(_RISE_AT_MOST, 4)[:, None, None], device),
        targets=send((shapes[:, None] * len(data.positions) + rows).ravel(), device),
        singles=send(np.array(pairs), device),
    )


def split_look(name: str) -> tuple[str, str]:
    """Return way and side of an eyeLook shape."""
    side = next(side for side in EYES if name.endswith(side))
    return name.removeprefix("eyeLook").removesuffix(side), side
