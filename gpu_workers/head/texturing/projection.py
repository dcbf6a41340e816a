"""From the skin's UV map to the photo: where each texel lies in it, and how well it is seen there."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gpu_workers.head.ops import triton_kernels
from gpu_workers.head.ops.image import sample_picture
from gpu_workers.head.ops.uv_rasterization import rasterise
from gpu_workers.head.texturing.uv_atlas import SkinAtlas

#: A surface may lie so far behind what the camera sees and still be it, metres; more where it is seen aslant.
_DEPTH_SLACK = 0.003
_SLANT_SLACK = 0.0015
_FAR = 1e3


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
