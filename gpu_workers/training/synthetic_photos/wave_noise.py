"""Smooth free-form displacement: a few plane waves, partly mirrored."""

import torch
from torch import Tensor

from gpu_workers.training.constants import constant


def free_form_noise(positions: Tensor, wave: Tensor, phase: Tensor, push: Tensor, share: Tensor) -> Tensor:
    """Return displacements (B, V, 3) in the unit of `push`.

    Args:
        positions: (V, 3) head's frame, x across.
        wave: (B, 3, W) radians a unit of length; phase: (B, W) radians; push: (B, W, 3).
        share: (B,) of the field's mirror image; 0.5 makes the field symmetric.
    """
    flip = constant((-1.0, 1.0, 1.0), positions.device)
    here = torch.sin(positions @ wave + phase[:, None]) @ push
    there = torch.sin((positions * flip) @ wave + phase[:, None]) @ push * flip
    return torch.lerp(here, there, share[:, None, None])
