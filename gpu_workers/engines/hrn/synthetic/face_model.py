"""The synthetic morphable model: a bumpy dome with the vertex and face counts of the real front."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.io import savemat
from scipy.spatial import Delaunay, cKDTree

from gpu_workers.engines.hrn.files import FRONT_FACES, FRONT_VERTICES
from gpu_workers.engines.hrn.synthetic.points import landmarks_68

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]

#: A triangulation of N points of which B lie on the hull has 2 N - 2 - B triangles.
_RIM = 2 * FRONT_VERTICES - 2 - FRONT_FACES
_TEXTURE_SIDE = 512
_IDENTITIES, _EXPRESSIONS, _TEXTURES = 80, 64, 80
_FACES_PER_VERTEX = 8
_AMPLITUDE = 0.02


@dataclass(frozen=True, kw_only=True)
class MeanFace:
    """The mesh; x to the person's left, y up, z out of the face."""

    #: (N, 3)
    shape: FloatArray
    #: (F, 3) anticlockwise seen from outside.
    faces: IndexArray
    #: (N, 2) in 0..1, v up.
    uvs: NDArray[np.float32]
    #: (68,) vertices.
    keypoints: IndexArray


def make_mean_face() -> MeanFace:
    """Return the synthetic mean face."""
    plane = _scatter_points()
    shape = _raise_dome(plane)
    _, keypoints = cKDTree(shape[:, :2]).query(landmarks_68())
    return MeanFace(
        shape=shape,
        faces=_triangulate(plane),
        uvs=(0.47 * plane + 0.5).astype(np.float32),
        keypoints=keypoints.astype(np.int64),
    )


def write_face_model(folder: Path) -> None:
    """Write the files of `assets/`."""
    folder.mkdir(parents=True, exist_ok=True)
    mean = make_mean_face()
    shape, faces, keypoints = mean.shape, mean.faces, mean.keypoints
    random = np.random.default_rng(7)
    savemat(
        folder / "BFM_model_front.mat",
        {
            "meanshape": shape.reshape(1, -1).astype(np.float32),
            "idBase": _waves(shape, _IDENTITIES, random),
            "exBase": _waves(shape, _EXPRESSIONS, random),
            "meantex": np.tile([200.0, 160, 140], FRONT_VERTICES).reshape(1, -1).astype(np.float32),
            "texBase": _waves(shape, _TEXTURES, random) * np.float32(3 / _AMPLITUDE),
            "tri": faces + 1,
            "point_buf": _faces_around(faces) + 1,
            "keypoints": keypoints.reshape(1, -1) + 1,
            "tri_mask2": faces + 1,
            "frontmask2_idx": np.arange(FRONT_VERTICES).reshape(-1, 1) + 1,
            "skinmask": np.ones((1, FRONT_VERTICES), np.uint8),
        },
    )
    np.save(folder / "bfm_uvs2.npy", mean.uvs)
    _write_texture_model(folder, random)
    with (folder / "template_bfm.obj").open("w") as stream:
        np.savetxt(stream, shape, "v %.5f %.5f %.5f")
        np.savetxt(stream, faces + 1, "f %d %d %d")
    savemat(folder / "similarity_Lm3D_all.mat", {"lm": shape[keypoints] - shape.mean(0)})
    # The box of the 68-landmark detector: constant size about the mean of five points.
    regressor = {"W1": np.zeros((200, 10)), "B1": np.zeros((200, 1)), "W2": np.zeros((3, 200))}
    savemat(folder / "BBRegressorParam_r.mat", {**regressor, "B2": np.array([[-3.2], [-3.2], [35.0]])})


def _scatter_points() -> FloatArray:
    """Return points (N, 2) of the unit disc: a sunflower inside an even rim."""
    inside = FRONT_VERTICES - _RIM
    number = np.arange(inside) + 0.5
    radius, angle = 0.98 * np.sqrt(number / inside), np.pi * (1 + np.sqrt(5)) * number
    rim = 2 * np.pi * np.arange(_RIM) / _RIM
    radius, angle = np.append(radius, np.ones(_RIM)), np.append(angle, rim)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)


def _triangulate(plane: FloatArray) -> IndexArray:
    """Return triangles (F, 3), anticlockwise seen from the front."""
    faces: IndexArray = Delaunay(plane).simplices.astype(np.int64)
    first, second, third = (plane[faces[:, corner]] for corner in range(3))
    b, c = second - first, third - first
    turned = b[:, 0] * c[:, 1] - b[:, 1] * c[:, 0] < 0
    faces[turned] = faces[turned][:, [0, 2, 1]]
    if len(faces) != FRONT_FACES:
        raise RuntimeError(f"the triangulation has {len(faces)} triangles in place of {FRONT_FACES}")
    return faces


def _raise_dome(plane: FloatArray) -> FloatArray:
    """Return vertices (N, 3): a dome with nose, eyes and mouth."""
    x, y = 0.85 * plane[:, 0], 1.1 * plane[:, 1]
    z = 0.9 * np.sqrt(1.02 - (plane**2).sum(1))
    bumps = [(0.0, -0.05, 0.14, 0.25), (-0.33, 0.22, 0.14, -0.06), (0.33, 0.22, 0.14, -0.06)]
    for across, up, width, height in [*bumps, (0.0, -0.5, 0.2, 0.05)]:
        z = z + height * np.exp(-((x - across) ** 2 + (y - up) ** 2) / (2 * width**2))
    return np.stack([x, y, z], 1)


def _waves(shape: FloatArray, count: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Return (3 N, count) smooth displacement fields."""
    frequency = random.normal(0, 2.2, (3, 3 * count))
    phase = random.uniform(0, 2 * np.pi, 3 * count)
    fields = _AMPLITUDE * np.sin(shape.astype(np.float32) @ frequency.astype(np.float32) + phase)
    return fields.reshape(-1, 3, count).reshape(-1, count).astype(np.float32)


def _faces_around(faces: IndexArray) -> IndexArray:
    """Return (N, 8) the faces at each vertex, the number of faces where there is none."""
    vertex = faces.reshape(-1)
    order = np.argsort(vertex, kind="stable")
    sorted_vertex = vertex[order]
    place = np.arange(len(order)) - np.searchsorted(sorted_vertex, sorted_vertex)
    around = np.full((FRONT_VERTICES, _FACES_PER_VERTEX), FRONT_FACES)
    kept = place < _FACES_PER_VERTEX
    around[sorted_vertex[kept], place[kept]] = order[kept] // 3
    return around


def _write_texture_model(folder: Path, random: np.random.Generator) -> None:
    side = _TEXTURE_SIDE
    row, column = np.mgrid[:side, :side] / np.float32(side)
    shade = np.float32(1) + np.float32(0.1) * np.sin(7 * column + 5 * row).astype(np.float32)
    mean = shade[..., None] * np.array([200, 160, 140], np.float32)
    np.save(folder / "bfm_tex_mean2.npy", mean.reshape(-1).astype(np.float32))
    base = np.lib.format.open_memmap(
        folder / "bfm_texmap_base2.npy", "w+", np.float32, (side * side * 3, _TEXTURES)
    )
    waves = random.normal(0, 12, (2, _TEXTURES)).astype(np.float32)
    for line in range(side):
        places = np.stack([column[line], row[line]], 1).astype(np.float32)
        values = np.float32(3) * np.sin(places @ waves)
        base[line * side * 3 : (line + 1) * side * 3] = np.repeat(values, 3, axis=0)
    base.flush()
