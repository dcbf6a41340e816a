"""The front's own texture in its own UV layout: the photo where the camera saw the face, the fit elsewhere.

The fit is the pipeline's, 256 x 256. Where the photo is laid over it, a texel is as sharp as the photo.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from gpu_workers.engines.hrn.stages import CAMERA_DISTANCE, CENTRE, FOCAL, FaceCrops, FittedFront
from gpu_workers.head.ops import rasterization
from gpu_workers.head.ops.image import sample_picture, smoothstep

#: Texels baked at once, in whole rows: bounds the memory.
_BAND_TEXELS = 2_000_000
#: Pixels a side of the depth map, over the small crop.
_DEPTH_SIDE = 448
#: So far behind what the camera sees a place may lie and still be it, unit of the model (about 10 cm).
_DEPTH_SLACK = 0.03
#: Cosines between normal and direction to the camera between which the photo fades in.
_FACING = (0.25, 0.5)


@dataclass(frozen=True, kw_only=True)
class FrontTexture:
    """A baked texture of the front."""

    #: (S, S, 3) uint8 sRGB, row 0 at v = 1.
    albedo: NDArray[np.uint8]
    #: Share of its texels that show the photo.
    observed: float


@torch.no_grad()
def bake_front(
    photo: NDArray[np.uint8],
    crops: FaceCrops,
    fitted: FittedFront,
    texture: NDArray[np.float32],
    topology: tuple[NDArray[np.int32], NDArray[np.float32]],
    size: int,
    device: torch.device,
) -> FrontTexture:
    """Bake the front's texture.

    Args:
        photo: (H, W, 3) sRGB, of which the crops were cut.
        texture: (256, 256, 3) the fitted one, RGB 0..1.
        topology: the front's triangles (F, 3) and UVs (N, 2), v up.
        size: texels a side.
    """

    def send(array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)

    triangles, uvs = send(topology[0]).long(), send(topology[1])
    picture = send(photo).permute(2, 0, 1).float() / 255
    fit = send(texture).permute(2, 0, 1).float()
    mask = send(crops.mask)[0]
    vertices = send(fitted.vertices)
    pixels = project_to_crop(vertices)
    values = torch.cat([pixels, _facing(vertices, triangles)[:, None]], dim=1)
    nearest = _depth_map(pixels, triangles)
    to_photo = send(crops.to_photo.astype(np.float32))
    extent = torch.tensor(photo.shape[1::-1], device=device, dtype=torch.float32)[:, None, None]
    rows = max(1, _BAND_TEXELS // size)
    albedo = torch.empty(size, size, 3, dtype=torch.uint8, device=device)
    observed, covered = 0.0, 0
    for top in range(0, size, rows):
        height = min(rows, size - top)
        flat = torch.stack([uvs[:, 0] * size, (1 - uvs[:, 1]) * size - top, torch.ones_like(uvs[:, 0])], 1)
        raster = rasterization.rasterise(flat[None], triangles, height, size, perspective=False)
        x, y, depth, facing = rasterization.interpolate(values[None], triangles, raster)[0].unbind(-1)
        place = torch.stack([x, y])
        seen = smoothstep((facing - _FACING[0]) / (_FACING[1] - _FACING[0]))
        seen = seen * (sample_picture(nearest[None], place / (2 * CENTRE))[0] + _DEPTH_SLACK > depth)
        seen = seen * sample_picture(mask, place / (2 * CENTRE))[0] * raster.covered[0]
        in_photo = place * to_photo[:2, None, None] + to_photo[2:, None, None]
        seen = seen * ((in_photo > 0) & (in_photo < extent)).all(0)
        row = (torch.arange(height, device=device) + top + 0.5) / size
        column = (torch.arange(size, device=device) + 0.5) / size
        own = torch.stack([column.expand(height, size), row[:, None].expand(height, size)])
        beneath = sample_picture(fit, own, mode="bicubic")
        colour = beneath + (sample_picture(picture, in_photo / extent) - beneath) * seen
        albedo[top : top + height] = (colour.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0)
        observed += float(seen.sum())
        covered += int(raster.covered.sum())
    return FrontTexture(albedo=albedo.cpu().numpy(), observed=observed / max(covered, 1))


def project_to_crop(vertices: Tensor) -> Tensor:
    """Return (N, 3): x and y in pixels of the small crop, y down, and depth, of `FittedFront.vertices`."""
    depth = CAMERA_DISTANCE - vertices[:, 2]
    across, up = FOCAL * vertices[:, 0] / depth, FOCAL * vertices[:, 1] / depth
    return torch.stack([CENTRE + across, CENTRE - up, depth], dim=1)


def _depth_map(pixels: Tensor, triangles: Tensor) -> Tensor:
    """Return the depth (D, D) of what the camera sees of the small crop."""
    scale = _DEPTH_SIDE / (2 * CENTRE)
    scaled = pixels * torch.tensor([scale, scale, 1.0], device=pixels.device)
    depth = rasterization.rasterise(scaled[None], triangles, _DEPTH_SIDE, _DEPTH_SIDE).depth[0]
    # Beside the face nothing hides anything; a mean of border and infinity would be infinite.
    return depth.clamp(max=2 * CAMERA_DISTANCE)


def _facing(vertices: Tensor, triangles: Tensor) -> Tensor:
    """Return the cosine (N,) between each vertex's normal and the direction to the camera."""
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    across = torch.linalg.cross(b - a, c - a)
    normals = torch.zeros_like(vertices)
    for corner in range(3):
        normals.index_add_(0, triangles[:, corner], across)
    towards = torch.tensor([0, 0, CAMERA_DISTANCE], device=vertices.device) - vertices
    return (functional.normalize(normals, dim=1) * functional.normalize(towards, dim=1)).sum(1)
