"""Where a photo shows skin of the face: made once a photo on a reduced picture, on CPU or CUDA.

On a GPU all of it is one CUDA graph a size of photo, and nothing is read back.
"""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from face3d.messages import Array
from gpu_workers.head.model.mediapipe_landmarks import OUTER_EYE_CORNERS
from gpu_workers.head.ops.image import MASK_EYE_DISTANCE, smoothstep
from gpu_workers.head.ops.masked_statistics import constant
from gpu_workers.head.ops.morphology import distance_to
from gpu_workers.head.runtime.cuda_graphs import MASKS, CapturedCall, beside
from gpu_workers.head.segmentation.confidence import FEATHER, TRUSTED_INSET, find_confidence
from gpu_workers.head.segmentation.downsampling import reduce_photo, to_lab
from gpu_workers.head.segmentation.glasses import find_frames
from gpu_workers.head.segmentation.landmark_outlines import (
    REDUCTION_RATIO,
    MaskPlan,
    PlanArrays,
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
#: So many pixels are needed to know a skin.
_FEWEST_SEEDS = 60
#: CIELAB of skin where none is seen, its spread in the two hues, and where another hue begins, in spreads.
_USUAL_SKIN = (65.0, 14.0, 16.0)
_HUE_SPREAD = (7.5, 9.0)
_HUE_LIMITS = (1.3, 2.1)
#: In CIELAB's lightness.
_HOLE_DARKNESS = 12.0


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


@torch.inference_mode()
def find_masks(photo: Array, landmarks: Array, device: torch.device, *, graphs: bool = True) -> FaceMasks:
    """Return the masks of a photo.

    Args:
        photo: (H, W, 3) uint8 sRGB.
        landmarks: (478, 2 or 3) pixels of the photo; MediaPipe's numbering.
        graphs: use a CUDA graph where the device can.
    """
    points = np.asarray(landmarks[:, :2], np.float64)
    eye_distance = float(np.linalg.norm(points[OUTER_EYE_CORNERS[0]] - points[OUTER_EYE_CORNERS[1]]))
    step = round(math.log(max(eye_distance, 1.0) / MASK_EYE_DISTANCE) / math.log(REDUCTION_RATIO))
    reduction = REDUCTION_RATIO ** max(0, step)
    height, width = (max(2, round(side / reduction)) for side in photo.shape[:2])
    scale = (width / photo.shape[1], height / photo.shape[0])
    drawn = draw_plan(points * scale, eye_distance * scale[0], (height, width))
    with beside(device, "masks"):
        sent = _send(photo, device)
        if graphs and device.type == "cuda":
            with MASKS.lock:
                graph = _captured(photo.shape, drawn.sheets.shape, len(drawn.numbers), device)
                masks, measures = graph(sent, drawn)
        else:
            masks, measures = make_masks(sent, _send(drawn.sheets, device), _send(drawn.numbers, device))
    return FaceMasks(photo=sent, confidence=masks[0], skin=masks[1], reduction=reduction, measures=measures)


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
    bright = smoothstep((lab[0] / reference[0].clamp(min=1) - 0.5) / 0.15)
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
    prior = 0.1 + 0.8 * smoothstep((depth - far + 0.25) / 0.5)
    # Above the eyes, beside and over the forehead, is hair or background; below lies the neck.
    from_forehead = distance_to(plan.stretched, most_pixels(_HAIRLINE)) / plan.eye_distance
    around = (far < _SURROUNDINGS) & (from_forehead > _HAIRLINE)
    upper = row < plan.eye_row
    return rate_skin(lab, inside, around & upper, around & ~upper, prior)


class _Graph:
    """The captured masks of one kind of photo."""

    def __init__(
        self, photo: tuple[int, ...], sheets: tuple[int, ...], numbers: int, device: torch.device
    ) -> None:
        self._photo = torch.zeros(photo, dtype=torch.uint8, device=device)
        self._sheets = torch.zeros(sheets, dtype=torch.uint8, device=device)
        self._numbers = torch.ones(numbers, device=device)
        self._captured = CapturedCall(
            lambda: make_masks(self._photo, self._sheets, self._numbers), device, MASKS
        )

    def __call__(self, photo: Tensor, drawn: PlanArrays) -> tuple[Tensor, Tensor]:
        """Return what `make_masks` does; hold `MASKS.lock` meanwhile."""
        self._photo.copy_(photo)
        for target, source in ((self._sheets, drawn.sheets), (self._numbers, drawn.numbers)):
            target.copy_(_send(source, target.device))
        masks, measures = self._captured.replay()
        # The next photo's come to the same place.
        return masks.clone(), measures.clone()


@lru_cache(maxsize=_GRAPHS)
def _captured(photo: tuple[int, ...], sheets: tuple[int, ...], numbers: int, device: torch.device) -> _Graph:
    return _Graph(photo, sheets, numbers, device)


def _send(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """Return an array on a device; to a GPU through page-locked memory, without waiting."""
    host = torch.from_numpy(array if array.flags.writeable else array.copy())
    if device.type == "cpu":
        return host
    if not host.is_pinned():
        host = torch.empty(host.shape, dtype=host.dtype, pin_memory=True).copy_(host)
    return host.to(device, non_blocking=True)
