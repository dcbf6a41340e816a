"""The 52 shapes of one head: the template's mended shapes, carried to this face and settled on it.

1. Skin: each vertex goes where the space around the face (lattice.py) takes the place to which the
   template's shape moves it, so that movements grow with the features they move.
2. Jaw: what opens with the jaw turns with it, by the template's angle about this head's joint; teeth and
   tongue rigidly.
3. Gaze: an eyeball turns rigidly about its own centre, as far as the template's iris travels.
4. Contact: lids close on this eye and stay outside of it, lips meet and do not pass through each other.

`mouthClose` is ARKit's corrective: it closes the lips of an open jaw, and is settled on one.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from face3d.head import ARKIT_NAMES
from gpu_workers.engines.anny.bound_parts import BoundParts
from gpu_workers.engines.anny.head_data import HeadData
from gpu_workers.engines.anny.lattice import Lattice
from gpu_workers.engines.anny.lids import Eyeballs, fit_eyeballs
from gpu_workers.engines.anny.openings import find_openings
from gpu_workers.engines.anny.tensor_math import box_centre

FloatArray = NDArray[np.floating]
IndexArray = NDArray[np.int64]

_JAW_OPEN, _MOUTH_CLOSE = ARKIT_NAMES.index("jawOpen"), ARKIT_NAMES.index("mouthClose")
_TONGUE_OUT = ARKIT_NAMES.index("tongueOut")
#: Metres by which the tongue's tip passes the lips; its breadth, height and length there, of those at rest.
_TONGUE_PAST_LIPS = 0.009
_TONGUE_TIP = (0.55, 0.72, 1.0)
#: What parts the lips for the tongue, and by how much of their own shapes.
_TONGUE_PARTS_LIPS = {"mouthLowerDown": 0.75, "mouthUpperUp": 0.30}
#: Metres: the closed upper lip just hides the upper incisors; teeth are moved by so much at most for that.
_LIP_OVER_INCISOR, _SEATED_AT_MOST = 0.0002, 0.005
#: Metres aside of the midline: the upper middle incisors.
_INCISORS = 0.007
#: The jaw slides without turning in these; what it carries slides alike.
_SLIDES = ("jawForward", "jawLeft", "jawRight")
#: Parts that open with the jaw, whichever of them the head has.
_JAW_PARTS = ("teeth_lower", "gums_lower", "tongue")
_EYES = {"Left": "eye_left", "Right": "eye_right"}
#: Shapes that bring the lids together.
_CLOSING = ("eyeBlink", "eyeSquint", "eyeLookDown", "cheekSquint")
#: Metres around the jaw's axis, and metres aside, of the skin that tells where the joint is on a head.
_JOINT_REACH, _JOINT_ASIDE = 0.02, 0.05
#: Metres; a vertex that a shape moves less rests.
_RESTING = 1e-6


@dataclass(frozen=True)
class _Turn:
    """A rotation (3, 3) about a point (3,) metres."""

    rotation: FloatArray
    centre: FloatArray


class PersonalShapes:
    """Makes the shapes of heads of one topology; constant, built once from the head data (a second).

    Nothing that makes a head waits for the device or depends on what is found, so that a CUDA graph can hold
    it.

    Args:
        device: of all tensors.
    """

    def __init__(self, data: HeadData, device: torch.device) -> None:
        self.data = data
        self.device = device
        skin = data.parts[0]
        self._skin = skin.vertices
        template = data.positions.astype(np.float64)
        rest = template[self._skin]
        self.openings = find_openings(skin, rest, device)
        self.bound_parts = BoundParts(data, device)
        shapes = data.shapes.astype(np.float64)
        skin_shapes = shapes[:, self._skin]

        def send(array: NDArray[np.generic]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        self._template, self._shapes = send(template), send(data.shapes)
        jaw = _jaw_turn(template[data.part("teeth_lower").vertices], data, shapes)
        self._jaw_centre, self._jaw_bend = send(jaw.centre), send(jaw.rotation.T - np.eye(3))
        self._jaw_shares = {
            k: send(share)[:, None] for k, share in _jaw_shares(rest, skin_shapes, jaw).items()
        }
        with_jaw = np.zeros((len(template), 1))
        for name in _JAW_PARTS:
            if name in (part.name for part in data.parts):
                with_jaw[data.part(name).vertices] = 1
        self._inside = slice(skin.count, len(template))
        self._with_jaw = send(with_jaw[self._inside])
        from_axis = np.linalg.norm((rest - jaw.centre)[:, 1:], axis=1)
        self._joint_skin = send(
            np.flatnonzero((from_axis < _JOINT_REACH) & (np.abs(rest[:, 0]) > _JOINT_ASIDE))
        )
        carried = np.array([name not in (*_SLIDES, "jawOpen", "mouthClose") for name in ARKIT_NAMES])
        moved = (np.abs(skin_shapes).max(2) > _RESTING) & carried[:, None]
        shape, vertex = np.nonzero(moved)
        moving = np.unique(vertex)
        self._carried_rows = send(shape * len(template) + vertex)
        self._rest_rows, self._moving = send(np.searchsorted(moving, vertex)), len(moving)
        ends = rest[vertex] + skin_shapes[shape, vertex]
        self._lattice = Lattice(rest, np.concatenate([rest[moving], ends]), device)
        self._eyes = [data.part(name).vertices for name in _EYES.values()]
        eyes = [np.arange(rows.start, rows.stop) for rows in self._eyes]
        gazes = [
            [
                (k, _gaze(name, template, shapes[k], data))
                for k, name in enumerate(ARKIT_NAMES)
                if name.startswith("eyeLook") and name.endswith(side)
            ]
            for side in _EYES
        ]
        self._gaze_bends = send(np.array([[turn.T - np.eye(3) for _, turn in eye] for eye in gazes]))
        self._gaze_rows = send(
            np.array(
                [[k * len(template) + rows for k, _ in eye] for eye, rows in zip(gazes, eyes, strict=True)]
            )
        ).view(-1)
        of_lids = [
            [
                index
                for index, name in enumerate(ARKIT_NAMES)
                if name.startswith(("eye", "cheekSquint")) and name.endswith(side)
            ]
            for side in _EYES
        ]
        names = [ARKIT_NAMES[index].removesuffix("Left") for index in of_lids[0]]
        self._blink = names.index("eyeBlink")
        self._closing = send(np.array([k for k, name in enumerate(names) if name.startswith(_CLOSING)]))
        lids, mouth = self.openings.both_eyes.lids.group, self.openings.lips.group
        self._lid_points, self._lip_points = lids.vertices, mouth.vertices
        # (N, B) rows of points in shapes, in a list of shape after shape.
        per_point = send(np.array(of_lids)).repeat_interleave(len(lids.vertices) // len(of_lids), dim=0)
        self._lid_rows = per_point * len(template) + lids.vertices[:, None]
        lips = data.masks["lips"] > 0.5
        of_lips = [
            index
            for index, moves in enumerate(skin_shapes)
            if index not in (_JAW_OPEN, _MOUTH_CLOSE) and np.abs(moves[lips]).max() > _RESTING
        ]
        self._lip_rows = send(np.array(of_lips)) * len(template) + mouth.vertices[:, None]
        self._lips = send(np.flatnonzero(lips))
        grid = self.openings.lips.grid
        upper = grid.vertices[grid.border :, grid.upper]
        self._upper_lip = send(upper[:, upper.shape[1] // 2])
        self._upper_teeth = data.part("teeth_upper").vertices
        self._seated = [data.part(name).vertices for name in ("teeth_upper", "gums_upper")]
        self._tongue = data.part("tongue").vertices
        self._tongue_tip = torch.tensor(_TONGUE_TIP, dtype=torch.float64, device=device)
        parting = [ARKIT_NAMES.index(name + side) for name in _TONGUE_PARTS_LIPS for side in _EYES]
        self._parting = send(np.array(parting))
        self._parting_shares = torch.tensor(
            [share for share in _TONGUE_PARTS_LIPS.values() for _ in _EYES], device=device
        )
        # What the template's closed lids leave open, heads may leave open too; at the corners less of it.
        closed = self._template[lids.vertices] + self._shapes.view(-1, 3)[self._lid_rows[:, self._blink]]
        eyelids = self.openings.both_eyes.lids
        self._closed = eyelids.shorten(eyelids.gaps(closed))

    def seat_teeth(self, neutral: Tensor) -> None:
        """Move the upper teeth and their gums of a head (V, 3) up or down to this head's lip, in place."""
        lip = neutral[self._upper_lip, 1].amin()
        teeth = neutral[self._upper_teeth]
        edge = torch.where(teeth[:, 0].abs() < _INCISORS, teeth[:, 1], torch.inf).amin()
        lift = (lip + _LIP_OVER_INCISOR - edge).clamp(-_SEATED_AT_MOST, _SEATED_AT_MOST)
        for part in self._seated:
            neutral[part, 1] += lift

    def settle_neutral(self, neutral: Tensor) -> None:
        """Free the eyeballs of a head (V, 3) float64 from its lids and part its lips, in place."""
        points = neutral[self._lid_points][:, None]
        cleared = self.openings.both_eyes.lids.clear(points, self._fit_eyeballs(neutral))
        neutral.index_copy_(0, self._lid_points, cleared[:, 0])
        lips = neutral[self._lip_points]
        lips[:, 1] += self.openings.lips.part(lips[:, None], lips)[:, 0]
        neutral.index_copy_(0, self._lip_points, lips)

    def carry(self, neutral: Tensor) -> Tensor:
        """Return the shapes (52, V, 3) float32 of a head (V, 3) float64, metres, before anything touches."""
        change = neutral - self._template
        deltas = self._shapes.clone()
        flat = deltas.view(-1, 3)
        spread = self._lattice.displacements(change[self._skin].float())
        flat.index_add_(0, self._carried_rows, spread[self._moving :] - spread[self._rest_rows])
        self._open_jaw(neutral, change, deltas)
        self._put_out_tongue(neutral, deltas)
        eyes = self._eyeballs(neutral)
        arms = eyes - box_centre(eyes)[:, None]
        flat.index_copy_(0, self._gaze_rows, (arms[:, None] @ self._gaze_bends).float().view(-1, 3))
        return deltas

    def settle(self, neutral: Tensor, deltas: Tensor) -> None:
        """Let lids and lips of a head (V, 3) float64 touch in its shapes (52, V, 3) float32, in place."""
        flat = deltas.view(-1, 3)
        eyes, lids = self.openings.both_eyes, self.openings.both_eyes.lids
        eyeballs = self._fit_eyeballs(neutral)
        rest = neutral[self._lid_points]
        poses = lids.clear(rest[:, None] + flat[self._lid_rows], eyeballs)
        blink = lids.close(poses[:, self._blink], self._closed)
        blink = lids.close(lids.clear(blink[:, None], eyeballs)[:, 0], self._closed)
        poses[:, self._blink] = blink
        closing = poses[:, self._closing]
        closing[..., 1] += eyes.edges.part(closing, rest)
        poses.index_copy_(1, self._closing, closing)
        flat.index_put_((self._lid_rows,), (poses - rest[:, None]).float())

        lips = self.openings.lips
        rest = neutral[self._lip_points].float()
        moves = flat[self._lip_rows]
        moves[..., 1] += lips.part(rest[:, None] + moves, rest)
        flat.index_put_((self._lip_rows,), moves)
        shut = deltas[_MOUTH_CLOSE, self._lip_points]
        opened = rest + deltas[_JAW_OPEN, self._lip_points]
        shut[:, 1] += lips.shut((opened + shut)[:, None], rest)[:, 0]
        deltas[_MOUTH_CLOSE].index_copy_(0, self._lip_points, shut)

    def _eyeballs(self, neutral: Tensor) -> Tensor:
        """Return the eyeballs' vertices (2, E, 3)."""
        return torch.stack([neutral[rows] for rows in self._eyes])

    def _fit_eyeballs(self, neutral: Tensor) -> Eyeballs:
        return fit_eyeballs(self._eyeballs(neutral))

    def _open_jaw(self, neutral: Tensor, change: Tensor, deltas: Tensor) -> None:
        """Turn what moves with the jaw about this head's joint."""
        skin = change[self._skin]
        joint = skin[self._joint_skin].mean(0)
        turned = ((skin - joint) @ self._jaw_bend).float()
        for index, share in self._jaw_shares.items():
            deltas[index, self._skin] += share * turned
        inside = neutral[self._inside] - joint - self._jaw_centre
        deltas[_JAW_OPEN, self._inside] = (self._with_jaw * (inside @ self._jaw_bend)).float()

    def _put_out_tongue(self, neutral: Tensor, deltas: Tensor) -> None:
        """Stretch the tongue's way so far that its pointed tip passes this head's lips, and part these."""
        tongue, way = neutral[self._tongue], deltas[_TONGUE_OUT, self._tongue].double()
        tip = way[:, 2].argmax(keepdim=True)
        lips = neutral[self._lips, 2].amax()
        way = way * (lips + _TONGUE_PAST_LIPS - tongue[tip, 2]) / way[tip, 2]
        reached = tongue + way
        ahead = (way[:, 2:] / way[:, 2].amax()).clamp(0, 1) ** 2
        weight = ahead + 1e-9
        middle = (weight * reached).sum(0) / weight.sum()
        deltas[_TONGUE_OUT, self._tongue] = (
            way + (self._tongue_tip - 1) * ahead * (reached - middle)
        ).float()
        parting = self._parting_shares[:, None, None] * deltas[self._parting, self._skin]
        deltas[_TONGUE_OUT, self._skin] += parting.sum(0)


def _rigid(before: FloatArray, after: FloatArray) -> FloatArray:
    """Return the rotation (3, 3) that best takes points (N, 3) to others: Kabsch, 1976."""
    u, _, vt = np.linalg.svd((before - before.mean(0)).T @ (after - after.mean(0)))
    flip = np.diag([1, 1, np.linalg.det(u @ vt)])
    return np.asarray((u @ flip @ vt).T)


def _jaw_turn(teeth: FloatArray, data: HeadData, shapes: FloatArray) -> _Turn:
    """Return the template's opening of the jaw: the lower teeth's rotation and a point of its axis."""
    after = teeth + shapes[_JAW_OPEN, data.part("teeth_lower").vertices]
    rotation = _rigid(teeth, after)
    # Turning about x, the axis' y and z are where the motion vanishes.
    shift = after.mean(0) - rotation @ teeth.mean(0)
    centre = np.zeros(3)
    centre[1:] = np.linalg.solve(np.eye(2) - rotation[1:, 1:], shift[1:])
    return _Turn(rotation, centre)


def _jaw_shares(rest: FloatArray, shapes: FloatArray, jaw: _Turn) -> dict[int, FloatArray]:
    """Return how far each skin vertex (S,) turns with the jaw: in jawOpen, and what mouthClose takes back."""
    whole = (rest - jaw.centre) @ (jaw.rotation - np.eye(3)).T
    size = np.maximum((whole**2).sum(1), 1e-12)
    opened = np.clip((shapes[_JAW_OPEN] * whole).sum(1) / size, 0, 1)
    shut = np.clip(((shapes[_JAW_OPEN] + shapes[_MOUTH_CLOSE]) * whole).sum(1) / size, 0, 1)
    return {_JAW_OPEN: opened.astype(np.float32), _MOUTH_CLOSE: (shut - opened).astype(np.float32)}


def _gaze(name: str, template: FloatArray, shape: FloatArray, data: HeadData) -> FloatArray:
    """Return the rotation (3, 3) that takes the eyeball's iris as far as the shape does."""
    part = data.part(_EYES["Left" if name.endswith("Left") else "Right"]).vertices
    ball = template[part]
    centre = 0.5 * (ball.min(0) + ball.max(0))
    front = np.argsort(-ball[:, 2])[:8]
    ahead = (ball[front] - centre).mean(0)
    travel = shape[part][front].mean(0)
    axis = np.cross(ahead, travel)
    angle = np.linalg.norm(travel) / np.linalg.norm(ahead)
    axis *= angle / np.linalg.norm(axis)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    rotation = np.eye(3) + np.sin(angle) / angle * cross + (1 - np.cos(angle)) / angle**2 * cross @ cross
    return np.asarray(rotation)
