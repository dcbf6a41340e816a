"""From the skin's UV map to the photo: where each texel lies in it, and how well it is seen there."""

from dataclasses import dataclass

import torch
from torch import Tensor

from face3d.head import Camera, Head, MeshPart
from gpu_workers.engines.anny.texture_atlas import SkinAtlas
from gpu_workers.engines.anny.texture_photo import sample_picture
from gpu_workers.engines.anny.uv_raster import rasterise

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


def pose_part(part: MeshPart, head: Head, device: torch.device) -> Tensor:
    """Return (V, 3) the part's vertices with the photo's expression, metres."""
    positions = torch.tensor(part.positions).to(device)
    if head.expression_in_base:
        return positions
    used = head.expression.nonzero()[0]
    deltas = torch.tensor(part.morph_deltas[used]).to(device)
    weights = torch.tensor(head.expression[used]).to(device)
    posed: Tensor = positions + torch.tensordot(weights, deltas, dims=1)
    return posed


def project_skin(
    head: Head, atlas: SkinAtlas, picture_size: tuple[int, int], device: torch.device
) -> Projection:
    """Project the skin into the photo.

    Args:
        picture_size: height, width of the depth map; a millimetre a pixel is enough.
    """
    camera = head.camera
    skin = pose_part(head.part("skin"), head, device)
    normals = _find_normals(skin, atlas.triangles)
    position = atlas.spread(skin)
    normal = atlas.spread(normals)
    normal = normal / normal.norm(dim=0, keepdim=True).clamp(min=1e-9)
    x, y, z = _to_camera(position.reshape(3, -1).T, camera).T.reshape(3, *position.shape[1:])
    depth = z.clamp(min=1e-3)
    coordinates = torch.stack(
        [
            (camera.focal[0] * x / depth + camera.centre[0]) / camera.width,
            (camera.focal[1] * y / depth + camera.centre[1]) / camera.height,
        ]
    )
    rotation = torch.tensor(camera.rotation).to(device).float()
    origin = -rotation.T @ torch.tensor(camera.translation).to(device).float()
    towards = origin[:, None, None] - position
    towards = towards / towards.norm(dim=0, keepdim=True)
    cosine = (normal * towards).sum(0, keepdim=True)
    nearest = _depth_map(head, atlas, skin, picture_size, device)
    seen = sample_picture(nearest[None], coordinates)
    slack = _DEPTH_SLACK + _SLANT_SLACK / cosine.clamp(min=0.1)
    visible = ((seen + slack - depth) / slack * 2).clamp(0, 1)
    return Projection(
        coordinates=coordinates,
        normals=normal,
        cosine=cosine,
        visible=visible,
        scale=(camera.focal[0] / depth)[None],
    )


def _to_camera(positions: Tensor, camera: Camera) -> Tensor:
    rotation = torch.tensor(camera.rotation).to(positions.device).float()
    translation = torch.tensor(camera.translation).to(positions.device).float()
    return positions @ rotation.T + translation


def _depth_map(
    head: Head, atlas: SkinAtlas, skin: Tensor, picture_size: tuple[int, int], device: torch.device
) -> Tensor:
    """Return (h, w) the depth of what the camera sees first, metres; far where it sees nothing."""
    height, width = picture_size
    camera = head.camera
    vertices, triangles = [skin], [atlas.triangles]
    first = len(skin)
    for part in head.parts:
        if part.material == "eyes":
            vertices.append(pose_part(part, head, device))
            quads = torch.tensor(part.quads).long().to(device)
            triangles += [quads[:, [0, 1, 2]] + first, quads[:, [0, 2, 3]] + first]
            first += len(part.positions)
    points = _to_camera(torch.cat(vertices), camera)
    depth = points[:, 2].clamp(min=1e-3)
    pixels = torch.stack(
        [
            (camera.focal[0] * points[:, 0] / depth + camera.centre[0]) * (width / camera.width),
            (camera.focal[1] * points[:, 1] / depth + camera.centre[1]) * (height / camera.height),
        ],
        1,
    )
    corner = torch.cat(triangles)
    raster = rasterise(pixels, corner, height, width, depth)
    near = (depth[corner[raster.triangle.clamp(min=0)]] * raster.weights).sum(-1)
    return torch.where(raster.triangle >= 0, near, _FAR)


def _find_normals(positions: Tensor, triangles: Tensor) -> Tensor:
    corners = positions[triangles]
    faces = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = torch.zeros_like(positions)
    for k in range(3):
        normals.index_add_(0, triangles[:, k], faces)
    length: Tensor = normals.norm(dim=1, keepdim=True)
    return normals / length.clamp(min=1e-12)
