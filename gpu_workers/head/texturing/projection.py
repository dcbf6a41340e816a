"""From the skin's UV map to the photo: where each texel lies in it, and how well it is seen there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from face3d.head import ARKIT_NAMES, Camera, Head, MeshPart
from gpu_workers.head.model.head_template import PartData
from gpu_workers.head.ops import triton_kernels
from gpu_workers.head.ops.image import sample_picture
from gpu_workers.head.ops.uv_rasterization import rasterise
from gpu_workers.head.texturing.uv_atlas import SkinAtlas

#: A surface may lie so far behind what the camera sees and still be it, metres; more where it is seen aslant.
_DEPTH_SLACK = 0.003
_SLANT_SLACK = 0.0015
_FAR = 1e3
Part = TypeVar("Part", MeshPart, PartData)

_SMILES = [ARKIT_NAMES.index(name) for name in ("mouthSmileLeft", "mouthSmileRight")]


class PosedHead(Protocol):
    """A head as its photo shows it; the head itself may be on its way from the device yet."""

    @property
    def posed(self) -> Tensor:
        """(V, 3) float32 metres, on any device: `stack_vertices` of the head."""

    @property
    def camera(self) -> Camera:
        """The photo's camera."""

    @property
    def smile(self) -> float:
        """0..1: `measure_smile` of the head."""

    @property
    def head(self) -> Head:
        """The head."""


class HostHead:
    """A head that is there."""

    def __init__(self, head: Head) -> None:
        self.head, self.camera = head, head.camera
        self.posed = torch.from_numpy(stack_vertices(head))
        self.smile = measure_smile(head.expression, head.expression_in_base)


@dataclass(frozen=True, kw_only=True)
class Projection:
    """The skin's texels in the photo; every map is a SkinAtlas's size."""

    #: (2, S, S) x and y as shares of the photo's width and height.
    coordinates: Tensor
    #: (3, S, S) unit normals in the head's frame.
    normals: Tensor
    #: (1, S, S) cosine between normal and the direction to the camera.
    cosine: Tensor
    #: (1, S, S) in 0..1: nothing of the head lies in front.
    visible: Tensor
    #: (1, S, S) pixels a metre across the line of sight.
    scale: Tensor


def pack_camera(camera: Camera) -> NDArray[np.float32]:
    """Return a camera as (18,): focal lengths, centre, width, height, rotation by rows, translation."""
    numbers = [*camera.focal, *camera.centre, camera.width, camera.height]
    return np.concatenate([numbers, camera.rotation.ravel(), camera.translation]).astype(np.float32)


def measure_smile(expression: NDArray[np.float32], expression_in_base: bool) -> float:
    """Return 0..1: how far the smile of an expression (52,) is left out of the head's base shape."""
    if expression_in_base:
        return 0.0
    return float(expression[_SMILES].mean().clip(0, 1))


def find_occluders(parts: Sequence[Part]) -> list[Part]:
    """Return the parts that the bake sees, of a head's or of its topology's: skin, then eyes."""
    skin = [part for part in parts if part.name == "skin"]
    return skin + [part for part in parts if part.material == "eyes"]


def stack_vertices(head: Head) -> NDArray[np.float32]:
    """Return (V, 3) metres: the vertices of skin, then eyes, with the photo's expression.

    They are the vertices of `SkinAtlas.occluders`.
    """
    return np.concatenate([_pose(part, head) for part in find_occluders(head.parts)])


def _pose(part: MeshPart, head: Head) -> NDArray[np.float32]:
    used = head.expression.nonzero()[0]
    if head.expression_in_base or not len(used):
        return part.positions
    moves = np.tensordot(head.expression[used], part.morph_deltas[used], 1)
    return np.asarray(part.positions + moves, np.float32)


def project_skin(
    vertices: Tensor, camera: Tensor, atlas: SkinAtlas, picture_size: tuple[int, int]
) -> Projection:
    """Project the skin into the photo. Nothing here waits for a GPU where Triton's kernels run.

    Args:
        vertices: (V, 3) of `stack_vertices`.
        camera: (18,) of `pack_camera`, on the same device.
        picture_size: height, width of the depth map; a millimetre a pixel is enough.
    """
    skin = vertices[: atlas.vertex_count]
    focal, centre, size = camera[0:2], camera[2:4], camera[4:6]
    normal = atlas.spread(_find_normals(skin, atlas.triangles))
    normal = normal / _length(normal).clamp(min=1e-9)
    position = atlas.spread(skin)
    shape = position.shape[1:]
    placed = _to_camera(position.reshape(3, -1).T, camera).T.reshape(3, *shape)
    depth = placed[2].clamp(min=1e-3)
    pixels = focal[:, None, None] * placed[:2] / depth + centre[:, None, None]
    coordinates = pixels / size[:, None, None]
    origin = -camera[6:15].view(3, 3).T @ camera[15:18]
    towards = origin[:, None, None] - position
    towards = towards / _length(towards)
    cosine = (normal * towards).sum(0, keepdim=True)
    nearest = _depth_map(vertices, camera, atlas, picture_size)
    seen = sample_picture(nearest[None], coordinates)
    slack = _DEPTH_SLACK + _SLANT_SLACK / cosine.clamp(min=0.1)
    visible = ((seen + slack - depth) / slack * 2).clamp(0, 1)
    return Projection(
        coordinates=coordinates,
        normals=normal,
        cosine=cosine,
        visible=visible,
        scale=(focal[0] / depth)[None],
    )


def _length(planes: Tensor) -> Tensor:
    """Return (1, S, S): the lengths of vectors (3, S, S); torch's own norm takes 28 times as long here."""
    x, y, z = planes
    length: Tensor = (x * x).addcmul_(y, y).addcmul_(z, z).sqrt_()
    return length[None]


def _to_camera(positions: Tensor, camera: Tensor) -> Tensor:
    return positions @ camera[6:15].view(3, 3).T + camera[15:18]


def _depth_map(vertices: Tensor, camera: Tensor, atlas: SkinAtlas, picture_size: tuple[int, int]) -> Tensor:
    """Return (h, w) the depth of what the camera sees first, metres; far where it sees nothing."""
    height, width = picture_size
    points = _to_camera(vertices, camera)
    depth = points[:, 2].clamp(min=1e-3)
    places = (camera[0:2] * points[:, :2] / depth[:, None] + camera[2:4]) / camera[4:6]
    pixels = torch.stack([places[:, 0] * width, places[:, 1] * height], 1)
    if triton_kernels.available(vertices.device):
        nearest = triton_kernels.draw_depth(pixels, depth, atlas.occluders.int(), height, width)
        return nearest.clamp(max=_FAR)
    raster = rasterise(pixels, atlas.occluders, height, width, depth)
    near = (depth[atlas.occluders[raster.triangle.clamp(min=0)]] * raster.weights).sum(-1)
    return torch.where(raster.triangle >= 0, near, _FAR)


def _find_normals(positions: Tensor, triangles: Tensor) -> Tensor:
    corners = positions[triangles]
    faces = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = torch.zeros_like(positions)
    for k in range(3):
        normals.index_add_(0, triangles[:, k], faces)
    length: Tensor = normals.norm(dim=1, keepdim=True)
    return normals / length.clamp(min=1e-12)
