"""Every head's own shapes do what an animator expects of them, on heads of many forms."""

import numpy as np
import pytest
import torch

from face3d.head import ARKIT_NAMES
from gpu_workers.head.rigging.deformation_lattice import SPACING, Lattice
from gpu_workers.head.rigging.eyeballs import EYEBALL_RADIUS
from tests.unit.head.head_support import head_data
from tests.unit.head.rigging.shapes_support import (
    EYES,
    HEADS,
    depth_in_eyeball,
    eyeball_radius,
    own_astronaut,
    own_head,
    personal_shapes,
    rim_gaps,
    skin_crossings,
    with_contacts_resolved,
)

pytestmark = pytest.mark.heavy

MM = 0.001
#: The edge that carries the lashes and the one beside the eyeball; the lips from inside to outside.
LID_EDGE, LIP_RINGS = range(2, 4), range(-1, 5)
CLOSING = (
    "eyeBlinkLeft", "eyeSquintLeft", "eyeLookDownRight", "cheekPuff", "jawLeft", "mouthFunnel", "mouthLeft",
    "mouthPressRight", "mouthPucker", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthSmileLeft",
)  # fmt: skip

all_heads = pytest.mark.parametrize("seed", range(HEADS))


def part(name):
    return head_data().part(name).vertices


def lids(side):
    return personal_shapes().openings.eyes[side].lids


@all_heads
@pytest.mark.parametrize("side", EYES)
def test_a_blink_closes_this_eye(seed, side):
    head = own_head(seed)
    closed = head.pose(**{f"eyeBlink{side}": 1})
    gaps = rim_gaps(closed, lids(side).grid, LID_EDGE)
    assert np.median(gaps) < 0.25 * MM
    # 0.3 mm is aimed at; beside a corner there is more, most on the most unusual of these heads (seed 6).
    assert gaps.max() < (0.42 if seed == 6 else 0.36) * MM
    # Of 1643 rays, less than half a millimetre apart.
    assert visible_eyeball(closed, side) == 0
    assert visible_eyeball(head.neutral, side) > 100
    assert depth_in_eyeball(closed, side) < 0.1 * MM


def visible_eyeball(pose, side):
    """Return how many of a fan of rays from the front meet the eyeball before the skin."""
    skin = head_data().part("skin")
    ball = pose[part(EYES[side])]
    centre = 0.5 * (ball.min(0) + ball.max(0))
    x, y = np.meshgrid(np.linspace(-0.0105, 0.0105, 53), np.linspace(-0.009, 0.006, 31))
    flat = np.stack([x.ravel(), y.ravel()], axis=1)
    depth = np.sqrt(np.maximum(EYEBALL_RADIUS**2 - (flat**2).sum(1), 0))
    points = np.concatenate([flat, depth[:, None]], axis=1)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    points = centre + unit * eyeball_radius(pose, EYES[side], unit)[:, None]
    corners = pose[skin.vertices][skin.triangles]
    near = (np.linalg.norm(corners.mean(1) - centre, axis=1) < 0.035) & (corners[..., 2].max(1) > centre[2])
    hidden = np.zeros(len(points), bool)
    for a, b, c in corners[near]:
        low, high = np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)
        rays = np.flatnonzero(((points[:, :2] >= low[:2]) & (points[:, :2] <= high[:2])).all(1) & ~hidden)
        area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
        if not len(rays) or abs(area) < 1e-15:
            continue
        p = points[rays]
        v = ((b[0] - p[:, 0]) * (c[1] - p[:, 1]) - (c[0] - p[:, 0]) * (b[1] - p[:, 1])) / area
        w = ((c[0] - p[:, 0]) * (a[1] - p[:, 1]) - (a[0] - p[:, 0]) * (c[1] - p[:, 1])) / area
        height = v * a[2] + w * b[2] + (1 - v - w) * c[2]
        hidden[rays[(v >= 0) & (w >= 0) & (v + w <= 1) & (height > p[:, 2] - 0.1 * MM)]] = True
    return int((~hidden).sum())


@all_heads
def test_lids_stay_outside_of_the_eyeball(seed):
    head = own_head(seed)
    for side in EYES:
        for name in ("eyeSquint", "eyeWide", "cheekSquint"):
            assert depth_in_eyeball(head.pose(**{name + side: 1}), side) < 0.15 * MM, name
        assert depth_in_eyeball(head.neutral, side) < 0.1 * MM


@all_heads
def test_wide_eyes_open(seed):
    head = own_head(seed)
    for side in EYES:
        middle = lids(side).lashes[len(lids(side).lashes) // 2]
        assert head.shape(f"eyeWide{side}")[middle, 1] > 1 * MM


@all_heads
def test_mouth_close_shuts_the_lips_of_an_open_jaw(seed):
    head = own_head(seed)
    lips = personal_shapes().openings.lips.grid
    assert rim_gaps(head.pose(jawOpen=1), lips, LIP_RINGS).max() > 15 * MM
    shut = head.pose(jawOpen=1, mouthClose=1)
    gaps = rim_gaps(shut, lips, LIP_RINGS)
    assert np.percentile(gaps, 90) < 0.6 * MM
    assert gaps.max() < 0.8 * MM
    assert skin_crossings(shut) <= 20


@all_heads
def test_the_jaw_takes_lower_teeth_and_tongue_along_as_one_piece(seed):
    head = own_head(seed)
    rows = np.r_[part("teeth_lower"), part("gums_lower"), part("tongue")]
    before, after = head.neutral[rows], head.pose(jawOpen=1)[rows]
    apart = [np.linalg.norm(points[:, None] - points[None, ::7], axis=2) for points in (before, after)]
    assert np.abs(apart[0] - apart[1]).max() < 0.01 * MM
    teeth = head.shape("jawOpen")[part("teeth_lower")]
    assert teeth[:, 1].max() < -3 * MM
    assert not head.shape("jawOpen")[np.r_[part("teeth_upper"), part("gums_upper")]].any()


@all_heads
def test_the_closed_upper_lip_just_hides_the_upper_incisors(seed):
    head = own_head(seed)
    teeth = head.neutral[part("teeth_upper")]
    edge = teeth[np.abs(teeth[:, 0]) < 7 * MM, 1].min()
    lips = personal_shapes().openings.lips.grid
    upper = lips.vertices[lips.border :, lips.upper]
    lip = head.neutral[upper[:, upper.shape[1] // 2], 1].min()
    assert 0 < edge - lip < 1.5 * MM
    # Teeth and gums keep together.
    moved = head.sculpted[part("teeth_upper")] - head.neutral[part("teeth_upper")]
    assert not moved.any(), "contact resolution leaves them"


@all_heads
def test_eyeballs_turn_about_their_own_centre(seed):
    head = own_head(seed)
    for side, name in EYES.items():
        for gaze, way in (("Up", [0, 1]), ("Down", [0, -1]), ("In", [-1, 0]), ("Out", [1, 0])):
            ball = head.neutral[part(name)]
            moved = ball + head.shape(f"eyeLook{gaze}{side}")[part(name)]
            centre = 0.5 * (ball.min(0) + ball.max(0))
            radius = [np.linalg.norm(points - centre, axis=1) for points in (ball, moved)]
            assert np.abs(radius[0] - radius[1]).max() < 0.01 * MM
            outward = [1, 1] if side == "Left" else [-1, 1]
            iris = (moved - ball)[ball[:, 2].argmax(), :2]
            assert iris @ (np.array(way) * outward) > 2 * MM


@all_heads
def test_skin_does_not_pass_through_itself(seed):
    head = own_head(seed)
    assert skin_crossings(head.neutral) == 0
    # Three heads are tried in every shape, the others in those that bring lips or lids together.
    names = ARKIT_NAMES if seed in (0, 6, 11) else CLOSING
    crossings = {name: skin_crossings(head.pose(**{name: 1})) for name in names if name != "mouthClose"}
    # The most unusual of these heads has 23 in the fold of the inner corner of a shut eye.
    assert max(crossings.values()) <= (24 if seed == 6 else 20), crossings


@all_heads
def test_settling_moves_a_neutral_face_hardly_and_lids_only_along_the_line_of_sight(seed):
    head = own_head(seed)
    moved = head.neutral - head.sculpted
    eyes = [part(f"{kind}_{side}") for kind in ("eye", "cornea", "lashes") for side in ("left", "right")]
    moved[np.concatenate([np.arange(rows.start, rows.stop) for rows in eyes])] = 0
    for side in EYES:
        grid = lids(side).grid
        seen = grid.vertices[grid.border + 2 :]
        assert np.abs(moved[seen, :2]).max() < 0.001 * MM
        assert np.abs(moved[seen, 2]).max() < 3.5 * MM
        moved[grid.vertices] = 0
    assert np.linalg.norm(moved, axis=1).max() < 1.2 * MM


def test_the_templates_own_shapes_are_the_mended_ones():
    head = own_head(None)
    different = np.linalg.norm(head.deltas - head_data().shapes, axis=2)
    # Gaze, jaw and tongue are made for each head.
    own = ("eyeLook", "jawOpen", "tongueOut")
    moved = [index for index, name in enumerate(ARKIT_NAMES) if not name.startswith(own)]
    # Lids are seated on each head's eyeballs, and what is behind them follows.
    eyes = np.concatenate([lids(side).grid.vertices.ravel() for side in EYES])
    assert different[moved][:, eyes].max() < 2.0 * MM
    skin = np.setdiff1d(np.arange(part("skin").stop), eyes)
    assert different[moved][:, skin].max() < 1.0 * MM
    assert different[moved][:, skin].mean() < 0.01 * MM


def test_no_shape_of_the_template_passes_through_itself():
    data = head_data()
    jaw_open = data.shapes[ARKIT_NAMES.index("jawOpen")]
    for name, shape in zip(ARKIT_NAMES, data.shapes, strict=False):
        # The corrective works on an open jaw only.
        pose = data.positions + shape + (jaw_open if name == "mouthClose" else 0)
        assert skin_crossings(pose) <= 4, name


@pytest.mark.parametrize("seed", [None, 3])
def test_no_shape_is_empty(seed):
    longest = np.linalg.norm(own_head(seed).deltas[: len(ARKIT_NAMES)], axis=2).max(1)
    assert dict(zip(ARKIT_NAMES, longest > 0.5 * MM, strict=True)) == dict.fromkeys(ARKIT_NAMES, True)


@pytest.mark.parametrize("seed", [None, 2])
def test_left_and_right_are_mirror_images_on_a_symmetric_head(seed):
    mirror = head_data().mirror_vertices
    sculpted = own_head(seed).sculpted
    head = with_contacts_resolved(0.5 * (sculpted + sculpted[mirror] * [-1, 1, 1]))
    for name in (name for name in ARKIT_NAMES if name.endswith("Left")):
        other = head.shape(name.removesuffix("Left") + "Right")[mirror] * [-1, 1, 1]
        difference = np.linalg.norm(head.shape(name) - other, axis=1)
        assert difference.max() < 0.5 * MM, name
        assert difference.mean() < 0.005 * MM, name


def test_a_larger_face_moves_by_more():
    template = torch.from_numpy(head_data().positions.astype(np.float64))
    shapes, larger = (personal_shapes().transfer(size * template).numpy() for size in (1, 1.1))
    face = np.flatnonzero(head_data().masks["face"] > 0.5)
    for name in ("mouthSmileLeft", "browInnerUp", "jawOpen", "mouthPucker", "noseSneerLeft"):
        before, after = (deltas[ARKIT_NAMES.index(name)][face] for deltas in (shapes, larger))
        growth = (before * after).sum() / (before**2).sum()
        assert growth == pytest.approx(1.1, abs=0.03), name


@all_heads
def test_the_tongue_comes_out(seed):
    head = own_head(seed)
    out = head.pose(tongueOut=1, jawOpen=0.35)
    lips = personal_shapes().openings.lips.grid
    front = out[lips.vertices[lips.border : lips.border + 7]][..., 2].max()
    assert out[part("tongue")][:, 2].max() > front + 2 * MM
    # Alone, without the jaw, it parts the lips instead of passing through them.
    alone = head.pose(tongueOut=1)
    assert rim_gaps(alone, lips, LIP_RINGS).max() > 3 * MM


def test_the_astronauts_shapes_close_eyes_and_do_not_cut_the_skin():
    head = own_astronaut()
    assert skin_crossings(head.neutral) == 0
    crossings = {n: skin_crossings(head.pose(**{n: 1})) for n in ARKIT_NAMES if n != "mouthClose"}
    assert max(crossings.values()) <= 20, crossings
    for side in EYES:
        closed = head.pose(**{f"eyeBlink{side}": 1})
        assert rim_gaps(closed, lids(side).grid, LID_EDGE).max() < 0.36 * MM
        assert visible_eyeball(closed, side) == 0
        assert depth_in_eyeball(closed, side) < 0.1 * MM


def plain_spline(lattice_values, origin, place):
    """The reference implementation: a quadratic B-spline of the 27 points around, one by one."""
    total = np.zeros(3)
    position = (place - origin) / SPACING
    for i in range(int(position[0]) - 1, int(position[0]) + 3):
        for j in range(int(position[1]) - 1, int(position[1]) + 3):
            for k in range(int(position[2]) - 1, int(position[2]) + 3):
                weight = 1.0
                for t in np.abs(position - [i, j, k]):
                    weight *= 0.75 - t * t if t < 0.5 else 0.5 * (1.5 - t) ** 2 if t < 1.5 else 0.0
                if weight:
                    total += weight * lattice_values[i, j, k]
    return total


def test_a_lattice_carries_shifts_exactly_and_blends_like_the_plain_spline():
    rng = np.random.default_rng(0)
    skin = np.stack(np.meshgrid(*[np.linspace(0, 0.05, 14)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    skin = np.concatenate([skin, 0.01 * np.sin(60 * skin[:, :1])], axis=1)
    places = skin[::9] + rng.normal(size=skin[::9].shape) * 0.002
    lattice = Lattice(skin, places, torch.device("cpu"))
    shift = torch.tensor([0.001, -0.002, 0.003])
    assert np.allclose(lattice.displacements(shift.repeat(len(skin), 1)), shift, atol=1e-6)
    change = torch.from_numpy(rng.normal(size=skin.shape) * 0.001).float()
    origin = lattice.origin
    points, values = lattice.points, lattice.values(change).numpy()
    table = dict(zip(map(tuple, np.rint((points - origin) / SPACING).astype(int)), values, strict=True))
    for place, found in list(zip(places, lattice.displacements(change), strict=True))[:10]:
        assert np.allclose(plain_spline(table, origin, place), found, atol=1e-6)
