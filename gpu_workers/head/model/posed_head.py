"""A head as its photo shows it: the vertices that a camera sees, and that camera."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from face3d.head import ARKIT_NAMES, Camera, Head, MeshPart
from gpu_workers.head.model.head_template import PartData

Part = TypeVar("Part", MeshPart, PartData)

#: What a smile's strength on a side is summed from.
_SMILE_SHARES = (
    ("mouthSmile", 1.0),
    ("mouthUpperUp", 0.3),
    ("cheekSquint", 0.3),
    ("mouthDimple", 0.3),
)
#: A face at rest is fitted with up to the first, and has no folds but its own. At the second all are there.
_SMILE_BEGINS, _SMILE_FULL = 0.3, 0.75


class PosedHead(Protocol):
    """A head as its photo shows it; the head itself may be on its way from the device yet."""

    @property
    def posed(self) -> Tensor:
        """(V, 3) float32 metres, on any device: `stack_vertices` of the head."""

    @property
    def camera(self) -> Camera:
        """The photo's camera."""

    @property
    def smile(self) -> tuple[float, float]:
        """Left and right, 0..1: `measure_smile` of the head."""

    @property
    def head(self) -> Head:
        """The head."""


class HostHead:
    """A head that is there."""

    def __init__(self, head: Head) -> None:
        self.head, self.camera = head, head.camera
        self.posed = torch.from_numpy(stack_vertices(head))
        self.smile = measure_smile(head.expression, head.expression_in_base)


def pack_camera(camera: Camera) -> NDArray[np.float32]:
    """Return a camera as (18,): focal lengths, centre, width, height, rotation by rows, translation."""
    numbers = [*camera.focal, *camera.centre, camera.width, camera.height]
    return np.concatenate([numbers, camera.rotation.ravel(), camera.translation]).astype(np.float32)


def measure_smile(expression: NDArray[np.float32], expression_in_base: bool) -> tuple[float, float]:
    """Return how far the smile of an expression (52,) is left out of the head's base shape, left and right.

    0 where none is, 1 where all of its folds are.
    """
    if expression_in_base:
        return 0.0, 0.0
    left, right = (
        sum(share * float(expression[ARKIT_NAMES.index(name + side)]) for name, share in _SMILE_SHARES)
        for side in ("Left", "Right")
    )
    return _ramp_smile(left), _ramp_smile(right)


def _ramp_smile(strength: float) -> float:
    return min(max((strength - _SMILE_BEGINS) / (_SMILE_FULL - _SMILE_BEGINS), 0.0), 1.0)


def find_occluders(parts: Sequence[Part]) -> list[Part]:
    """Return the parts that the bake sees, of a head's or of its topology's: skin, then eyes."""
    skin = [part for part in parts if part.name == "skin"]
    return skin + [part for part in parts if part.material == "eyes"]


def stack_vertices(head: Head) -> NDArray[np.float32]:
    """Return (V, 3) metres: the vertices of skin, then eyes, with the photo's expression.

    They are the vertices of `SkinAtlas.occluders`.
    """
    return np.concatenate([_pose(part, head) for part in find_occluders(head.parts)])


def _pose(part: MeshPart, head: Head) -> NDArray[np.float32]:
    weights = head.weights
    used = weights.nonzero()[0]
    if head.expression_in_base or not len(used):
        return part.positions
    moves = np.tensordot(weights[used], part.morph_deltas[used], 1)
    return np.asarray(part.positions + moves, np.float32)
