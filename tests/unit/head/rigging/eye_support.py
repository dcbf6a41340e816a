"""What the tests measure on eyes: spheres, margins, what rays from the front meet, depth in the cornea."""

from functools import lru_cache

import numpy as np
import torch

from assets.preview.raster import rasterise
from face3d.head import ARKIT_NAMES, CORRECTIVE_NAMES, add_correctives
from gpu_workers.head.ops.self_intersection import intersecting_pairs
from gpu_workers.head.rigging.eye_sockets import MARGIN
from gpu_workers.head.rigging.eyeballs import EYEBALL_RADIUS, bulge
from gpu_workers.head.rigging.opening_grids import RingGrid
from tests.unit.head.head_support import head_data
from tests.unit.head.rigging.shapes_support import EYES, OwnHead, personal_shapes, with_contacts_resolved

#: Pixels and metres a side of the picture that rays make.
_PIXELS, _FIELD = 340, 0.034


@lru_cache(maxsize=8)
def unusual_head(seed: int) -> OwnHead:
    """Return a head whose identity is anything within 1.5 standard deviations, with local changes."""
    data, rng = head_data(), np.random.default_rng(1000 + seed)
    identity = rng.uniform(-1.5, 1.5, len(data.identity))
    used = rng.uniform(size=len(data.local_changes)) < 0.1
    local = np.where(used, rng.uniform(0, 0.5, len(used)), 0)
    local[data.local_change_pairs[:, 1]] = local[data.local_change_pairs[:, 0]]
    sculpted = data.positions.astype(np.float64)
    sculpted += np.tensordot(identity, data.identity.astype(np.float64), 1)
    sculpted += np.tensordot(local, data.local_changes.astype(np.float64), 1)
    return with_contacts_resolved(sculpted)


def pose(head: OwnHead, *names: str) -> np.ndarray:
    """Return a head (V, 3) with shapes at 1.0 and their correctives."""
    weights = np.array([name in names for name in ARKIT_NAMES], np.float32)
    whole = add_correctives(weights, len(CORRECTIVE_NAMES))
    return head.neutral + np.tensordot(whole, head.deltas, 1)


def grid(side: str) -> RingGrid:
    return personal_shapes().openings.eyes[side].lids.grid


def sphere(points: np.ndarray, side: str) -> tuple[np.ndarray, np.ndarray]:
    """Return an eyeball's middle (3,) and its vertices' distances from it, metres."""
    ball = points[head_data().part(EYES[side]).vertices]
    centre = 0.5 * (ball.min(0) + ball.max(0))
    return centre, np.linalg.norm(ball - centre, axis=1)


def margin_distance(points: np.ndarray, side: str) -> np.ndarray:
    """Return how far each margin column (C,) is off the sphere, metres."""
    centre, radius = sphere(points, side)
    own = grid(side)
    return np.linalg.norm(points[own.vertices[own.border + MARGIN]] - centre, axis=1) - radius.mean()


def gap_rays(points: np.ndarray, side: str, yaw_degrees: float = 0.0) -> int:
    """Return how many of 340 x 238 rays, a tenth of a millimetre apart, see behind lid or eyeball."""
    skin, eye = head_data().part("skin"), head_data().part(EYES[side])
    own, centre = grid(side), sphere(points, side)[0]
    yaw = np.radians(yaw_degrees)
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    x, y, z = ((points - centre) @ turn.T).T
    screen = np.stack([_PIXELS * (0.5 + x / _FIELD), _PIXELS * (0.5 - y / _FIELD), 0.1 - z], axis=1)
    triangles = np.concatenate([skin.triangles, eye.triangles + eye.first]).astype(np.int32)
    seen = rasterise(screen.astype(np.float32), triangles, _PIXELS, _PIXELS)
    corners = triangles[seen.triangles]
    (ax, ay), (bx, by), (cx, cy) = (screen[corners[:, k], :2].T for k in range(3))
    from_behind = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax) > 0
    socket = np.zeros(len(points), bool)
    socket[own.vertices[: own.border]] = True
    socket[: skin.count] |= head_data().masks["eye_socket"] > 0.5
    behind = (seen.triangles < len(skin.triangles)) & (from_behind | socket[corners].any(1))
    row = seen.pixels // _PIXELS
    return int((behind & (np.abs(row - _PIXELS / 2) < 0.35 * _PIXELS)).sum())


def depth_in_cornea(points: np.ndarray, neutral: np.ndarray, side: str, ahead: np.ndarray) -> float:
    """Return how deep lids lie in sphere or cornea of an eye that looks ahead (3,), metres."""
    centre, _ = sphere(neutral, side)
    own = grid(side)
    rings = points[own.vertices[own.border + MARGIN :]]
    faces = 0.25 * (rings[1:] + rings[:-1] + np.roll(rings[1:], -1, 1) + np.roll(rings[:-1], -1, 1))
    arms = np.concatenate([rings.reshape(-1, 3), faces.reshape(-1, 3)]) - centre
    distance = np.linalg.norm(arms, axis=1)
    reach = EYEBALL_RADIUS * (1 + bulge(torch.from_numpy(arms @ ahead / distance)).numpy())
    return float((reach - distance).max())


def crossed_faces(points: np.ndarray) -> int:
    """Return how many triangles of the skin pass through another one."""
    skin = head_data().part("skin")
    return len(np.unique(intersecting_pairs(points[skin.vertices], skin.triangles)))
