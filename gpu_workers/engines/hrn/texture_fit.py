"""The pipeline's fit of its 256 x 256 texture to the photo, drawn once: only the texture moves.

minimise 1.92 mean_mask |texture(uv) - photo| + 10 TV(change) by Adam, as `FaceReconModel.forward` does, which
draws the same triangles twice in every step.
"""

from typing import Any

import torch
from torch import Tensor

from gpu_workers.engines.hrn import rendering

#: The pipeline's.
_LEARNING_RATE = 1e-2


def fit_texture(model: Any, vertex: Tensor, start: Tensor, picture: Tensor, steps: int) -> Tensor:
    """Return the texture (1, 3, 256, 256) after N steps.

    Args:
        model: ModelScope's FaceReconModel: renderer, weights of the terms.
        vertex: (1, N, 3) the face in the camera's space.
        start: (1, 3, 256, 256) the texture before, RGB 0..1.
        picture: (1, 3, 224, 224) what the drawn face shall look like.
    """
    if steps <= 0:
        return start
    from modelscope.models.cv.face_reconstruction.models.losses import TVLoss

    places, mask = _draw(model, vertex)
    covered, smoothness = mask[..., None], TVLoss()
    coverage = mask[:, None]
    with torch.enable_grad():
        change = torch.zeros_like(start, requires_grad=True)
        optimiser = torch.optim.Adam([change], lr=_LEARNING_RATE)
        for _ in range(steps):
            texture = (start + change).permute(0, 2, 3, 1).contiguous()
            drawn = rendering.texture(texture, places) * covered
            colour = model.compute_color_loss(drawn.permute(0, 3, 1, 2), picture, coverage)
            loss = model.w_color * colour + smoothness(change) * model.w_tex_smooth
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return (start + change).detach()


@torch.no_grad()
def _draw(model: Any, vertex: Tensor) -> tuple[Tensor, Tensor]:
    """Return the texture's places (1, H, W, 2), v down, and the coverage (1, H, W) of the small picture."""
    renderer = model.renderer
    homogeneous = torch.cat([vertex, torch.ones_like(vertex[..., :1])], dim=-1)
    homogeneous[..., 1] = -homogeneous[..., 1]
    clip = homogeneous @ renderer.ndc_proj.to(vertex.device).t()
    faces = model.facemodel_front.face_buf
    side = int(renderer.rasterize_size)
    drawn, _ = rendering.rasterize(rendering.RasterizeCudaContext(), clip, faces, [side, side])
    uvs = model.bfm_UVs.clone()
    uvs[..., -1] = 1 - uvs[..., -1]
    places, _ = rendering.interpolate(uvs, drawn, faces)
    return places, drawn[..., 3].clamp(0, 1)
