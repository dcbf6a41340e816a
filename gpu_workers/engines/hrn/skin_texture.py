"""The fitted texture under engine anny's bake of the skin, where the camera saw neither side.

What hair covers stays engine anny's: the pipeline's texture shows the hair there.

Only the albedo changes. Normals, roughness, occlusion and displacement, and the facts of tone and hair, were
made from engine anny's albedo before: where the fitted texture lies, their fine relief is of what it covers.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from face3d.head import Head
from gpu_workers.engines.hrn.front_binding import FrontBinding
from gpu_workers.head.model.head_template import HeadData
from gpu_workers.head.model.posed_head import pack_camera, stack_vertices
from gpu_workers.head.ops.image import sample_picture
from gpu_workers.head.segmentation.face_masks import FaceMasks
from gpu_workers.head.texturing.projection import project_skin
from gpu_workers.head.texturing.uv_atlas import SkinAtlas, load_skin_atlas

#: Rows of the map changed at once.
_BAND = 512
#: Gains outside of this are no difference of light.
_GAINS = (0.5, 2.0)
#: Fewer texels say nothing of the tone.
_FEWEST = 500


@dataclass(frozen=True, kw_only=True)
class FittedSkin:
    """A map with the fitted colours in it."""

    #: (S, S, 3) uint8 sRGB.
    albedo: NDArray[np.uint8]
    #: Share of the face's texels that show the fitted texture.
    share: float


@torch.no_grad()
def lay_under(
    albedo: NDArray[np.uint8],
    masks: FaceMasks,
    head: Head,
    data: HeadData,
    binding: FrontBinding,
    fit: tuple[NDArray[np.float32], NDArray[np.float32]],
    device: torch.device,
) -> FittedSkin:
    """Return the map with the fitted texture where the photo shows neither a place nor its mirror image.

    Args:
        albedo: (S, S, 3) sRGB, baked by engine anny from the same photo and head.
        masks: of that photo.
        fit: the fitted texture (256, 256, 3), RGB 0..1, and the front's UVs (N, 2), v up.
    """
    atlas = load_skin_atlas(data, device)
    texture, uvs = fit
    seen, reached = _seen(masks, head, atlas)
    reached = torch.maximum(reached, reached.flip(-1) * atlas.main)
    places = _send(np.column_stack([binding.sample(uvs.astype(np.float64)), binding.trust]), device)
    across, up, trust = atlas.spread(places)
    colour = sample_picture(
        _send(texture, device).permute(2, 0, 1), torch.stack([across, 1 - up]), mode="bicubic"
    )
    region = trust.clamp(0, 1) * atlas.covered
    share = region * (1 - reached)
    size = albedo.shape[0]
    out = torch.from_numpy(albedo).to(device).permute(2, 0, 1)
    small = functional.interpolate(out[None].float() / 255, share.shape[-2:], mode="area")[0]
    colour = (colour.clamp(0, 1) * _gain(colour, small, (seen > 0.9) & (region > 0.9))).clamp(0, 1)
    out, layer = out.clone(), torch.cat([colour, share[None]])
    columns = (torch.arange(size, device=device) + 0.5) / size
    for top in range(0, size, _BAND):
        rows = columns[top : top + _BAND]
        grid = torch.stack([columns.expand(len(rows), size), rows[:, None].expand(len(rows), size)])
        large = sample_picture(layer, grid)
        above = out[:, top : top + _BAND] / 255
        mixed = above + (large[:3] - above) * large[3]
        out[:, top : top + _BAND] = (mixed * 255).round().to(torch.uint8)
    face = atlas.masks["face"] * atlas.covered
    return FittedSkin(
        albedo=np.ascontiguousarray(out.permute(1, 2, 0).cpu().numpy()),
        share=float((share * face).sum() / face.sum().clamp(min=1)),
    )


def _seen(masks: FaceMasks, head: Head, atlas: SkinAtlas) -> tuple[Tensor, Tensor]:
    """Return (S, S) 0..1 each: how well the photo shows each texel as skin, and as anything at all."""
    device = atlas.triangles.device
    projection = project_skin(
        _send(stack_vertices(head), device),
        _send(pack_camera(head.camera), device),
        atlas,
        (masks.confidence.shape[0], masks.confidence.shape[1]),
    )
    confidence = sample_picture(masks.confidence.to(device)[None], projection.coordinates)
    facing = ((projection.cosine - 0.1) / 0.3).clamp(0, 1)
    reached = (projection.visible * facing)[0]
    return confidence[0] * reached, reached


def _gain(colour: Tensor, baked: Tensor, chosen: Tensor) -> Tensor:
    """Return (3, 1, 1): what takes the fitted colours to the map's, where both know the place."""
    if int(chosen.sum()) < _FEWEST:
        return torch.ones(3, 1, 1, device=colour.device)
    ratio = baked[:, chosen].median(1).values / colour[:, chosen].median(1).values.clamp(min=0.05)
    return ratio.clamp(*_GAINS)[:, None, None]


def _send(array: NDArray[np.generic], device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device).float()
