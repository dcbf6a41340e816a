"""Heads nobody has, with their own shapes, and what the tests measure on them."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from face3d.head import ARKIT_NAMES, add_correctives
from gpu_workers.head.ops.self_intersection import intersecting_triangles
from gpu_workers.head.rigging.blendshape_transfer import PersonalShapes
from tests.unit.head.head_support import astronaut_geometry, head_data

HEADS = 12
EYES = {"Left": "eye_left", "Right": "eye_right"}


@lru_cache(maxsize=1)
def personal_shapes() -> PersonalShapes:
    return PersonalShapes(head_data(), torch.device("cpu"))


@dataclass(frozen=True)
class OwnHead:
    """A head with its contacts resolved, and its shapes, metres; sculpted is the neutral before contacts."""

    sculpted: np.ndarray
    neutral: np.ndarray
    deltas: np.ndarray

    def pose(self, **weights: float) -> np.ndarray:
        chosen = np.array([weights.get(name, 0.0) for name in ARKIT_NAMES], np.float32)
        whole = add_correctives(chosen, len(self.deltas) - len(ARKIT_NAMES))
        used = whole.nonzero()[0]
        return self.neutral + np.tensordot(whole[used], self.deltas[used], 1)

    def shape(self, name: str) -> np.ndarray:
        return self.deltas[ARKIT_NAMES.index(name)]


def with_contacts_resolved(sculpted: np.ndarray) -> OwnHead:
    seated = torch.from_numpy(sculpted.copy())
    personal_shapes().contacts.place_teeth(seated)
    neutral = seated.clone()
    personal_shapes().contacts.resolve_neutral(neutral, 1.0)
    deltas = personal_shapes().transfer(neutral)
    personal_shapes().contacts.resolve(neutral, deltas)
    return OwnHead(seated.numpy(), neutral.numpy(), deltas.numpy())


@lru_cache(maxsize=HEADS + 1)
def own_head(seed: int | None) -> OwnHead:
    """Return a random head; None gives the template."""
    data = head_data()
    sculpted = data.positions.astype(np.float64)
    if seed is not None:
        rng = np.random.default_rng(seed)
        identity = np.clip(rng.normal(size=len(data.identity)) * 0.7, -3, 3)
        used = rng.uniform(size=len(data.local_changes)) < 0.1
        local = np.where(used, rng.uniform(0, 0.5, len(used)), 0)
        local[data.local_change_pairs[:, 1]] = local[data.local_change_pairs[:, 0]]
        sculpted += np.tensordot(identity, data.identity.astype(np.float64), 1)
        sculpted += np.tensordot(local, data.local_changes.astype(np.float64), 1)
    return with_contacts_resolved(sculpted)


@lru_cache(maxsize=1)
def own_astronaut() -> OwnHead:
    """Return the head of NASA's astronaut as the geometry stage leaves it."""
    head = astronaut_geometry().head
    neutral = np.concatenate([part.positions for part in head.parts]).astype(np.float64)
    return OwnHead(neutral, neutral, np.concatenate([part.morph_deltas for part in head.parts], axis=1))


def skin_crossings(pose: np.ndarray) -> int:
    skin = head_data().part("skin")
    return len(intersecting_triangles(pose[skin.vertices], skin.triangles))


def distances(points: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Return the distance of each point (N, 3) to the nearest of triangles (M, 3, 3)."""
    a, b, c = (corners[None, :, k] for k in range(3))
    p = points[:, None]
    normal = np.cross(b - a, c - a)
    unit = normal / np.linalg.norm(normal, axis=-1, keepdims=True)
    height = ((p - a) * unit).sum(-1)
    foot = p - height[..., None] * unit
    inside = np.ones(height.shape, bool)
    nearest = np.full(height.shape, np.inf)
    for u, v in ((a, b), (b, c), (c, a)):
        inside &= (np.cross(v - u, foot - u) * normal).sum(-1) >= 0
        share = np.clip(((p - u) * (v - u)).sum(-1) / ((v - u) ** 2).sum(-1), 0, 1)
        nearest = np.minimum(nearest, np.linalg.norm(p - u - share[..., None] * (v - u), axis=-1))
    return np.where(inside, np.abs(height), nearest).min(1)


def rim_gaps(pose: np.ndarray, grid, rings: range) -> np.ndarray:
    """Return how far the upper rim lies from the lower one, along the opening (C,), the nearest of its rings.

    Args:
        rings: the rings of the upper rim that may touch, counted from the grid's border.
    """
    skin = head_data().part("skin")
    upper, lower = grid.vertices[:, grid.upper], grid.vertices[:, grid.lower]
    near = lower[grid.border + rings.start - 2 : grid.border + rings.stop + 4]
    triangles = skin.triangles[np.isin(skin.triangles, near).all(1)]
    rim = pose[upper[[grid.border + ring for ring in rings]]]
    middles = 0.5 * (rim[:, 1:] + rim[:, :-1])
    corners = pose[triangles]
    at_vertices = np.min([distances(ring, corners) for ring in rim], axis=0)
    between = np.min([distances(ring, corners) for ring in middles], axis=0)
    return np.concatenate([at_vertices, between])


def eyeball_radius(pose: np.ndarray, name: str, directions: np.ndarray) -> np.ndarray:
    """Return how far the eyeball's triangles reach along unit directions (N, 3) from its centre."""
    part = head_data().part(name)
    ball = pose[part.vertices]
    ball = ball - 0.5 * (ball.min(0) + ball.max(0))
    a, b, c = (ball[part.triangles[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    along = directions @ normal.T
    reach = (normal * a).sum(1) / np.where(np.abs(along) < 1e-15, 1e-15, along)
    hit = reach[..., None] * directions[:, None]
    inside = reach > 0
    for u, v in ((a, b), (b, c), (c, a)):
        inside &= (np.cross(v - u, hit - u) * normal).sum(-1) >= -1e-15
    return np.where(inside, reach, 0).max(1)


def depth_in_eyeball(pose: np.ndarray, side: str) -> float:
    """Return how deep the lids lie inside of the eyeball, metres; negative if they are clear of it."""
    part = head_data().part(EYES[side])
    ball = pose[part.vertices]
    centre = 0.5 * (ball.min(0) + ball.max(0))
    lids = personal_shapes().openings.eyes[side].lids
    rings = pose[lids.grid.vertices[lids.grid.border + 2 :]]
    faces = 0.25 * (rings[1:] + rings[:-1] + np.roll(rings[1:], -1, 1) + np.roll(rings[:-1], -1, 1))
    points = np.concatenate([rings.reshape(-1, 3), faces.reshape(-1, 3)]) - centre
    distance = np.linalg.norm(points, axis=1)
    return float((eyeball_radius(pose, EYES[side], points / distance[:, None]) - distance).max())
