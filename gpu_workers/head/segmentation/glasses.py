"""Spectacle frames in a reduced photo: thin dark lines over the nose's bridge and under both eyes."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from face3d.messages import Array
from gpu_workers.head.model.mediapipe_landmarks import INNER_EYE_CORNERS, LEFT_LIDS, RIGHT_LIDS
from gpu_workers.head.ops.morphology import dilate, least_around, square_costs
from gpu_workers.head.runtime import cuda_graphs

_LOWER_LIDS = (RIGHT_LIDS[:9], LEFT_LIDS[:9])
#: MediaPipe's landmarks of the bridge of the nose, from the brows down.
_BRIDGE_TOP, _BRIDGE_END = 9, 197
#: Strips over the bridge and under an eye.
_STRIPS = (7, 11, 11)
#: All below are shares of the outer-eye distance: the thickest frame, where frames are looked for from the
#: lower lid down, and how far round a frame's pixel nothing is skin.
_THICKEST, _UNDER_LID, _REACH = 0.11, (0.07, 0.50), 0.035
#: How far eyes and brows, which are dark lines too, reach round their outlines.
_EYE_MARGIN, _BROW_MARGIN = 0.04, 0.02
#: A frame is so much darker than the skin beside it, CIELAB; wrinkles reach 12, thin grey frames 16. At so
#: large a share of the columns it is, and where there is one, so little belongs to it.
_CONTRAST, _COLUMNS, _EDGE_CONTRAST = 14.0, 0.85, 9.0
#: The largest of the sizes below at the largest face in a reduced photo.
_WIDEST = 4


@dataclass(frozen=True)
class FrameSearch:
    """Where frames are looked for: numbers on a device."""

    #: (29, 3) column, first row and last row of strips that a frame crosses: of the bridge, of either eye.
    strips: Tensor
    #: (2,) first and last row of what may be a frame.
    rows: Tensor
    #: (4,) pixels: half the thickest frame, how far eyes, brows and a frame reach.
    sizes: Tensor


def plan_search(points: Array, eye_distance: float, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return what `unpack_search` makes a `FrameSearch` of.

    Args:
        points: (478, 2) landmarks, pixels.
        shape: height, width of the picture.
    """
    height, width = shape
    strips = np.concatenate(
        [_bridge(points), *(_under(points, chain, eye_distance) for chain in _LOWER_LIDS)]
    )
    strips = np.clip(strips, [0, 0, 1], [width - 1, height - 1, height]).astype(int)
    top = min(points[_BRIDGE_TOP, 1], points[list(RIGHT_LIDS), 1].min() - 0.1 * eye_distance)
    bottom = points[list(_LOWER_LIDS[0] + _LOWER_LIDS[1]), 1].max() + _UNDER_LID[1] * eye_distance
    thickest = max(3, round(_THICKEST * eye_distance) | 1)
    reaches = (max(1, round(share * eye_distance)) for share in (_EYE_MARGIN, _BROW_MARGIN, _REACH))
    return np.array([*strips.ravel(), int(top), int(bottom), thickest // 2, *reaches], np.float32)


def unpack_search(numbers: Tensor) -> FrameSearch:
    """Return the search that `plan_search` planned."""
    strips, rows, sizes = torch.split(numbers, [3 * sum(_STRIPS), 2, 4])
    return FrameSearch(strips.view(-1, 3), rows, sizes)


def find_frames(lightness: Tensor, eyes: Tensor, brows: Tensor, search: FrameSearch) -> tuple[Tensor, Tensor]:
    """Return the (h, w) pixels of a spectacle frame, and () whether there is one.

    Args:
        lightness: (h, w) CIELAB.
        eyes, brows: (h, w) bool: inside their outlines.
    """
    half, eye_margin, brow_margin, reach = search.sizes
    square = square_costs(half, _WIDEST)
    lines = least_around(-least_around(-lightness, square), square) - lightness
    seen = torch.stack([share >= _COLUMNS for share in _shares(lines, search.strips)]).all()
    if not cuda_graphs.waits_for_values(seen) and not seen:
        return torch.zeros_like(eyes), seen
    row = torch.arange(len(lines), device=lines.device)[:, None]
    zone = (row >= search.rows[0]) & (row < search.rows[1])
    own = dilate(eyes, eye_margin, _WIDEST) | dilate(brows, brow_margin, _WIDEST)
    frames = zone & ~own & (lines > _EDGE_CONTRAST)
    return dilate(frames, reach, _WIDEST) & ~own & seen, seen


def _bridge(points: Array) -> NDArray[np.float64]:
    """Return (7, 3) column, first row, last row of the strips over the nose's bridge."""
    inner = np.sort(points[list(INNER_EYE_CORNERS), 0])
    middle, half = inner.mean(), 0.2 * (inner[1] - inner[0])
    top, bottom = points[_BRIDGE_TOP, 1], points[_BRIDGE_END, 1]
    columns = np.linspace(middle - half, middle + half, _STRIPS[0])
    return np.stack(np.broadcast_arrays(columns, top, bottom), 1)


def _under(points: Array, chain: tuple[int, ...], eye_distance: float) -> NDArray[np.float64]:
    """Return the strips (11, 3) under an eye."""
    lid = points[list(chain)]
    order = np.argsort(lid[:, 0])
    low, high = lid[:, 0].min(), lid[:, 0].max()
    columns = np.linspace(low + 0.15 * (high - low), high - 0.15 * (high - low), _STRIPS[1])
    rows = np.interp(columns, lid[order, 0], lid[order, 1])
    first, last = (share * eye_distance for share in _UNDER_LID)
    return np.stack([columns, rows + first, rows + last], 1)


def _shares(lines: Tensor, strips: Tensor) -> list[Tensor]:
    """Return the shares of the strips over the bridge and under either eye that a dark line crosses."""
    columns, first, last = strips.T[..., None]
    row = torch.arange(len(lines), device=lines.device)
    looked_at = (row >= first) & (row < last)
    crossed = ((lines[:, columns[:, 0].long()].T > _CONTRAST) & looked_at).any(1).float()
    return [part.mean() for part in torch.split(crossed, list(_STRIPS))]
