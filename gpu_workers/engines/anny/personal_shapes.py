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
from numpy.typing import NDArray

from face3d.head import ARKIT_NAMES
from gpu_workers.engines.anny.head_data import HeadData
from gpu_workers.engines.anny.lattice import Lattice
from gpu_workers.engines.anny.lids import fit_eyeball
from gpu_workers.engines.anny.openings import find_openings

FloatArray = NDArray[np.floating]
IndexArray = NDArray[np.int64]

_JAW_OPEN, _MOUTH_CLOSE = ARKIT_NAMES.index("jawOpen"), ARKIT_NAMES.index("mouthClose")
_TONGUE_OUT = ARKIT_NAMES.index("tongueOut")
#: Metres by which the tongue's tip passes the lips; its breadth and height there, of those at rest.
_TONGUE_PAST_LIPS = 0.009
_TONGUE_TIP = (0.55, 0.72)
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
    """Makes the shapes of heads of one topology; constant, built once from the head data (a second)."""

    def __init__(self, data: HeadData) -> None:
        self.data = data
        skin = data.parts[0]
        self._skin = skin.vertices
        template = data.positions.astype(np.float64)
        rest = template[self._skin]
        self.openings = find_openings(skin, rest)
        shapes = data.shapes.astype(np.float64)
        self._template = data.positions
        self._jaw = _jaw_turn(template[data.part("teeth_lower").vertices], data, shapes)
        skin_shapes = shapes[:, self._skin]
        self._jaw_shares = _jaw_shares(rest, skin_shapes, self._jaw)
        from_axis = np.linalg.norm((rest - self._jaw.centre)[:, 1:], axis=1)
        self._joint_skin = (from_axis < _JOINT_REACH) & (np.abs(rest[:, 0]) > _JOINT_ASIDE)
        carried = np.array([name not in (*_SLIDES, "jawOpen", "mouthClose") for name in ARKIT_NAMES])
        moved = (np.abs(skin_shapes).max(2) > _RESTING) & carried[:, None]
        self._shape, self._vertex = np.nonzero(moved)
        moving = np.unique(self._vertex)
        self._rest_row = np.searchsorted(moving, self._vertex)
        self._moving = len(moving)
        ends = rest[self._vertex] + skin_shapes[self._shape, self._vertex]
        self._lattice = Lattice(rest, np.concatenate([rest[moving], ends]))
        self._gazes = {
            index: _gaze(name, template, shapes[index], data)
            for index, name in enumerate(ARKIT_NAMES)
            if name.startswith("eyeLook")
        }
        self._of_lids = {
            side: [
                index
                for index, name in enumerate(ARKIT_NAMES)
                if name.startswith(("eye", "cheekSquint")) and name.endswith(side)
            ]
            for side in _EYES
        }
        lips = data.masks["lips"] > 0.5
        self._of_lips = [
            index
            for index, shape in enumerate(skin_shapes)
            if index not in (_JAW_OPEN, _MOUTH_CLOSE) and np.abs(shape[lips]).max() > _RESTING
        ]
        # What the template's closed lids leave open, heads may leave open too; at the corners less of it.
        self._closed = {
            side: eye.lids.shorten(eye.lids.gaps(rest + skin_shapes[self._blink(side)]))
            for side, eye in self.openings.eyes.items()
        }

    def seat_teeth(self, neutral: FloatArray) -> None:
        """Move the upper teeth and their gums of a head (V, 3) up or down to this head's lip, in place."""
        lips = self.openings.lips.grid
        upper = lips.vertices[lips.border :, lips.upper]
        lip = neutral[self._skin][upper[:, upper.shape[1] // 2], 1].min()
        teeth = neutral[self.data.part("teeth_upper").vertices]
        edge = teeth[np.abs(teeth[:, 0]) < _INCISORS, 1].min()
        lift = np.clip(lip + _LIP_OVER_INCISOR - edge, -_SEATED_AT_MOST, _SEATED_AT_MOST)
        for name in ("teeth_upper", "gums_upper"):
            neutral[self.data.part(name).vertices, 1] += lift

    def settle_neutral(self, neutral: FloatArray) -> None:
        """Free the eyeballs of a head (V, 3) from its lids and part its lips, in place."""
        skin = neutral[None, self._skin]
        for side, eye in self.openings.eyes.items():
            eye.lids.clear(skin, fit_eyeball(neutral[self.data.part(_EYES[side]).vertices]))
        self.openings.lips.part(skin, skin[0].copy())

    def carry(self, neutral: FloatArray) -> FloatArray:
        """Return the shapes (52, V, 3) float32 of a head (V, 3), metres, before anything touches."""
        change = (neutral - self._template).astype(np.float32)
        deltas = self.data.shapes.copy()
        skin = deltas[:, self._skin]
        spread = self._lattice.displacements(change[self._skin])
        carried = spread[self._moving :] - spread[self._rest_row]
        skin[self._shape, self._vertex] += carried
        self._open_jaw(change, deltas)
        self._put_out_tongue(neutral, deltas)
        for index, (part, gaze) in self._gazes.items():
            ball = neutral[part]
            centre = 0.5 * (ball.min(0) + ball.max(0))
            deltas[index, part] = (ball - centre) @ (gaze - np.eye(3)).T
        return deltas

    def settle(self, neutral: FloatArray, deltas: FloatArray) -> None:
        """Let lids and lips of a head (V, 3) touch in its shapes (52, V, 3), in place."""
        rest = neutral[self._skin].astype(np.float32)
        skin = deltas[:, self._skin]
        for side, eye in self.openings.eyes.items():
            eyeball = fit_eyeball(neutral[self.data.part(_EYES[side]).vertices])
            rows = self._of_lids[side]
            poses = rest + skin[rows]
            eye.lids.clear(poses, eyeball)
            closed = rows.index(self._blink(side))
            eye.lids.close(poses[closed], self._closed[side])
            eye.lids.clear(poses[closed : closed + 1], eyeball)
            eye.lids.close(poses[closed], self._closed[side])
            closing = [index for index, row in enumerate(rows) if ARKIT_NAMES[row].startswith(_CLOSING)]
            part = poses[closing]
            eye.edges.part(part, rest)
            poses[closing] = part
            skin[rows] = poses - rest
        poses = rest + skin[self._of_lips]
        self.openings.lips.part(poses, rest)
        skin[self._of_lips] = poses - rest
        opened = rest + skin[_JAW_OPEN]
        shut = opened + skin[_MOUTH_CLOSE]
        self.openings.lips.shut(shut, rest)
        skin[_MOUTH_CLOSE] = shut - opened

    def _open_jaw(self, change: FloatArray, deltas: FloatArray) -> None:
        """Turn what moves with the jaw about this head's joint."""
        joint = change[self._skin][self._joint_skin].mean(0)
        bend = (self._jaw.rotation - np.eye(3)).astype(np.float32)
        turned = (change[self._skin] - joint) @ bend.T
        for index, share in self._jaw_shares.items():
            deltas[index, self._skin] += share[:, None] * turned
        opened = deltas[_JAW_OPEN]
        for part in self.data.parts:
            if part.name in _JAW_PARTS:
                neutral = (self._template + change)[part.vertices]
                opened[part.vertices] = (neutral - joint - self._jaw.centre) @ bend.T
            elif part.name != "skin":
                opened[part.vertices] = 0

    def _put_out_tongue(self, neutral: FloatArray, deltas: FloatArray) -> None:
        """Stretch the tongue's way so far that its pointed tip passes this head's lips, and part these."""
        part = self.data.part("tongue").vertices
        tongue, way = neutral[part], deltas[_TONGUE_OUT, part]
        tip = way[:, 2].argmax()
        lips = neutral[self._skin][self.data.masks["lips"] > 0.5, 2].max()
        way *= (lips + _TONGUE_PAST_LIPS - tongue[tip, 2]) / way[tip, 2]
        reached = tongue + way
        ahead = np.clip(way[:, 2] / way[:, 2].max(), 0, 1) ** 2
        for axis, share in zip((0, 1), _TONGUE_TIP, strict=True):
            middle = np.average(reached[:, axis], weights=ahead + 1e-9)
            way[:, axis] += (share - 1) * ahead * (reached[:, axis] - middle)
        for name, share in _TONGUE_PARTS_LIPS.items():
            for side in _EYES:
                deltas[_TONGUE_OUT, self._skin] += share * deltas[ARKIT_NAMES.index(name + side), self._skin]

    @staticmethod
    def _blink(side: str) -> int:
        return ARKIT_NAMES.index(f"eyeBlink{side}")


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


def _gaze(name: str, template: FloatArray, shape: FloatArray, data: HeadData) -> tuple[slice, FloatArray]:
    """Return the eyeball's rows and the rotation (3, 3) that takes its iris as far as the shape does."""
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
    return part, rotation
