"""Repairs the CC0 shapes once, on the template, before heads get their own.

1. Left and right become each other's mirror images: the CC0 smiles differ by half a millimetre. Jaw, lips and
   tongue are made anew (mouth_shapes.py).
2. The blink stops where the upper lid meets the lower one: the CC0 lid overshoots by 4 mm.
3. Lids leave the eyeball; lips and lids that pass through each other part. Where eyes look, lids go along.
4. With the jaw open, mouthClose brings the lips together along their whole length.
5. Where the skin still passes through itself, a shape is held back to the common motion of its
   surroundings, just as far as needed.
"""

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from face3d.head import ARKIT_NAMES
from gpu_workers.head.model.head_template import PartData
from gpu_workers.head.ops.linalg import box_centre
from gpu_workers.head.ops.self_intersection import intersecting_triangles
from gpu_workers.head.rigging.eye_sockets import EyeSockets
from gpu_workers.head.rigging.eyeballs import EYEBALL_RADIUS, Eyeballs
from gpu_workers.head.rigging.gaze import EYES, look_rotation, look_shapes
from gpu_workers.head.rigging.openings import Eyes, Openings, find_openings
from gpu_workers.head.rigging.rim_contact import RimContact
from gpu_workers.head_authoring.shapes.lid_weights import lid_weights
from gpu_workers.head_authoring.shapes.mouth_shapes import author_mouth

FloatArray = NDArray[np.float64]

#: Metres around a vertex whose mean motion is the common one: finer at the eyes, where lids must meet.
_SURROUNDINGS, _LID_SURROUNDINGS = 0.003, 0.001
#: Share by which a shape is held back a step, and how many steps are tried.
_HOLD_STEP, _HOLD_STEPS = 0.05, 60
#: Shapes in which lids touch; in an eyeLook they go with the eyeball.
_OF_LIDS = ("eyeBlink", "eyeSquint", "eyeWide", "cheekSquint")
#: Samples beside a corner of the eye without contact: the template's corners are open enough to be parted.
_LIDS_CORNER = 3
#: A lid column may have to go further than the CC0 lid goes, but not much.
_LONGEST_BLINK = 1.2


def repair_shapes(
    parts: tuple[PartData, ...], positions: FloatArray, actions: FloatArray, mirror: NDArray[np.integer]
) -> FloatArray:
    """Return the repaired shapes (52, V, 3) of the template.

    Args:
        positions: (V, 3) metres, the template.
        actions: (52, V, 3) metres, the CC0 shapes.
        mirror: (V,) the vertex on the other side.
    """
    skin = parts[0]
    rest = positions[skin.vertices]
    openings = find_openings(skin, rest, torch.device("cpu"), lids_corner=_LIDS_CORNER)
    rows = {part.name: part.vertices for part in parts}
    eyeballs = {
        side: Eyeballs(
            box_centre(torch.from_numpy(positions[None, rows[name]])), torch.tensor(EYEBALL_RADIUS)
        )
        for side, name in EYES.items()
    }
    repaired = symmetric_shapes(author_mouth(parts, positions, symmetric_shapes(actions, mirror)), mirror)
    shapes = repaired[:, skin.vertices]
    surroundings, near_lids = _averaging(rest, _SURROUNDINGS), _averaging(rest, _LID_SURROUNDINGS)
    for name, shape in zip(ARKIT_NAMES, shapes, strict=True):
        opened = shapes[ARKIT_NAMES.index("jawOpen")] if name == "mouthClose" else np.zeros_like(shape)
        pose = rest + opened + shape
        for side, eye in openings.eyes.items():
            if name == f"eyeBlink{side}":
                pose = rest + _stop_blink(rest, shape, eye)
            if not name.startswith(_OF_LIDS) or not name.endswith(side):
                continue
            _resolve_lids(pose, rest, eye, eyeballs[side], closed=name.startswith("eyeBlink"))
        if name == "mouthClose":
            _raise_points(pose, rest, openings.lips, openings.lips.shut)
        _raise_points(pose, rest, openings.lips, openings.lips.part)
        around = near_lids if name.startswith("eye") else surroundings
        shape[:] = _hold_back(rest + opened, pose - rest - opened, skin, around)
    _turn_eyes(repaired, parts, positions, openings)
    # Triangles are no mirror images of each other: what was held back may differ a little.
    return symmetric_shapes(repaired, mirror)


def _turn_eyes(
    shapes: FloatArray, parts: tuple[PartData, ...], positions: FloatArray, openings: Openings
) -> None:
    """Write the eyeLook shapes (V, 3) of the template, in place: eyeballs turn, lids go along."""
    rows = {part.name: part.vertices for part in parts}
    seated = positions.copy()
    sockets = EyeSockets(
        [eye.lids.grid for eye in openings.eyes.values()],
        [rows[name] for name in EYES.values()],
        positions,
        torch.device("cpu"),
    )
    centres = sockets.seat(torch.from_numpy(seated), 1.0).centre.numpy()
    shares = lid_weights(parts[0], positions[parts[0].vertices])
    for (side, eye), centre, share in zip(EYES.items(), centres, shares.T, strict=True):
        with_eye = np.zeros(len(positions))
        with_eye[parts[0].vertices] = share
        for name in (eye, eye.replace("eye", "cornea")):
            with_eye[rows[name]] = 1
        arms = with_eye[:, None] * (seated - centre)
        for k in look_shapes(side):
            shapes[k] = arms @ (look_rotation(ARKIT_NAMES[k]).T - np.eye(3))
            for part in parts:
                if part.host_offsets.size:
                    shapes[k, part.vertices] = part.host_weights @ shapes[k][part.host_vertices]


def symmetric_shapes(shapes: FloatArray, mirror: NDArray[np.integer]) -> FloatArray:
    """Return shapes (52, V, 3) of which each pair, left and right, is its mean with its mirror image."""
    swap = {"Left": "Right", "Right": "Left"}
    partners = []
    for name in ARKIT_NAMES:
        side = next((side for side in swap if name.endswith(side)), "")
        partners.append(ARKIT_NAMES.index(name.removesuffix(side) + swap[side] if side else name))
    return np.asarray(0.5 * (shapes + shapes[partners][:, mirror] * [-1, 1, 1]))


def _resolve_lids(pose: FloatArray, rest: FloatArray, eye: Eyes, eyeball: Eyeballs, *, closed: bool) -> None:
    lids, vertices = eye.lids, eye.lids.group.vertices.numpy()
    points = lids.clear(torch.from_numpy(pose[vertices])[:, None], eyeball)
    if closed:
        points = lids.clear(lids.close(points[:, 0])[:, None], eyeball)
    pose[vertices] = points[:, 0].numpy()
    _raise_points(pose, rest, eye.edges, eye.edges.part)


def _raise_points(
    pose: FloatArray, rest: FloatArray, contact: RimContact, find_rise: Callable[[Tensor, Tensor], Tensor]
) -> None:
    """Raise the points of a contact's grid in one pose (S, 3), in place."""
    vertices = contact.group.vertices.numpy()
    points, at_rest = torch.from_numpy(pose[vertices]), torch.from_numpy(rest[vertices])
    pose[vertices, 1] += find_rise(points[:, None], at_rest)[:, 0].numpy()


def _stop_blink(rest: FloatArray, blink: FloatArray, eye: Eyes) -> FloatArray:
    """Return the blink with each column of the upper lid stopped where it meets the lower lid."""
    lids, grid = eye.lids, eye.lids.grid
    upper, lower = grid.vertices[:, grid.upper], grid.vertices[:, grid.lower]
    posed = rest.copy()
    posed[lower] += blink[lower]
    posed[upper[:, 1:-1]] = rest[upper[:, 1:-1]]
    gaps = lids.gaps(torch.from_numpy(posed[lids.group.vertices.numpy()])).numpy()
    way, drop = gaps[0, -1, :, 1], blink[lids.lashes, 1]
    share = np.clip(way / np.where(np.abs(drop) < 1e-4, -1e-4, drop), 0, _LONGEST_BLINK)
    share[[0, -1]] = share[[1, -2]]
    for _ in range(2):
        share[1:-1] = 0.25 * share[:-2] + 0.5 * share[1:-1] + 0.25 * share[2:]
    above, below = upper[:, 1:-1], lower[:, 1:-1]
    known = np.concatenate([above.ravel(), below.ravel()])
    shares = np.concatenate([np.broadcast_to(share[1:-1], above.shape).ravel(), np.ones(below.size)])
    distance, nearest = cKDTree(rest[known]).query(rest, k=8)
    weight = 1 / (distance + 2e-4) ** 2
    everywhere = (shares[nearest] * weight).sum(1) / weight.sum(1)
    everywhere[known] = shares
    return np.asarray(everywhere[:, None] * blink)


def _averaging(positions: FloatArray, reach: float) -> sp.csr_matrix:
    """Return the matrix (S, S) that takes the Gaussian mean over each vertex' surroundings."""
    around = cKDTree(positions).query_ball_point(positions, 2.5 * reach)
    rows = np.repeat(np.arange(len(positions)), [len(near) for near in around])
    columns = np.concatenate([np.array(near) for near in around])
    square = ((positions[rows] - positions[columns]) ** 2).sum(1)
    weights = sp.csr_matrix((np.exp(-0.5 * square / reach**2), (rows, columns)), (len(positions),) * 2)
    return (sp.diags(1 / np.asarray(weights.sum(1)).ravel()) @ weights).tocsr()


def _hold_back(
    rest: FloatArray, shape: FloatArray, skin: PartData, surroundings: sp.csr_matrix
) -> FloatArray:
    """Return the shape (S, 3) held back where the skin passes through itself."""
    common = surroundings @ shape
    share = np.zeros(len(rest))
    held = shape
    for _ in range(_HOLD_STEPS):
        hit = intersecting_triangles(rest + held, skin.triangles)
        if not len(hit):
            break
        struck = np.zeros(len(rest))
        struck[skin.triangles[hit]] = 1
        share = np.minimum(share + _HOLD_STEP * (surroundings @ struck), 1)
        held = shape + share[:, None] * (common - shape)
    return held
