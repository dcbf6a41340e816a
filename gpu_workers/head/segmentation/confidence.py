"""How far a pixel of the photo may be painted on the face: what is skin, and belongs to the face."""

import torch
from torch import Tensor

from gpu_workers.head.ops.image import smoothstep
from gpu_workers.head.ops.morphology import (
    close,
    distance_to,
    fill_holes,
    least_around,
    parts_with,
    square_costs,
)
from gpu_workers.head.segmentation.landmark_outlines import MaskPlan, most_pixels

#: All below are shares of the outer-eye distance: the feather inside the contour, and the middle of the face
#: where everything is trusted.
FEATHER = (0.02, 0.15)
TRUSTED_INSET = 0.30
_REJECTION_FEATHER = 0.11
#: Half the width of what is too narrow to be a part of the face.
_STRIP = 0.13
_EYE_FEATHER = 0.04
_CENTRE_WIDTH = (0.36, 0.54)
#: Steps that close the skin's colour.
_PORES = 2
#: Half the side of the largest eroding square, most steps that close gaps (landmark_outlines.py).
_WIDEST_EROSION, _WIDEST_GAPS = 3, 6


def find_confidence(
    skin: Tensor, darker: Tensor, foreign: Tensor, stretched_depth: Tensor, plan: MaskPlan
) -> Tensor:
    """Return the confidence (h, w) in 0..1.

    Args:
        skin: (h, w) likelihood of skin.
        darker: (h, w) bool: clearly darker than it.
        foreign: (h, w) in 0..1: as bright, but of another hue.
        stretched_depth: (h, w) within the contour with the forehead, in outer-eye distances; as far as
            `TRUSTED_INSET` at least.
    """
    eye_distance = plan.eye_distance
    feather = smoothstep((stretched_depth - FEATHER[0]) / (FEATHER[1] - FEATHER[0]))
    trusted = _find_trusted(foreign * (1 - skin), stretched_depth, plan)
    # Highlights are holes in the skin's colour; a fringe amid highlights is one too, but a dark one.
    closed = close(skin > 0.5, torch.full_like(plan.gaps, _PORES), _PORES, plan.window)
    whole = torch.maximum(skin, (fill_holes(closed, plan.window) & ~darker).float())
    # A hair's blurred edge carries the hair's colour: erosion. Skin-coloured strands are no part of the face.
    square = square_costs(plan.erosion, _WIDEST_EROSION)
    eroded = least_around(torch.maximum(whole, (~plan.window).float()), square)
    middle = trusted > 0.5
    islands = parts_with(middle, ((eroded > 0.5) | middle) & plan.window)
    # Erosion opened gaps round the brows: closed again. A fringe shades the skin beside it: a wide feather,
    # inwards only.
    accepted = close(islands, plan.gaps, _WIDEST_GAPS, plan.window) & (feather > 0)
    # A strip beyond a lock of hair, and what hangs on it by a thread, shows more hair than face.
    strip, most = _STRIP * eye_distance, most_pixels(_STRIP)
    core = accepted & (distance_to(~accepted & plan.window, most) > strip)
    accepted = distance_to(core, most) <= strip
    away = distance_to(~accepted & plan.window, most_pixels(_REJECTION_FEATHER))
    return feather * smoothstep(away / (_REJECTION_FEATHER * eye_distance))


def _find_trusted(hair: Tensor, depth: Tensor, plan: MaskPlan) -> Tensor:
    """Return (h, w) in 0..1: where the face is, whatever its colour.

    The colour decides at the sides and on the forehead, where hair and background are; brows, eyes and a
    beard are as dark as hair and belong to the face.

    Args:
        hair: (h, w) in 0..1: a lock of hair, and lips, are of another hue than the skin.
    """
    eye_distance, (nose_x, nose_y), (chin_x, chin_y) = plan.eye_distance, plan.nose, plan.chin
    height, width = hair.shape
    row = torch.arange(height, device=hair.device)[:, None] + 0.5
    column = torch.arange(width, device=hair.device) + 0.5
    middle = smoothstep((depth - 0.6 * TRUSTED_INSET) / (0.4 * TRUSTED_INSET))
    below_brows = smoothstep((row - (plan.brow_rows - 0.04 * eye_distance)) / (0.06 * eye_distance))
    below_nose = smoothstep((row - nose_y) / (0.3 * eye_distance))
    along = ((row - nose_y) / (chin_y - nose_y + 1e-6)).clamp(0, 1)
    axis = nose_x + along * (chin_x - nose_x)
    low, high = _CENTRE_WIDTH
    central = smoothstep((high - (column - axis).abs() / eye_distance) / (high - low))
    from_eyes = distance_to(plan.eye_regions, most_pixels(_EYE_FEATHER)) / (_EYE_FEATHER * eye_distance)
    near_eyes = smoothstep(1 - from_eyes)
    coloured = torch.maximum(middle * below_brows, near_eyes) * (1 - hair)
    return torch.maximum(coloured, below_nose * central)
