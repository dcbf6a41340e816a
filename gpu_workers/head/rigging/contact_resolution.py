"""Lets a head's lids, lips and teeth touch as they should, at rest and in its shapes.

Lids close on this eye and stay outside of it, lips meet and do not pass through each other; where another
shape moves the lower lid, a corrective takes the closed upper one along. Nothing that is
done for a head waits for the device or depends on what is found.
"""

import numpy as np
import torch
from torch import Tensor

from face3d.head import ARKIT_NAMES, CORRECTIVE_NAMES
from gpu_workers.head.model.head_template import HeadData
from gpu_workers.head.ops.linalg import box_centre, send
from gpu_workers.head.rigging.eye_sockets import EyeSockets
from gpu_workers.head.rigging.eyeballs import Eyeballs
from gpu_workers.head.rigging.gaze import EYES
from gpu_workers.head.rigging.openings import Openings
from gpu_workers.head.runtime.cuda_graphs import SideStreams

_JAW_OPEN, _MOUTH_CLOSE = ARKIT_NAMES.index("jawOpen"), ARKIT_NAMES.index("mouthClose")
#: Metres: the closed upper lip hides the upper incisors and what stands beside them; teeth are moved by so
#: much at most for that.
_LIP_OVER_INCISOR, _SEATED_AT_MOST = 0.0007, 0.005
#: Metres by which lips that should rest on each other gape at most and are closed: teeth gleam through a
#: slit.
_LIPS_GAPE = 0.0012
#: Metres aside of the midline: the upper middle incisors.
_INCISORS = 0.007
#: Shapes of the lids, and those that bring them together.
_OF_LIDS = ("eyeBlink", "eyeSquint", "eyeWide", "cheekSquint")
_CLOSING = ("eyeBlink", "eyeSquint", "cheekSquint")
#: Metres; a vertex that a shape moves less rests.
_RESTING = 1e-6


class ContactResolution:
    """Resolves contact at the openings of the skin, for heads of one topology.

    Mouth and eyes have no vertex in common: they are resolved side by side.

    Args:
        device: of all tensors, those of the openings too.
    """

    def __init__(self, data: HeadData, openings: Openings, device: torch.device) -> None:
        self._side_by_side = SideStreams(device)
        self._eyes, self._lips = openings.both_eyes, openings.lips
        grids = [eye.lids.grid for eye in openings.eyes.values()]
        self._eyeballs = [data.part(name).vertices for name in EYES.values()]
        self.sockets = EyeSockets(grids, self._eyeballs, data.positions, device)
        vertices = len(data.positions)
        of_lids = [
            [k for k, name in enumerate(ARKIT_NAMES) if name.startswith(_OF_LIDS) and name.endswith(side)]
            for side in EYES
        ]
        names = [ARKIT_NAMES[index].removesuffix("Left") for index in of_lids[0]]
        self._blink = names.index("eyeBlink")
        self._closing = send(np.array([k for k, n in enumerate(names) if n.startswith(_CLOSING)]), device)
        lids, mouth = self._eyes.lids.group, self._lips.group
        self._lid_points, self._lip_points = lids.vertices, mouth.vertices
        # (N, B) the points' rows in B shapes, in a list of shape after shape.
        self._lid_rows = self._rows_of(of_lids, vertices)
        corrected = [_list_blinks(side) for side in EYES]
        self._beside_blink = self._rows_of([[beside for beside, _ in one] for one in corrected], vertices)
        self._corrected = self._rows_of([[index for _, index in one] for one in corrected], vertices)
        lips = data.shapes[: len(ARKIT_NAMES), np.flatnonzero(data.masks["lips"] > 0.5)]
        moving = np.flatnonzero(np.abs(lips).max((1, 2)) > _RESTING)
        # The contacts of these two are resolved together.
        of_lips = moving[~np.isin(moving, (_JAW_OPEN, _MOUTH_CLOSE))]
        self._lip_rows = send(of_lips, device) * vertices + mouth.vertices[:, None]
        grid = self._lips.grid
        upper = grid.vertices[grid.border :, grid.upper]
        self._upper_lip = send(upper[:, upper.shape[1] // 2], device)
        self._upper_teeth = data.part("teeth_upper").vertices
        self._seated = [data.part(name).vertices for name in ("teeth_upper", "gums_upper")]
        # What the template's closed lids leave open, heads may leave open too; at the corners less of it.
        template, shapes = send(data.positions.astype(np.float64), device), send(data.shapes, device)
        closed = template[self._lid_points] + shapes.view(-1, 3)[self._lid_rows[:, self._blink]]
        self._closed = self._eyes.lids.shorten(self._eyes.lids.gaps(closed))

    def _rows_of(self, shapes: list[list[int]], vertices: int) -> Tensor:
        """Return the rows (N, B) of both eyes' points in B shapes of each, in a list of shape after shape."""
        points = self._eyes.lids.group.vertices
        each = send(np.array(shapes, np.int64), points.device).repeat_interleave(len(points) // 2, dim=0)
        return each * vertices + points[:, None]

    def place_teeth(self, neutral: Tensor) -> None:
        """Move the upper teeth and their gums of a head (V, 3) up or down to this head's lip, in place."""
        lip = neutral[self._upper_lip, 1].amin()
        teeth = neutral[self._upper_teeth]
        edge = torch.where(teeth[:, 0].abs() < _INCISORS, teeth[:, 1], torch.inf).amin()
        lift = (lip + _LIP_OVER_INCISOR - edge).clamp(-_SEATED_AT_MOST, _SEATED_AT_MOST)
        for part in self._seated:
            neutral[part, 1] += lift

    def resolve_neutral(self, neutral: Tensor, scale: Tensor | float) -> None:
        """Seat the eyes of a head (V, 3) float64 and let its lips meet, in place.

        Args:
            scale: from the head's metres to real ones.
        """
        self._side_by_side.run(
            lambda: self._close_neutral_lips(neutral), lambda: self._seat_eyes(neutral, scale)
        )

    def resolve(self, neutral: Tensor, deltas: Tensor) -> None:
        """Let lids and lips of a head (V, 3) float64 touch in its shapes (52 + C, V, 3) float32, in place."""
        rest = neutral[self._lip_points].float()
        self._side_by_side.run(
            lambda: self._shut_lips(rest, deltas),
            lambda: self._part_lips(rest, deltas),
            lambda: self._resolve_lids(neutral, deltas),
        )

    def _seat_eyes(self, neutral: Tensor, scale: Tensor | float) -> None:
        self.sockets.seat(neutral, scale)

    def _close_neutral_lips(self, neutral: Tensor) -> None:
        lips = neutral[self._lip_points]
        lips[:, 1] += self._lips.meet(lips[:, None], lips, _LIPS_GAPE)[:, 0]
        neutral.index_copy_(0, self._lip_points, lips)

    def _resolve_lids(self, neutral: Tensor, deltas: Tensor) -> None:
        moves, lids = deltas.view(-1, 3), self._eyes.lids
        eyeballs = self._find_eyeballs(neutral)
        rest = neutral[self._lid_points]
        poses = lids.clear(rest[:, None] + moves[self._lid_rows], eyeballs)
        blink = lids.close(poses[:, self._blink], self._closed)
        cleared = lids.clear(blink[:, None], eyeballs)[:, 0]
        poses[:, self._blink] = lids.close(cleared, self._closed)
        closing = poses[:, self._closing]
        closing[..., 1] += self._eyes.edges.part(closing, rest)
        poses.index_copy_(1, self._closing, closing)
        poses = self.sockets.tuck(poses, eyeballs)
        moves.index_put_((self._lid_rows,), (poses - rest[:, None]).float())
        corrected = lids.keep_closed(moves[self._beside_blink].double())
        moves.index_put_((self._corrected,), corrected.float())

    def _part_lips(self, rest: Tensor, deltas: Tensor) -> None:
        moves = deltas.view(-1, 3)
        of_lips = moves[self._lip_rows]
        of_lips[..., 1] += self._lips.part(rest[:, None] + of_lips, rest)
        moves.index_put_((self._lip_rows,), of_lips)

    def _shut_lips(self, rest: Tensor, deltas: Tensor) -> None:
        opened = rest + deltas[_JAW_OPEN, self._lip_points]
        shut = deltas[_MOUTH_CLOSE, self._lip_points]
        shut[:, 1] += self._lips.shut((opened + shut)[:, None], rest)[:, 0]
        deltas[_MOUTH_CLOSE].index_copy_(0, self._lip_points, shut)

    def _find_eyeballs(self, neutral: Tensor) -> Eyeballs:
        spheres = torch.stack([neutral[rows] for rows in self._eyeballs])
        centre = box_centre(spheres)
        return Eyeballs(centre, (spheres[0, 0] - centre[0]).norm())


def _list_blinks(side: str) -> list[tuple[int, int]]:
    """Return the shapes that move a lid while the eye blinks, and the corrective of each."""
    start = f"eyeBlink{side}__"
    return [
        (ARKIT_NAMES.index(name.removeprefix(start)), len(ARKIT_NAMES) + number)
        for number, name in enumerate(CORRECTIVE_NAMES)
        if name.startswith(start)
    ]
