"""Smile, cheeks, brows and nose move soft tissue in three dimensions, by as much as is measured on people."""

import numpy as np
import pytest

from face3d.head import ARKIT_NAMES, CORRECTIVE_NAMES
from gpu_workers.head.ops.mesh import cotangent_laplacian
from tests.unit.head.head_support import head_data
from tests.unit.head.rigging.shapes_support import (
    EYES,
    depth_in_eyeball,
    own_astronaut,
    own_head,
    personal_shapes,
    rim_gaps,
    skin_crossings,
    with_contacts_resolved,
)

pytestmark = pytest.mark.heavy

MM = 0.001
#: MediaPipe landmarks on the person's left and right.
CORNER = {"Left": 291, "Right": 61}
MALAR = {"Left": (280, 425, 411), "Right": (50, 205, 187)}
FOLD = {"Left": (426, 436), "Right": (206, 216)}
LOWER_LID = {"Left": 374, "Right": 145}
UNDER_EYE = {"Left": (450, 347, 330), "Right": (230, 118, 101)}
BROW_INNER, BROW_OUTER = {"Left": 336, "Right": 107}, {"Left": 293, "Right": 63}
WING = {"Left": 278, "Right": 48}
OUTWARD = {"Left": 1, "Right": -1}
LID_EDGE = range(2, 4)
OURS = tuple(
    name
    for name in ARKIT_NAMES
    if name.startswith(
        ("mouthSmile", "cheek", "brow", "noseSneer", "mouthDimple", "mouthFrown", "mouthStretch")
    )
)

seeds = pytest.mark.parametrize("seed", [None, 0, 3, 6])
sides = pytest.mark.parametrize("side", EYES)


def at(values, *landmarks):
    """Return the mean of vertex values (V, 3) at landmarks, mm."""
    data = head_data()
    rows = list(landmarks)
    return (values[data.landmark_vertices[rows]] * data.landmark_weights[rows][..., None]).sum(1).mean(0) / MM


@seeds
@sides
def test_a_smile_takes_the_corner_out_up_and_back(seed, side):
    aside, up, forward = at(own_head(seed).shape(f"mouthSmile{side}"), CORNER[side])
    assert 5 < OUTWARD[side] * aside < 10
    assert 5 < up < 12
    assert -8 < forward < -3


@seeds
def test_a_full_smile_widens_the_mouth_by_a_quarter(seed):
    head = own_head(seed)
    both = {"mouthSmileLeft": 1, "mouthSmileRight": 1}
    widths = [
        at(pose, CORNER["Left"])[0] - at(pose, CORNER["Right"])[0]
        for pose in (head.neutral, head.pose(**both))
    ]
    assert 1.2 < widths[1] / widths[0] < 1.4
    # The lips part a little, and together they stand still aside at the midline.
    middle = at(head.pose(**both) - head.neutral, 0, 17)
    assert abs(middle[0]) < 0.7
    lips = personal_shapes().openings.lips.grid
    assert rim_gaps(head.pose(**both), lips, range(-1, 5)).max() > 1 * MM


@seeds
@sides
def test_the_cheek_rises_and_bulges_over_a_fold_that_stays_low(seed, side):
    shape = own_head(seed).shape(f"mouthSmile{side}")
    rise, bulge = at(shape, *MALAR[side])[1:]
    assert 3.5 < rise < 7
    assert 3 < bulge < 7
    assert at(shape, *FOLD[side])[2] < bulge - 4
    assert 0.8 < at(shape, LOWER_LID[side])[1] < 2.2


@seeds
@sides
def test_a_squint_of_the_cheek_rises_under_the_lower_lid(seed, side):
    shape = own_head(seed).shape(f"cheekSquint{side}")
    assert 3 < at(shape, *UNDER_EYE[side])[1] < 5.5
    assert 1 < at(shape, LOWER_LID[side])[1] < 3
    assert np.abs(at(shape, CORNER[side])).max() < 1


def outline(pose, heights):
    """Return how far the skin reaches to the left of the midline at heights (H,) under the eyes, mm."""
    skin = head_data().part("skin")
    ends = pose[skin.vertices][skin.quads] / MM
    starts, ends = ends.reshape(-1, 3), np.roll(ends, -1, axis=1).reshape(-1, 3)
    # Ears and neck are no outline of the cheek.
    face = (starts[:, 2] > -50) & (ends[:, 2] > -50)
    starts, ends = starts[face], ends[face]
    reach = []
    for height in heights:
        crosses = (starts[:, 1] <= height) & (ends[:, 1] > height)
        a, b = starts[crosses], ends[crosses]
        share = (height - a[:, 1]) / (b[:, 1] - a[:, 1])
        reach.append((a[:, 0] + share * (b[:, 0] - a[:, 0])).max())
    return np.array(reach)


@seeds
def test_puffed_cheeks_are_seen_from_the_front(seed):
    head = own_head(seed)
    heights = np.linspace(-72, -44, 8)
    growth = outline(head.pose(cheekPuff=1), heights) - outline(head.neutral, heights)
    assert 6 < growth.max() < 12
    assert growth.min() > 3.5
    # Round, not a bag: it is fullest between cheek-bone and jaw.
    assert 0 < growth.argmax() < 7
    lips = personal_shapes().openings.lips.grid
    wider = (
        rim_gaps(head.pose(cheekPuff=1), lips, range(-1, 5)).max()
        - rim_gaps(head.neutral, lips, range(-1, 5)).max()
    )
    assert wider < 0.5 * MM


@seeds
@sides
def test_brows_go_as_far_as_peoples_do(seed, side):
    head = own_head(seed)
    assert 6.5 < at(head.shape("browInnerUp"), BROW_INNER[side])[1] < 12
    assert 6.5 < at(head.shape(f"browOuterUp{side}"), BROW_OUTER[side])[1] < 12
    aside, down, _ = at(head.shape(f"browDown{side}"), BROW_INNER[side])
    assert -7 < down < -4
    assert OUTWARD[side] * aside < -1.5, "towards the midline"
    # What is pushed together stands out between the brows.
    assert at(head.shape("browDownLeft") + head.shape("browDownRight"), 8)[2] > 1.5
    # The forehead follows up to the hairline, less and less.
    rises = [at(head.shape("browInnerUp"), n)[1] for n in (9, 151, 10)]
    assert rises[0] > rises[1] > rises[2] > 1


@seeds
def test_raised_brows_slide_over_the_bone(seed):
    """The forehead is a surface before and after: no vertex leaves it by more than its own thickness."""
    head = own_head(seed)
    posed = head.pose(browInnerUp=1, browOuterUpLeft=1, browOuterUpRight=1)
    front = head.neutral[head_data().part("skin").vertices] / MM
    front = front[front[:, 2] > 0]
    for landmark in (151, 337, 108, 299, 69, 10):
        moved = at(posed, landmark)
        near = np.argsort(((front[:, :2] - moved[:2]) ** 2).sum(1))[:4]
        assert -1.5 < moved[2] - front[near, 2].mean() < 3.5, landmark


@seeds
@sides
def test_a_sneer_lifts_wing_and_lip(seed, side):
    shape = own_head(seed).shape(f"noseSneer{side}")
    assert 2.5 < at(shape, WING[side])[1] < 5.5
    lip = {"Left": (267, 269), "Right": (37, 39)}[side]
    assert 1.2 < at(shape, *lip)[1] < 3.5
    assert np.abs(at(shape, 4)).max() < 1.5, "the tip of the nose stays"


def bend(pose):
    """Return the mean curvature of the skin's vertices (S,), 1/m."""
    skin = head_data().part("skin")
    points = pose[skin.vertices]
    laplacian, areas = cotangent_laplacian(points, skin.triangles)
    return np.linalg.norm(laplacian @ points, axis=1) / np.maximum(areas, 1e-7) / 2


@seeds
@pytest.mark.parametrize("name", OURS)
def test_no_shape_dents_or_tears_the_skin(seed, name):
    """Away from lips and lids no edge is stretched to over twice its length, nor a pit or ridge formed."""
    head, data = own_head(seed), head_data()
    skin = data.part("skin")
    masks = [data.masks[key] for key in ("lips", "mouth_interior", "eye_socket", "eyelids", "ears")]
    smooth = (np.max(masks, axis=0) < 0.05) & (bend(head.neutral) < 60)
    posed = head.pose(**{name: 1})
    edges = np.concatenate([skin.quads[:, [k, (k + 1) % 4]] for k in range(4)])
    edges = edges[smooth[edges].all(1)]
    lengths = [
        np.linalg.norm(np.diff(pose[skin.vertices][edges], axis=1)[:, 0], axis=1)
        for pose in (head.neutral, posed)
    ]
    long = lengths[0] > 2 * MM
    strain = lengths[1][long] / lengths[0][long]
    assert strain.max() < 2.1
    assert strain.min() > 0.4
    assert bend(posed)[smooth].max() < 240


@pytest.mark.parametrize("seed", [None, *range(6)])
@pytest.mark.parametrize("beside", ["eyeSquint", "cheekSquint", "mouthSmile", "eyeLookDown"])
def test_a_blink_beside_another_shape_still_shuts_the_eye(seed, beside):
    head = own_head(seed)
    for side in EYES:
        alone = head.pose(**{f"eyeBlink{side}": 1})
        both = head.pose(**{f"eyeBlink{side}": 1, beside + side: 1})
        lids = personal_shapes().openings.eyes[side].lids
        assert rim_gaps(both, lids.grid, LID_EDGE).max() < 0.65 * MM
        # Without the corrective 60 to 140 faces pass through each other.
        assert skin_crossings(both) <= max(30, skin_crossings(alone) + 8)
        assert depth_in_eyeball(both, side) < 0.6 * MM


@seeds
def test_a_laugh_is_as_wide_as_the_smile(seed):
    head = own_head(seed)
    smile = {"mouthSmileLeft": 1, "mouthSmileRight": 1}
    width = [
        at(pose, CORNER["Left"])[0] - at(pose, CORNER["Right"])[0]
        for pose in (head.pose(**smile), head.pose(jawOpen=1, **smile))
    ]
    assert width[1] > 0.88 * width[0]
    assert skin_crossings(head.pose(jawOpen=1, **smile)) <= 20


@pytest.mark.parametrize("seed", [None, 3])
def test_no_corrective_is_empty(seed):
    longest = np.linalg.norm(own_head(seed).deltas[len(ARKIT_NAMES) :], axis=2).max(1)
    assert dict(zip(CORRECTIVE_NAMES, longest > 0.5 * MM, strict=True)) == dict.fromkeys(
        CORRECTIVE_NAMES, True
    )


def test_shapes_leave_this_faces_own_asymmetry_and_lines():
    """Two heads that differ by a line and a lopsided corner differ by them in each expression, too."""
    data = head_data()
    head = own_head(3)
    line = np.zeros_like(head.neutral)
    skin = data.part("skin").vertices
    place = head.neutral[skin] / MM
    on_forehead = (place[:, 1] > 24) & (place[:, 1] < 45) & (np.abs(place[:, 0]) < 30) & (place[:, 2] > 0)
    line[: skin.stop, 2] = -0.6 * MM * on_forehead * np.cos(place[:, 1] * 2)
    line[: skin.stop, 1] = -1.0 * MM * np.exp(-0.5 * ((place - at(head.neutral, 291)) ** 2).sum(1) / 12**2)
    lined = with_contacts_resolved(head.sculpted + line)
    own_neutral = lined.neutral - head.neutral
    for name in ("mouthSmileLeft", "browInnerUp", "browDownLeft", "cheekPuff", "noseSneerLeft"):
        kept = (lined.pose(**{name: 1}) - head.pose(**{name: 1}))[skin]
        moved = np.linalg.norm(kept - own_neutral[skin], axis=1)
        assert np.percentile(moved, 99) < 0.25 * MM, name
        own = own_neutral[skin][on_forehead, 2]
        assert (kept[on_forehead, 2] @ own) / (own @ own) == pytest.approx(1, abs=0.15), name


def test_the_astronauts_neutral_does_not_smile():
    """What the smile does otherwise than the fit knew belongs to the smile."""
    neutral = own_astronaut().neutral
    rise = at(neutral, 291, 61)[1] - at(neutral, 13, 14)[1]
    template = head_data().positions
    assert rise - (at(template, 291, 61)[1] - at(template, 13, 14)[1]) < 1.5
