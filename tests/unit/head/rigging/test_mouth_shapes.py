"""Jaw, lips and tongue on heads of many forms: what is seen from the front, how far lips and tongue go."""

import numpy as np
import pytest

from assets.preview.raster import rasterise
from face3d.head import ARKIT_NAMES, JOINT_NAMES
from gpu_workers.head.ops.self_intersection import intersecting_pairs
from tests.unit.head.head_support import astronaut_geometry, head_data
from tests.unit.head.rigging.shapes_support import OwnHead, own_astronaut, own_head, personal_shapes

pytestmark = pytest.mark.heavy

MM = 0.001
#: The template, random heads, the astronaut.
HEADS = (None, *range(10), "astronaut")
#: Shapes that are made anew.
MOUTH = (
    "jawOpen", "jawForward", "jawLeft", "jawRight", "mouthPucker", "mouthFunnel", "mouthRollUpper",
    "mouthRollLower", "mouthShrugUpper", "mouthShrugLower", "mouthPressLeft", "mouthPressRight", "mouthLeft",
    "mouthRight", "tongueOut",
)  # fmt: skip
#: Rings of the lips that may be the foremost or the nearest to the other lip.
LIPS = 8

all_heads = pytest.mark.parametrize("name", HEADS)


def head_of(name: int | str | None) -> OwnHead:
    return own_astronaut() if name == "astronaut" else own_head(name)


def rows(part: str) -> slice:
    return head_data().part(part).vertices


def lip(*, upper: bool) -> np.ndarray:
    """Return the vertices of a lip's middle column, from the inner border outwards."""
    grid = personal_shapes().openings.lips.grid
    columns = grid.lower if not upper else np.arange(grid.left_corner + 1)
    return grid.vertices[grid.border : grid.border + LIPS, columns[len(columns) // 2]]


def width(pose: np.ndarray) -> float:
    grid = personal_shapes().openings.lips.grid
    ring = grid.vertices[grid.border + 4]
    return pose[ring[grid.left_corner], 0] - pose[ring[0], 0]


def opening(pose: np.ndarray) -> float:
    return pose[lip(upper=True), 1].min() - pose[lip(upper=False), 1].max()


def seen_from_front(pose: np.ndarray) -> dict[str, int]:
    """Return part to its pixels of 0.25 mm around the mouth; parallel rays, corneas and lashes left out."""
    data = head_data()
    scale, middle = 0.25 * MM, pose[lip(upper=True), :].mean(0)
    size = 440
    screen = (pose - middle) / scale * [1, -1, -1] + [size / 2, size / 2 - 120, 2000]
    solid = np.array([p.material in ("skin", "mouth") for p in data.parts])[data.triangle_parts]
    triangles = data.triangles[solid]
    seen = rasterise(screen.astype(np.float32), triangles, size, size)
    owner = data.triangle_parts[solid][seen.triangles]
    return {part.name: int((owner == k).sum()) for k, part in enumerate(data.parts)}


def crossings(pose: np.ndarray, one: str, other: str) -> int:
    """Return how many pairs of triangles of two parts pass through each other."""
    data = head_data()
    first, second = data.part(one), data.part(other)
    points = np.concatenate([pose[first.vertices], pose[second.vertices]])
    triangles = np.concatenate([first.triangles, second.triangles + first.count])
    pairs = intersecting_pairs(points, triangles)
    return int(((pairs < len(first.triangles)).sum(1) == 1).sum())


def between_incisors(pose: np.ndarray, neutral: np.ndarray) -> float:
    edges = []
    for part, lowest in (("teeth_upper", True), ("teeth_lower", False)):
        teeth = neutral[rows(part)]
        middle = np.flatnonzero(np.abs(teeth[:, 0]) < 5 * MM)
        order = teeth[middle, 1].argmin() if lowest else teeth[middle, 1].argmax()
        edges.append(pose[rows(part)][middle[order]])
    return float(np.linalg.norm(edges[0] - edges[1]))


@all_heads
def test_the_jaw_opens_by_what_a_speaker_opens_and_shows_both_rows_of_teeth(name):
    head = head_of(name)
    open_wide = head.pose(jawOpen=1)
    assert 34 * MM < between_incisors(open_wide, head.neutral) < 43 * MM
    half, whole = seen_from_front(head.pose(jawOpen=0.5)), seen_from_front(open_wide)
    for row in ("teeth_upper", "teeth_lower"):
        # Square millimetres: pixels / 16.
        assert half[row] > 16 * 10, (row, half)
        assert whole[row] > 16 * 30, (row, whole)
    assert whole["tongue"] > 16 * 200


@all_heads
def test_an_open_mouth_is_an_oval_whose_corners_stretch(name):
    head = head_of(name)
    grid = personal_shapes().openings.lips.grid
    pose = head.pose(jawOpen=1)
    assert width(pose) > 1.0 * width(head.neutral)
    ring = grid.vertices[grid.border + 2]
    middle = 0.5 * (head.neutral[ring[0], 0] + head.neutral[ring[grid.left_corner], 0])
    places = middle + np.array([-0.75, 0, 0.75]) * 0.5 * width(head.neutral)
    heights = []
    for columns in (np.arange(grid.left_corner + 1), grid.lower):
        rim = grid.vertices[grid.border + 1 : grid.border + 4, columns]
        x, y = head.neutral[rim, 0].mean(0), pose[rim, 1].mean(0)
        heights.append(np.interp(places, x[x.argsort()], y[x.argsort()]))
    gaps = heights[0] - heights[1]
    assert min(gaps[0], gaps[2]) > 0.5 * gaps[1]


@all_heads
def test_lips_closed_over_an_open_jaw_leave_the_chin_smooth(name):
    head = head_of(name)
    shut = head.pose(jawOpen=1, mouthClose=1)
    skin = head_data().part("skin")
    edges = np.concatenate([skin.quads[:, [k, (k + 1) % 4]] for k in range(4)])
    mouth = personal_shapes().openings.lips.grid.vertices[:12]
    chin = (
        (head.neutral[edges, 2].min(1) > -0.02)
        & (head.neutral[edges, 1].max(1) < -0.05)
        & ~np.isin(edges, mouth).any(1)
        & (head_data().masks["mouth_interior"][edges].max(1) == 0)
    )
    before, after = (
        np.linalg.norm(points[edges[chin, 0]] - points[edges[chin, 1]], axis=1)
        for points in (head.neutral, shut)
    )
    assert np.percentile(after / before, 99) < 2.1
    assert (after / before).max() < 2.4
    assert seen_from_front(shut)["teeth_lower"] == 0


@all_heads
@pytest.mark.parametrize("shape", ["mouthPucker", "mouthFunnel"])
def test_lips_round_and_protrude(name, shape):
    head = head_of(name)
    pose = head.pose(**{shape: 1})
    for upper in (True, False):
        forward = pose[lip(upper=upper), 2].max() - head.neutral[lip(upper=upper), 2].max()
        assert 6 * MM < forward < 10.5 * MM
    assert 0.5 < width(pose) / width(head.neutral) < 0.67
    if shape == "mouthFunnel":
        assert opening(pose) > 9 * MM
        # A round opening, not a slit.
        assert opening(pose) > 0.35 * width(pose)
    else:
        assert opening(pose) < 1.5 * MM


@all_heads
def test_the_tongue_leaves_the_mouth_over_the_lower_lip(name):
    head = head_of(name)
    for weights in ({"tongueOut": 1}, {"tongueOut": 1, "jawOpen": 0.4}):
        pose = head.pose(**weights)
        tongue = pose[rows("tongue")]
        lower = pose[lip(upper=False)]
        assert tongue[:, 2].max() - lower[:, 2].max() > 15 * MM
        assert crossings(pose, "tongue", "skin") <= 4
        for part in ("teeth_lower", "gums_lower"):
            assert crossings(pose, "tongue", part) == 0, part
        # Thick and broad where it has left the mouth.
        out = tongue[tongue[:, 2] > lower[:, 2].max() + 3 * MM]
        assert np.ptp(out[:, 0]) > 15 * MM
        assert np.ptp(out[np.abs(out[:, 0]) < 3 * MM, 1]) > 5 * MM


@pytest.mark.parametrize("name", [None, 3, 6, "astronaut"])
def test_upper_teeth_never_move_and_lower_ones_follow_the_jaw_as_one_piece(name):
    head = head_of(name)
    for shape in ARKIT_NAMES:
        moved = np.abs(head.shape(shape)[np.r_[rows("teeth_upper"), rows("gums_upper")]]).max()
        # Teeth keep to the landmarks of the lips by which the expression of a photo is corrected.
        assert moved <= (0.1 * MM if name == "astronaut" else 0), shape
    for shape in ("jawForward", "jawLeft", "jawRight"):
        moved = np.linalg.norm(head.shape(shape)[rows("teeth_lower")], axis=1)
        assert 4 * MM < moved.mean() < 9 * MM
    opened, out = (head.shape(shape)[rows("teeth_lower")] for shape in ("jawOpen", "tongueOut"))
    assert np.abs(out - (out * opened).sum() / (opened**2).sum() * opened).max() < 0.05 * MM


@pytest.mark.parametrize("name", [None, 0, 3, 6, 9, "astronaut"])
def test_no_shape_of_the_mouth_passes_through_skin_or_teeth(name):
    head = head_of(name)
    for shape in MOUTH:
        pose = head.pose(**{shape: 1})
        assert crossings(pose, "teeth_upper", "skin") + crossings(pose, "teeth_lower", "skin") <= 12, shape
    skin = head_data().part("skin")
    for shape in MOUTH:
        pairs = intersecting_pairs(head.pose(**{shape: 1})[skin.vertices], skin.triangles)
        assert len(np.unique(pairs)) <= 20, shape


def test_the_chin_turns_with_the_jaws_joint():
    """Linear blend skinning of the jaw alone, by the angle that jawOpen stands for, meets the shape."""
    head = astronaut_geometry().head
    jaw = next(joint for joint in head.joints if joint.name == "jaw")
    skin = head.part("skin")
    vector = np.radians(jaw.turns["jawOpen"])
    angle = np.linalg.norm(vector)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    share = skin.joint_weights[:, [JOINT_NAMES.index("jaw")]]
    by_joint = share * ((skin.positions - jaw.position) @ turn.T + jaw.position - skin.positions)
    difference = np.linalg.norm(by_joint - skin.morph_deltas[ARKIT_NAMES.index("jawOpen")], axis=1)
    chin = share[:, 0] > 0.97
    lips = personal_shapes().openings.lips.grid.vertices.ravel()
    chin[lips] = False
    assert chin.sum() > 25
    assert difference[chin].max() < 1 * MM
    # Lips do a little more than the joint does.
    assert difference.max() < 7 * MM
