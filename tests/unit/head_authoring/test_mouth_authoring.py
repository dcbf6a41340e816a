"""How the mouth's shapes are made on the template: what is given stays, what is spread is smooth."""

import numpy as np
import pytest

from face3d.head import ARKIT_NAMES
from gpu_workers.head.rigging.expression_shares import JAW_OPEN_DEGREES
from gpu_workers.head_authoring.shapes.jaw_turn import JawTurn, find_jaw_turn
from gpu_workers.head_authoring.shapes.lip_frame import LipFrame
from gpu_workers.head_authoring.shapes.skin_surface import SkinSurface
from tests.unit.head.head_support import head_data

pytestmark = pytest.mark.heavy


def make_jaw() -> tuple[LipFrame, JawTurn]:
    data = head_data()
    positions = data.positions.astype(np.float64)
    lips = LipFrame(data.parts, positions)
    return lips, find_jaw_turn(data.parts, positions, data.actions.astype(np.float64), lips)


def test_a_plate_between_two_edges_bends_smoothly_and_keeps_what_is_given():
    side = 21
    y, x = np.meshgrid(np.arange(side) * 0.005, np.arange(side) * 0.005, indexing="ij")
    points = np.stack([x.ravel(), y.ravel(), np.zeros(side * side)], axis=1)
    corner = np.arange(side * side).reshape(side, side)
    a, b, c, d = corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]
    triangles = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, b, c), (a, c, d))])
    known = np.concatenate([corner[:, :2].ravel(), corner[:, -2:].ravel()])
    values = (points[known, :1] > 0.05).astype(float)
    spread = SkinSurface(points, triangles).spread(known, values)[:, 0].reshape(side, side)
    np.testing.assert_array_equal(spread.ravel()[known], values[:, 0])
    middle = spread[side // 2]
    assert (np.diff(middle)[1:-1] > 0).all()
    assert np.abs(np.diff(middle, 2)).max() < 0.02
    assert middle[side // 2] == pytest.approx(0.5, abs=1e-6)


def test_the_lower_lip_follows_the_jaw_and_the_upper_lip_stays():
    data = head_data()
    lips, jaw = make_jaw()
    assert jaw.weights.min() >= 0
    assert jaw.weights.max() <= 1
    np.testing.assert_allclose(jaw.weights, jaw.weights[data.mirror_vertices], atol=0.02)
    rim = lips.grid.vertices[lips.grid.border + 2]
    upper, lower = rim[lips.grid.left_corner // 2], rim[lips.grid.lower[len(lips.grid.lower) // 2]]
    assert jaw.weights[upper] == pytest.approx(0, abs=0.01)
    assert jaw.weights[lower] == pytest.approx(1, abs=0.01)
    assert 0.3 < jaw.weights[rim[0]] < 0.5
    for mask in ("scalp", "ears", "eyelids"):
        assert jaw.weights[: len(data.masks[mask])][data.masks[mask] > 0.9].max() < 0.05, mask


def test_the_templates_lower_teeth_turn_by_the_angle_of_the_jaw():
    data = head_data()
    _, jaw = make_jaw()
    teeth = data.part("teeth_lower").vertices
    moved = data.shapes[ARKIT_NAMES.index("jawOpen"), teeth]
    np.testing.assert_allclose(moved, jaw.moves(data.positions[teeth]), atol=2e-5)
    assert np.degrees(np.arccos((np.trace(jaw.rotation) - 1) / 2)) == pytest.approx(JAW_OPEN_DEGREES)
    # The condyle, 13 mm before the ear canal, slides forwards and down as on people: 10 to 20 mm.
    condyle = jaw.moves(np.array([[0.05, -0.022, -0.055]]))[0]
    assert 0.010 < condyle[2] < 0.020
