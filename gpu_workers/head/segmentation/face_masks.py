"""Where a photo shows skin of the face: made once a photo on a reduced picture, on CPU or CUDA.

On a GPU all of it is one CUDA graph a size of photo, and nothing is read back.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from face3d.messages import Array
from gpu_workers.head.model.mediapipe_landmarks import eye_distance
from gpu_workers.head.ops.image import MASK_EYE_DISTANCE, smoothstep
from gpu_workers.head.ops.masked_statistics import constant
from gpu_workers.head.ops.morphology import distance_to
from gpu_workers.head.runtime.device_runtime import DeviceRuntime
from gpu_workers.head.runtime.graphed_function import GraphedFunction
from gpu_workers.head.runtime.host_transfer import to_device
from gpu_workers.head.segmentation.confidence import FEATHER, TRUSTED_INSET, find_confidence
from gpu_workers.head.segmentation.downsampling import reduce_photo, to_lab
from gpu_workers.head.segmentation.glasses import find_frames
from gpu_workers.head.segmentation.landmark_outlines import (
    REDUCTION_RATIO,
    MaskPlan,
    draw_plan,
    most_pixels,
    unpack_plan,
)
from gpu_workers.head.segmentation.skin_color_model import choose_samples, chosen_medians, rate_skin

#: Kinds of photo (size, size of the face in it) whose graphs are kept.
_GRAPHS = 12
#: Shares of the outer-eye distance: round a spectacle frame, and as far as colours are looked at.
_FRAME_FEATHER, _SURROUNDINGS = 0.03, 1.0
#: Where the middle of the face lies inside its contour, and what the stretched forehead leaves to the hair.
_SEED_INSET, _HAIRLINE = 0.14, 0.06
#: Pixels that are needed to know a skin.
_FEWEST_SEEDS = 60
#: CIELAB of skin where none is seen, its spread in the two hues, and where another hue begins, in spreads.
_USUAL_SKIN = (65.0, 14.0, 16.0)
_HUE_SPREAD = (7.5, 9.0)
_HUE_LIMITS = (1.3, 2.1)
#: In CIELAB's lightness.
_HOLE_DARKNESS = 12.0
#: Lightness of the skin's from which a hue says something, and how much more until it counts in full.
_BRIGHT_FROM, _BRIGHT_RANGE = 0.5, 0.15
#: Prior of skin: the least, what the face has more, how far outside the contour it begins, over how far.
_LEAST_PRIOR, _PRIOR_RANGE, _PRIOR_BEGINS, _PRIOR_WIDTH = 0.1, 0.8, 0.25, 0.5


@dataclass(frozen=True, kw_only=True)
class FaceMasks:
    """Masks of a photo, each a reduced picture of all of it; tensors of one device."""

    #: (H, W, 3) uint8 sRGB: the photo.
    photo: Tensor
    #: (h, w) float32 in 0..1: how far a pixel may be painted on the face.
    confidence: Tensor
    #: (h, w) float32 in 0..1: how much a pixel's colour is skin.
    skin: Tensor
    #: Pixels of the photo to one of the masks, a power of a fixed ratio.
    reduction: float
    #: (2,) `glasses` and `covered`; a GPU's are read when they are asked for.
    measures: Tensor

    @property
    def glasses(self) -> bool:
        """Whether a spectacle frame was found; it is no part of the skin then."""
        return self._read_measures[0] > 0

    @property
    def covered(self) -> float:
        """Share of the face, without eyes, brows and lips, that hair, glasses or something else hides."""
        return self._read_measures[1]

    @cached_property
    def _read_measures(self) -> list[float]:
        values: list[float] = self.measures.tolist()
        return values


class MaskFinder:
    """Makes the masks of photos; safe to call from several threads."""

    def __init__(self, runtime: DeviceRuntime) -> None:
        self._runtime = runtime
        self._make = GraphedFunction(make_masks, runtime.masks, keep=_GRAPHS)

    @torch.inference_mode()
    def find(self, photo: Array, landmarks: Array) -> FaceMasks:
        """Return the masks of a photo.

        Args:
            photo: (H, W, 3) uint8 sRGB.
            landmarks: (478, 2 or 3) pixels of the photo; MediaPipe's numbering.
        """
        points = np.asarray(landmarks[:, :2], np.float64)
        eyes = float(eye_distance(points))
        step = round(math.log(max(eyes, 1.0) / MASK_EYE_DISTANCE) / math.log(REDUCTION_RATIO))
        reduction = REDUCTION_RATIO ** max(0, step)
        height, width = (max(2, round(side / reduction)) for side in photo.shape[:2])
        scale = (width / photo.shape[1], height / photo.shape[0])
        drawn = draw_plan(points * scale, eyes * scale[0], (height, width))
        with self._runtime.beside("masks"):
            sent = to_device(photo, self._runtime.device)
            plan = torch.from_numpy(drawn.sheets), torch.from_numpy(drawn.numbers)
            masks, measures = self._make(sent, *plan)
        return FaceMasks(
            photo=sent, confidence=masks[0], skin=masks[1], reduction=reduction, measures=measures
        )


def find_masks(photo: Array, landmarks: Array, device: torch.device) -> FaceMasks:
    """Return the masks of one photo, without graphs; see `MaskFinder.find`."""
    return MaskFinder(DeviceRuntime(device)).find(photo, landmarks)


def make_masks(photo: Tensor, sheets: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """Return confidence and skin (2, h, w), and `FaceMasks.measures`; never waits for a GPU.

    Args:
        photo: (H, W, 3) uint8 sRGB.
        sheets, numbers: of `draw_plan`.
    """
    plan = unpack_plan(sheets, numbers)
    lab = to_lab(reduce_photo(photo, (sheets.shape[1], sheets.shape[2])))
    # What is asked of the face alone is made of its part of the picture, where that is cut out.
    cut, place = plan.cut()
    outside = ~torch.stack([cut.face, cut.stretched])
    depth, stretched_depth = distance_to(outside, most_pixels(TRUSTED_INSET)) / plan.eye_distance
    skin = _rate_skin(lab, _paste(depth, place, plan.face), plan)
    confidence = find_confidence(skin[place], *_compare(lab, plan.patches, place), stretched_depth, cut)
    frames, glasses = find_frames(lab[0], plan.eyes, plan.brows, plan.frames)
    beside = distance_to(frames[place], most_pixels(_FRAME_FEATHER))
    confidence = confidence * smoothstep(beside / (_FRAME_FEATHER * plan.eye_distance))
    face = (depth > FEATHER[1]) & ~(cut.eye_regions | cut.lips)
    # A face of no pixel is one that nobody sees.
    covered = torch.where(face.any(), ((confidence < 0.5) & face).sum() / face.sum(), 1.0)
    confidence = _paste(confidence, place, plan.face)
    masks = torch.stack([confidence, skin * ~frames]) * plan.around_openings
    return masks, torch.stack([glasses.float(), covered])


def _paste(part: Tensor, place: tuple[slice, slice], like: Tensor) -> Tensor:
    """Return a picture (h, w) that is 0 but for one part of it."""
    if part.shape == like.shape:
        return part
    whole = part.new_zeros(like.shape)
    whole[place] = part
    return whole


def _compare(lab: Tensor, patches: Tensor, place: tuple[slice, slice]) -> tuple[Tensor, Tensor]:
    """Return of a part of the photo: clearly darker than the skin; 0..1 as bright, but of another hue.

    A lock of hair over a brow and the white of an eye are of another hue; brows and lashes are dark.
    """
    samples = choose_samples(lab.reshape(3, -1), patches.view(-1))
    reference = chosen_medians(samples.values, samples.valid)
    lab = lab[(slice(None), *place)]
    reference = torch.where(samples.valid.any(), reference, constant(_USUAL_SKIN, lab.device))
    moved = (lab[1:] - reference[1:, None, None]) / constant(_HUE_SPREAD, lab.device)[:, None, None]
    low, high = _HUE_LIMITS
    bright = smoothstep((lab[0] / reference[0].clamp(min=1) - _BRIGHT_FROM) / _BRIGHT_RANGE)
    return (
        lab[0] < reference[0] - _HOLE_DARKNESS,
        bright * smoothstep((moved.square().sum(0).sqrt() - low) / (high - low)),
    )


def _rate_skin(lab: Tensor, depth: Tensor, plan: MaskPlan) -> Tensor:
    """Return (h, w) in 0..1: how much a pixel's colour is the skin's that the middle of the face shows.

    Args:
        depth: (h, w) inside the contour of the face, in outer-eye distances.
    """
    row = torch.arange(lab.shape[1], device=lab.device)[:, None] + 0.5
    inside = (depth > _SEED_INSET) & ~(plan.eye_regions | plan.lips) & (row < plan.nose[1])
    inside = torch.where(inside.sum() < _FEWEST_SEEDS, plan.face, inside)
    far = distance_to(plan.face, most_pixels(_SURROUNDINGS)) / plan.eye_distance
    prior = _LEAST_PRIOR + _PRIOR_RANGE * smoothstep((depth - far + _PRIOR_BEGINS) / _PRIOR_WIDTH)
    # Above the eyes, beside and over the forehead, is hair or background; below lies the neck.
    from_forehead = distance_to(plan.stretched, most_pixels(_HAIRLINE)) / plan.eye_distance
    around = (far < _SURROUNDINGS) & (from_forehead > _HAIRLINE)
    upper = row < plan.eye_row
    return rate_skin(lab, inside, around & upper, around & ~upper, prior)
