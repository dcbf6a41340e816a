"""Teeth and gums, made along the dental arches: single crowns in a scalloped band of gum.

Sizes of crowns: Ash and Nelson, Wheeler's Dental Anatomy, 8th edition, table 1-1, to half a millimetre. The
arches follow MakeHuman's two strips of teeth, whose motion the parts made here take over.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from gpu_workers.head_authoring.procedural_part import MadePart, grid_quads, join_parts

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]

_MM = 0.001


@dataclass(frozen=True)
class _Crown:
    """One tooth, millimetres: across the arch's run, edge to gum, and through at the gum and at the edge."""

    width: float
    height: float
    depth: float
    edge_depth: float
    #: How far the middle of the edge stands out: a canine's point; less than zero is a molar's hollow.
    point: float = 0.0


@dataclass(frozen=True)
class _Jaw:
    """A row of teeth, millimetres in the template's frame; x to the side, z forward."""

    #: Points (x, z) of the biting edges' outer side, from the midline back.
    arch: tuple[tuple[float, float], ...]
    #: Height of the biting edges in front, and how far they part from the other row's a millimetre of arch.
    #: The occlusal plane climbs by some 9 degrees to the back (Downs, Variations in facial relationships,
    #: 1948): so the lip hides the upper teeth at the sides.
    edge: float
    rise: float
    #: 1 where the gum lies above the teeth, -1 below.
    up: int
    #: From the midline back.
    crowns: tuple[_Crown, ...]


_UPPER = _Jaw(
    arch=(
        (0, 15.6), (9, 13.9), (17.2, 8.6), (22.6, 1.2), (26.2, -6.6), (29.2, -15.5), (31.6, -26), (33, -36),
    ),
    edge=-71.8,
    rise=0.105,
    up=1,
    crowns=(
        _Crown(8.5, 10.0, 7.0, 1.6, 0.1),
        _Crown(6.5, 9.0, 6.0, 1.5, 0.2),
        _Crown(7.5, 9.8, 8.0, 2.2, 0.9),
        _Crown(7.0, 8.5, 9.0, 6.6, -0.5),
        _Crown(7.0, 8.3, 9.0, 6.8, -0.6),
        _Crown(10.0, 7.5, 10.5, 9.0, -0.9),
        _Crown(9.0, 7.0, 10.5, 8.6, -0.9),
    ),
)  # fmt: skip
_LOWER = _Jaw(
    arch=((0, 12.6), (8.5, 11.0), (16.4, 6.2), (21.4, -0.8), (25, -8.4), (28, -17), (30.4, -27), (32, -37)),
    edge=-74.2,
    rise=0.055,
    up=-1,
    crowns=(
        _Crown(5.0, 9.0, 5.8, 1.4, 0.1),
        _Crown(5.5, 9.2, 6.0, 1.4, 0.1),
        _Crown(7.0, 10.0, 7.5, 2.0, 0.8),
        _Crown(7.0, 8.5, 7.5, 5.6, -0.3),
        _Crown(7.0, 8.0, 8.0, 6.4, -0.5),
        _Crown(11.0, 7.5, 10.0, 8.6, -0.9),
        _Crown(10.5, 7.0, 10.0, 8.4, -0.9),
    ),
)  # fmt: skip

#: Rings of a crown from the edge to inside the gum: place along the crown, share of its width, and how far
#: its outer side is set back, millimetres.
_RINGS = ((0.05, 0.88, 0.45), (0.40, 1.0, 0.0), (0.80, 0.90, 0.25), (1.25, 0.66, 1.3))
#: A ring's corners: along the arch (+ is away from the midline) and outwards, in halves of width and depth.
_ROUND = 0.80
_CORNERS = (
    (1.0, 0.0), (_ROUND, _ROUND), (0.0, 1.0), (-_ROUND, _ROUND),
    (-1.0, 0.0), (-_ROUND, -_ROUND), (0.0, -1.0), (_ROUND, -_ROUND),
)  # fmt: skip
#: Teeth of a square's row, and the side of a tooth's cell.
_CELLS = 7
_CELL = 0.138
_TEETH_BOTTOM = 0.443
#: Where the gums' strips lie in the square.
_GUM_STRIPS = {"gums_upper": (0.368, 0.432), "gums_lower": (0.294, 0.358)}
#: Profile of a gum from the lip's side to the tongue's, millimetres: outwards of the arch, less a tooth's
#: depth on the tongue's side, and away from the crowns; nought is the scalloped margin.
_GUM_PROFILE = ((-0.4, 7.5), (0.9, 2.5), (0.3, 0.0), (-0.6, 0.0), (-1.8, 2.5), (-5.5, 8.0))
#: Share of its height that a crown's gum margin covers, at the middle of the tooth and between two.
_MARGIN, _PAPILLA = 0.93, 0.62


def make_teeth() -> tuple[MadePart, MadePart, MadePart, MadePart]:
    """Return teeth_upper, teeth_lower, gums_upper, gums_lower; each mirror-symmetric about x = 0."""
    return (
        _make_row("teeth_upper", _UPPER, first_cell=0),
        _make_row("teeth_lower", _LOWER, first_cell=2 * _CELLS),
        _make_gum("gums_upper", _UPPER),
        _make_gum("gums_lower", _LOWER),
    )


class _Arch:
    """A jaw's arch by length from the midline, positive to the person's left; millimetres."""

    def __init__(self, jaw: _Jaw) -> None:
        points = np.array(jaw.arch)
        mirrored = np.concatenate([points[:0:-1] * [-1, 1], points])
        parameter = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(mirrored, axis=0), axis=1))])
        curve = CubicSpline(parameter - parameter[-1] / 2, mirrored)
        fine = np.linspace(-parameter[-1] / 2, parameter[-1] / 2, 801)
        self._points = np.asarray(curve(fine))
        run = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(self._points, axis=0), axis=1))])
        self._run = run - run[-1] / 2

    def place(self, run: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return point (x, z), unit direction along the arch and unit direction outwards."""
        x, z = (np.interp(run + np.array([0.0, -0.6, 0.6]), self._run, self._points[:, k]) for k in (0, 1))
        along = np.array([x[2] - x[1], z[2] - z[1]])
        along /= np.linalg.norm(along)
        return np.array([x[0], z[0]]), along, np.array([-along[1], along[0]])


def _make_row(name: str, jaw: _Jaw, first_cell: int) -> MadePart:
    arch = _Arch(jaw)
    teeth = []
    for side in (1, -1):
        run = 0.0
        for number, crown in enumerate(jaw.crowns):
            cell = first_cell + number + (0 if side > 0 else _CELLS)
            teeth.append(_make_tooth(jaw, arch, crown, side * (run + crown.width / 2), cell))
            run += crown.width
    return join_parts(name, teeth)


def _make_tooth(jaw: _Jaw, arch: _Arch, crown: _Crown, run: float, cell: int) -> MadePart:
    point, along, outwards = arch.place(run)
    if run < 0:
        along = -along
    edge = jaw.edge + jaw.up * jaw.rise * abs(run)
    rings = []
    for place, width, set_back in _RINGS:
        depth = np.interp(place, [0, 0.8, 1.3], [crown.edge_depth, crown.depth, 0.7 * crown.depth])
        centre = point - outwards * (set_back + depth / 2)
        for a, b in _CORNERS:
            # Corners of the edge lie a little higher than its middle; a molar's lie lower.
            lift = crown.point * (abs(a) - 0.5 if place < 0.1 else 0.0)
            x, z = centre + along * (a * width * crown.width / 2) + outwards * (b * depth / 2)
            rings.append([x, edge + jaw.up * (place * crown.height + lift), z])
    x, z = point - outwards * (_RINGS[0][2] + crown.edge_depth / 2)
    tip = [x, edge - jaw.up * (0.0 if crown.point > 0 else crown.point), z]
    positions = np.array([*rings, tip]) * _MM
    return _lay_out_tooth(positions, cell, turned=(run > 0) == (jaw.up > 0))


def _lay_out_tooth(positions: FloatArray, cell: int, *, turned: bool) -> MadePart:
    """Return the tooth with its crown laid out as rings round the middle of its edge, in its own cell."""
    count = len(_CORNERS)
    quads = []
    for ring in range(len(_RINGS) - 1):
        for k in range(count):
            a, b = ring * count + k, ring * count + (k + 1) % count
            quads.append([a, b, b + count, a + count])
    tip = len(positions) - 1
    # Each quad of the edge takes two sides of its ring, from corner to corner.
    for k in range(1, count, 2):
        quads.append([tip, (k + 2) % count, (k + 1) % count, k])
    angle = 2 * np.pi * np.arange(count) / count
    square = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    square /= np.abs(square).max(1, keepdims=True) ** 0.6
    radii = [0.24, 0.46, 0.74, 1.0]
    flat = np.concatenate([*(radius * square for radius in radii), [[0.0, 0.0]]])
    faces = np.array(quads)
    outside = faces[:, [0, 3, 2, 1]] if turned else faces
    # On the map the rings run the other way: away from the middle is away from the edge.
    uvs = flat * [1.0, -1.0] if turned else flat
    row, column = divmod(cell, _CELLS)
    middle = [(column + 0.5) / _CELLS, _TEETH_BOTTOM + (row + 0.5) * _CELL]
    return MadePart(
        name="tooth",
        positions=positions,
        quads=outside,
        uvs=uvs * [-1.0, 1.0] * (_CELL / 2 - 0.004) + middle,
        uv_quads=outside,
    )


def _list_stations(jaw: _Jaw) -> list[tuple[float, float, float]]:
    """Return run, height of the margin and depth of the teeth, mm, of a gum's sections from front to back."""
    stations = []
    run = 0.0
    for number, crown in enumerate(jaw.crowns):
        before = jaw.crowns[max(number - 1, 0)]
        after = jaw.crowns[min(number + 1, len(jaw.crowns) - 1)]
        high = crown.height * _MARGIN
        papillae = [_PAPILLA * min(crown.height, other.height) for other in (before, after)]
        stations.append((run, papillae[0], (crown.depth + before.depth) / 2))
        for share, papilla in ((0.22, papillae[0]), (0.5, high), (0.78, papillae[1])):
            stations.append((run + share * crown.width, papilla + 0.75 * (high - papilla), crown.depth))
        run += crown.width
    stations.append((run + 0.8, papillae[1], jaw.crowns[-1].depth))
    return stations


def _make_gum(name: str, jaw: _Jaw) -> MadePart:
    arch = _Arch(jaw)
    stations = _list_stations(jaw)
    mirrored = [(-run, margin, depth) for run, margin, depth in stations[:0:-1]]
    deepest = max(crown.height for crown in jaw.crowns[:3])
    positions = []
    for run, margin, depth in [*mirrored, *stations]:
        point, _, outwards = arch.place(run)
        edge = jaw.edge + jaw.up * jaw.rise * abs(run)
        for number, (out, away) in enumerate(_GUM_PROFILE):
            inside = depth if number > 2 else 0.0
            x, z = point + outwards * (out - inside)
            height = margin if away == 0 else deepest + away
            positions.append([x, edge + jaw.up * height, z])
    rows, columns = len(mirrored) + len(stations), len(_GUM_PROFILE)
    bottom, top = _GUM_STRIPS[name]
    along = np.linspace(0.01, 0.99, rows)
    across = np.linspace(bottom, top, columns)
    uvs = np.stack(np.meshgrid(along, across, indexing="ij"), axis=-1).reshape(-1, 2)
    quads = grid_quads(rows, columns)
    if jaw.up < 0:
        quads, uvs = quads[:, [0, 3, 2, 1]], uvs * [-1, 1] + [1, 0]
    uvs = uvs * [1, -1] + [0, bottom + top]
    return MadePart(name=name, positions=np.array(positions) * _MM, quads=quads, uvs=uvs, uv_quads=quads)
