"""From the skin's UV map to the photo: where each texel lies in it, and how well it is seen there."""

from dataclasses import dataclass

import torch
from torch import Tensor

from gpu_workers.head.ops import depth_kernel
from gpu_workers.head.ops.image import sample_picture
from gpu_workers.head.ops.mesh import vertex_normals
from gpu_workers.head.ops.rasterization import draw_depth
from gpu_workers.head.runtime.triton_support import triton_available
from gpu_workers.head.texturing.uv_atlas import SkinAtlas

#: A surface may lie so far behind what the camera sees and still be it, metres; more where it is seen aslant.
_DEPTH_SLACK = 0.003
_SLANT_SLACK = 0.0015
#: Least cosine by which the latter is divided.
_LEAST_COSINE = 0.1
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
    normal = atlas.spread(vertex_normals(skin, atlas.triangles))
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
    slack = _DEPTH_SLACK + _SLANT_SLACK / cosine.clamp(min=_LEAST_COSINE)
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
    if triton_available(vertices.device):
        nearest = depth_kernel.draw_depth(pixels, depth, atlas.occluders.int(), height, width)
        return nearest.clamp(max=_FAR)
    placed = torch.cat([pixels, depth[:, None]], 1)[None]
    return draw_depth(placed, atlas.occluders, height, width, perspective=False)[0].clamp(max=_FAR)
