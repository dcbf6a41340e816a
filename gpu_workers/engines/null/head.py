"""A coarse head made of ellipsoids: a few dozen quads, the right parts, 52 shapes that all move something."""

from collections.abc import Mapping

import numpy as np

from face3d.head import ARKIT_NAMES, JOINT_NAMES, Camera, FloatArray, Head, IndexArray, Joint, MeshPart
from face3d.joint_limits import JOINT_LIMITS

#: Half axes of the skull and radius of an eyeball, metres.
SKULL = (0.075, 0.115, 0.095)
EYEBALL = 0.012
#: Half the distance between the eyeball centres, metres.
HALF_EYE_DISTANCE = 0.0315
#: The photo that the engine pretends to have seen: square, pixels a side.
PHOTO_SIZE = 64
#: Parent and place of each joint, metres.
_JOINTS: Mapping[str, tuple[str | None, tuple[float, float, float]]] = {
    "root": (None, (0, -0.2, -0.09)),
    "neck": ("root", (0, -0.15, -0.09)),
    "head": ("neck", (0, -0.06, -0.09)),
    "jaw": ("head", (0, -0.05, -0.06)),
    "eye_left": ("head", (HALF_EYE_DISTANCE, 0, 0)),
    "eye_right": ("head", (-HALF_EYE_DISTANCE, 0, 0)),
}
#: Degrees that the jaw opens, and that an eye turns about x and y.
_JAW_OPENS, _EYE_LOOKS = 20.0, {"Down": (15, 0), "In": (0, -20), "Out": (0, 20), "Up": (-15, 0)}


def make_head(*, expression_in_base: bool = False, eye_material: str = "eyes") -> Head:
    """Return the ellipsoid head; its camera looks at the face from 0.6 m."""
    skull_centre = (0.0, -0.01, -0.085)
    camera = Camera(
        focal=(1.7 * PHOTO_SIZE, 1.7 * PHOTO_SIZE),
        centre=(PHOTO_SIZE / 2, PHOTO_SIZE / 2),
        rotation=np.diag(np.array([1, -1, -1], np.float32)),
        translation=np.array([0, 0, 0.6], np.float32),
        width=PHOTO_SIZE,
        height=PHOTO_SIZE,
    )
    parts = (
        _ellipsoid("skin", "skin", skull_centre, SKULL, rings=7, sectors=12),
        _ellipsoid("eye_left", eye_material, (HALF_EYE_DISTANCE, 0, 0), (EYEBALL,) * 3, rings=3, sectors=6),
        _ellipsoid("eye_right", eye_material, (-HALF_EYE_DISTANCE, 0, 0), (EYEBALL,) * 3, rings=3, sectors=6),
    )
    return Head(
        parts=parts,
        joints=_make_joints(),
        camera=camera,
        expression=np.zeros(len(ARKIT_NAMES), np.float32),
        expression_in_base=expression_in_base,
    )


def _make_joints() -> tuple[Joint, ...]:
    turns: dict[str, dict[str, tuple[float, float, float]]] = {"jaw": {"jawOpen": (_JAW_OPENS, 0, 0)}}
    for side, outwards in (("Left", 1), ("Right", -1)):
        turns[f"eye_{side.lower()}"] = {
            f"eyeLook{way}{side}": (float(x), float(outwards * y), 0.0) for way, (x, y) in _EYE_LOOKS.items()
        }
    return tuple(
        Joint(
            name=name,
            parent=_JOINTS[name][0],
            position=np.array(_JOINTS[name][1], np.float32),
            limits=JOINT_LIMITS[name],
            turns=turns.get(name, {}),
        )
        for name in JOINT_NAMES
    )


def _ellipsoid(
    name: str,
    material: str,
    centre: tuple[float, float, float],
    axes: tuple[float, float, float],
    *,
    rings: int,
    sectors: int,
) -> MeshPart:
    """Return an ellipsoid of `rings` latitudes between two poles; its seam runs down the back."""
    latitude = np.pi * np.arange(1, rings + 1) / (rings + 1)
    longitude = 2 * np.pi * np.arange(sectors) / sectors
    ring = np.stack(
        [
            np.outer(np.sin(latitude), -np.sin(longitude)),
            np.outer(np.cos(latitude), np.ones(sectors)),
            np.outer(np.sin(latitude), -np.cos(longitude)),
        ],
        axis=-1,
    ).reshape(-1, 3)
    unit = np.concatenate([[[0, 1, 0]], ring, [[0, -1, 0]]])
    positions = (unit * axes + centre).astype(np.float32)
    quads, uvs, uv_quads = _grid(rings, sectors)
    return MeshPart(
        name=name,
        material=material,
        positions=positions,
        quads=quads,
        uvs=uvs,
        uv_quads=uv_quads,
        morph_deltas=_waves(unit, axes[0]),
        joint_weights=np.tile(_one_joint("head" if name == "skin" else name), (len(positions), 1)),
    )


def _one_joint(name: str) -> FloatArray:
    return np.array([one == name for one in JOINT_NAMES], np.float32)


def _grid(rings: int, sectors: int) -> tuple[IndexArray, FloatArray, IndexArray]:
    """Return quads, uvs and uv quads of a sphere's grid; the uv grid has one more column than the mesh."""
    last = 1 + rings * sectors
    columns = sectors + 1
    quads: list[list[int]] = []
    uv_quads: list[list[int]] = []

    def vertex(ring: int, sector: int) -> int:
        return 1 + ring * sectors + sector % sectors

    def uv(row: int, column: int) -> int:
        return row * columns + column

    for sector in range(sectors):
        quads.append([0, vertex(0, sector), vertex(0, sector + 1), vertex(0, sector + 1)])
        uv_quads.append([uv(0, sector), uv(1, sector), uv(1, sector + 1), uv(1, sector + 1)])
        for ring in range(rings - 1):
            below = [vertex(ring + 1, sector), vertex(ring + 1, sector + 1)]
            quads.append([vertex(ring, sector), *below, vertex(ring, sector + 1)])
            row = ring + 1
            uv_quads.append(
                [uv(row, sector), uv(row + 1, sector), uv(row + 1, sector + 1), uv(row, sector + 1)]
            )
        quads.append(
            [vertex(rings - 1, sector), last, vertex(rings - 1, sector + 1), vertex(rings - 1, sector + 1)]
        )
        bottom = [uv(rings, sector), uv(rings + 1, sector), uv(rings, sector + 1), uv(rings, sector + 1)]
        uv_quads.append(bottom)
    v, u = np.meshgrid(np.linspace(0.98, 0.02, rings + 2), np.linspace(0.02, 0.98, columns), indexing="ij")
    uvs = np.stack([u, v], axis=-1).reshape(-1, 2).astype(np.float32)
    return np.array(quads, np.int32), uvs, np.array(uv_quads, np.int32)


def _waves(unit: np.ndarray, size: float) -> FloatArray:
    """Return one smooth bulge a shape, each at another place of the unit sphere (Fibonacci lattice)."""
    index = np.arange(len(ARKIT_NAMES)) + 0.5
    polar, turn = np.arccos(1 - 2 * index / len(ARKIT_NAMES)), np.pi * (1 + 5**0.5) * index
    points = np.stack([np.cos(turn) * np.sin(polar), np.cos(polar), np.sin(turn) * np.sin(polar)], axis=1)
    bulge = np.maximum(points @ unit.T, 0)[:, :, None] ** 2 * 0.1 * size
    deltas: FloatArray = (bulge * unit[None]).astype(np.float32)
    return deltas
