"""The skin where two photos of it are compared: points all over the face, and which of them both see."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import functional

from gpu_workers.head.fitting.patch_alignment import Patches
from gpu_workers.head.model.head_template import HeadData
from gpu_workers.head.ops.linalg import send
from gpu_workers.head.ops.rasterization import rasterise
from gpu_workers.head.ops.rigid_transforms import Pose, project

_NOSE_TIP, _EYES = 1, (33, 263)
#: Reach of the face about the tip of the nose, in eye distances.
_REACH = 1.25
#: Least distance of two points, metres: nearer ones tell the same.
_SPACING = 0.0022
#: Least cosine between the skin's normal and the way to the camera.
_FACING = 0.35
#: Eye distance in the pictures that tell what hides what, pixels; how much farther hidden points lie, metres.
_DEPTH_SCALE, _BEHIND = 90.0, 0.004
#: Pixels around the head in them.
_FRAME = 4


@dataclass(frozen=True, kw_only=True)
class Lens:
    """A photo's camera."""

    #: Focal length () and principal point (2,), pixels.
    focal: Tensor
    centre: Tensor


class ViewSurface:
    """Skin, and the points on it where photos are compared.

    Args:
        device: of its tensors.
    """

    def __init__(self, data: HeadData, device: torch.device) -> None:
        skin = data.part("skin")
        rows = skin.vertices
        self.device = device
        self._positions = send(data.positions[rows], device)
        parts = (data.identity, data.local_changes, data.actions)
        columns = np.concatenate([part[:, rows] for part in parts])
        self._columns = send(columns.reshape(len(columns), -1), device)
        self._triangles = send(skin.triangles.astype(np.int64), device)
        chosen = _choose_points(data)
        #: (N,) the points among the skin's vertices.
        self.points = send(chosen, device)
        #: (N, 3) metres and (N, 3, C) the points' places in the template, and what the coefficients add.
        self.base = self._positions[self.points]
        self.columns = send(np.ascontiguousarray(columns[:, chosen].transpose(1, 2, 0)), device)

    def __len__(self) -> int:
        return len(self.base)

    def patches(
        self, coefficients: Tensor, poses: Pose, lenses: tuple[Lens, Lens], eyes: tuple[float, float]
    ) -> tuple[Patches, Tensor]:
        """Return where the points lie in two photos, and which of them (N,) both see.

        Args:
            coefficients: (2, C) in each photo.
            poses: (2, ...) in each photo's frame.
            lenses: of each.
            eyes: eye distance in each, pixels.
        """
        skins = self._positions + (coefficients.float() @ self._columns).view(2, -1, 3)
        placed = skins @ poses.rotation.float().mT + poses.translation.float()[:, None]
        normals = [_vertex_normals(one, self._triangles)[self.points] for one in placed]
        seen = torch.ones(len(self), dtype=torch.bool, device=self.device)
        for skin, normal, lens, eye_distance in zip(placed, normals, lenses, eyes, strict=True):
            seen &= self._faces_camera(skin, normal) & ~self._is_hidden(skin, lens, eye_distance)
        points = placed[:, self.points]
        places = [_pixels(one, lens) for one, lens in zip(points, lenses, strict=True)]
        turn = (poses.rotation[1] @ poses.rotation[0].mT).float()
        affine = _affine_between(points, normals[0], turn, lenses)
        return Patches(places=places[0], expected=places[1], affine=affine), seen

    def _faces_camera(self, skin: Tensor, normals: Tensor) -> Tensor:
        to_camera = -functional.normalize(skin[self.points], dim=1)
        facing: Tensor = (normals * to_camera).sum(1) > _FACING
        return facing

    def _is_hidden(self, skin: Tensor, lens: Lens, eye_distance: float) -> Tensor:
        """Return which points (N,) lie behind other skin."""
        pixels = _pixels(skin, lens) * (_DEPTH_SCALE / eye_distance)
        low, high = torch.aminmax(pixels[self.points], dim=0)
        pixels = pixels - (low - _FRAME)
        width, height = (int(side) for side in (high - low + 2 * _FRAME).ceil())
        depth = rasterise(
            torch.cat([pixels, skin[:, 2:]], dim=1)[None], self._triangles, height, width
        ).depth[0]
        x, y = pixels[self.points].long().unbind(1)
        hidden: Tensor = skin[self.points, 2] > depth[y, x] + _BEHIND
        return hidden


def _pixels(points: Tensor, lens: Lens) -> Tensor:
    return project(points[None], lens.focal.float()[None], lens.centre.float()[None])[0]


def _vertex_normals(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Return unit normals (V, 3), outward in the camera's frame (y down, z away)."""
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    normals = torch.zeros_like(vertices)
    faces = torch.linalg.cross(b - a, c - a)
    for corner in range(3):
        normals.index_add_(0, triangles[:, corner], faces)
    return functional.normalize(normals, dim=1)


def _affine_between(points: Tensor, normals: Tensor, turn: Tensor, lenses: tuple[Lens, Lens]) -> Tensor:
    """Return (N, 2, 2): how a point of the tangent plane moves in the second photo as it moves in the first.

    Args:
        points: (2, N, 3) in each camera's frame.
        normals: (N, 3) in the first's.
        turn: (3, 3) from the first camera's frame to the second's.
    """
    # Two directions in the plane; no normal of a point that is seen lies along x.
    across = functional.normalize(
        torch.linalg.cross(normals, normals.new_tensor([1.0, 0.0, 0.0]).expand_as(normals)), dim=1
    )
    along = torch.linalg.cross(normals, across)
    plane = torch.stack([across, along], dim=2)
    first = projection_slope(points[0], lenses[0]) @ plane
    second = projection_slope(points[1], lenses[1]) @ (turn @ plane)
    affine: Tensor = second @ torch.linalg.inv_ex(first).inverse
    return affine


def projection_slope(points: Tensor, lens: Lens) -> Tensor:
    """Return (N, 2, 3): pixels by the place of a point in the camera's frame."""
    ratio = lens.focal.to(points.dtype) / points[:, 2]
    slope = points.new_zeros(len(points), 2, 3)
    slope[:, 0, 0] = slope[:, 1, 1] = ratio
    slope[:, :, 2] = -ratio[:, None] * points[:, :2] / points[:, 2:]
    return slope


def _choose_points(data: HeadData) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return vertices of the skin's own list: those of the face, without near neighbours."""
    skin = data.part("skin")
    positions = data.positions[skin.vertices].astype(np.float64)
    corners = data.positions[data.landmark_vertices].astype(np.float64)
    landmarks = (corners * data.landmark_weights[..., None]).sum(1)
    eyes = float(np.linalg.norm(landmarks[_EYES[0]] - landmarks[_EYES[1]]))
    hidden = np.maximum(data.masks["mouth_interior"], data.masks["eye_socket"]) > 0
    near = np.linalg.norm(positions - landmarks[_NOSE_TIP], axis=1) < _REACH * eyes
    chosen = np.flatnonzero(near & ~hidden).astype(np.int64)
    tree = cKDTree(positions[chosen])
    kept = np.ones(len(chosen), bool)
    for first, second in sorted(tree.query_pairs(_SPACING)):
        kept[second] &= not kept[first]
    return chosen[kept]
