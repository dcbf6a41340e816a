"""Keypoint matches between two photos of a person, and what they say of the head's shape and poses.

The landmarks of a person err by the same in each photo, so two photos by their landmarks alone know little
more than one. What tells depth is where the same point of skin lies in both. Patches of the first photo are
looked for in the other (patch_alignment.py); each that is found is two equations,

    place in the other photo + G (projection in the first - place in the first) - projection in the other = 0,

with G the affine map between both photos at that point (surface_samples.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gpu_workers.head.fitting.linear_model import DTYPE
from gpu_workers.head.fitting.observation import Observation
from gpu_workers.head.fitting.patch_alignment import GreyPyramid, match_there_and_back
from gpu_workers.head.fitting.surface_samples import Lens, ViewSurface, projection_slope
from gpu_workers.head.ops.rigid_transforms import Pose, cross_matrix, project
from gpu_workers.head.segmentation.face_masks import FaceMasks

#: Least correlation of a patch in both photos; how far it may lie from its place when it is looked for the
#: way back, and from where the head so far predicts it, eye distances.
_LEAST_AGREEMENT, _FARTHEST_BACK, _FARTHEST = 0.8, 0.006, 0.15
#: Least confidence (FaceMasks) of what is taken for skin.
_SKIN = 0.1
#: What every match errs by at least, eye distances.
_LEAST_ERROR = 0.003
#: A match moves like N neighbours. What does not is hair that hangs before the skin, gloss or a shadow.
_NEIGHBOURS, _SIFTINGS = 8, 2
#: Residuals above this number of deviations count linearly.
_HUBER = 2.0
#: Photos of two people agree by chance: on renders in 0.02 to 0.06 of the points that both should show,
#: photos of one person in another light and with another expression in 0.25 to 0.7.
_LEAST_SHARE, _FEWEST = 0.2, 60
#: Information, 1 / pixels^2, that a patch without texture keeps: a matrix that can be inverted.
_NOTHING = 1e-6


@dataclass(frozen=True, kw_only=True)
class Matches:
    """N keypoint matches between the first photo and another."""

    #: Row of the other photo.
    view: int
    #: (N,) rows of the surface's points.
    points: Tensor
    #: (N, 2) pixels of the first photo, and of the other.
    first: Tensor
    other: Tensor
    #: (N, 2, 2) how far a place in the other photo moves with one in the first.
    affine: Tensor
    #: (N, 2, 2) inverse covariance, 1 / pixels^2 of the other photo.
    information: Tensor

    def __len__(self) -> int:
        return len(self.points)


@dataclass(frozen=True, kw_only=True)
class MatchRows:
    """What N matches say of the unknowns of the first photo and of another."""

    #: Row of the other photo.
    view: int
    #: (N, 2) pixels of the other photo.
    missing: Tensor
    #: (N, 2, 6 + C) how `missing` falls with the unknowns of the first photo, and of the other: rotation and
    #: translation in the level camera's frame, coefficients.
    by_first: Tensor
    by_other: Tensor
    #: (N, 2, 2) weights, 1 / pixels^2.
    weights: Tensor


class ViewMatcher:
    """Compares the first of V photos with the others.

    Args:
        photos: (H, W, 3) uint8 each, on the surface's device.
        seen: what the detector saw in them, eyes level.
        turn: (V, 3, 3) from the level camera's frame to the photo's.
        masks: of the first photo: what is no skin there, like hair, does not lie on the surface.
    """

    def __init__(
        self,
        surface: ViewSurface,
        photos: Sequence[Tensor],
        seen: Observation,
        turn: Tensor,
        masks: FaceMasks,
    ) -> None:
        self._masks = masks
        self._surface = surface
        self._seen = seen
        self._turn = turn
        self._eyes = [float(eyes) for eyes in seen.eye_distance]
        self._lenses = [Lens(focal=seen.focal[view], centre=seen.centre[view]) for view in range(len(photos))]
        self._pyramids = [GreyPyramid(photo, eyes) for photo, eyes in zip(photos, self._eyes, strict=True)]

    def find(self, coefficients: Tensor, pose: Pose, unlike: float) -> list[Matches]:
        """Look for the first photo's skin in the others; those that show too little of it are left out.

        Args:
            coefficients: (V, C) of a head that is nearly right.
            pose: (V, ...) in the level cameras' frames.
            unlike: a match's move from where the head predicts it may differ so much from its neighbours',
                eye distances.
        """
        found = [self._find(view, coefficients, pose, unlike) for view in range(1, len(self._pyramids))]
        return [matches for matches in found if matches is not None]

    def _find(self, view: int, coefficients: Tensor, pose: Pose, unlike: float) -> Matches | None:
        pair = [0, view]
        turn = self._turn[pair]
        in_photo = Pose(turn @ pose.rotation[pair], (turn @ pose.translation[pair][..., None])[..., 0])
        lenses = self._lenses[0], self._lenses[view]
        patches, seen = self._surface.patches(
            coefficients[pair], in_photo, lenses, (self._eyes[0], self._eyes[view])
        )
        seen &= self._is_skin(patches.places)
        match, back = match_there_and_back(self._pyramids[0], self._pyramids[view], patches)
        visible = int(seen.sum())
        seen &= match.agreement > _LEAST_AGREEMENT
        seen &= back < _FARTHEST_BACK * self._eyes[0]
        moves = match.places - patches.expected
        seen &= moves.norm(dim=1) < _FARTHEST * self._eyes[view]
        points = seen.nonzero()[:, 0]
        if len(points) < _LEAST_SHARE * visible:
            return None
        for _ in range(_SIFTINGS):
            if len(points) < _FEWEST:
                return None
            alike = _moves_like_neighbours(patches.places[points], moves[points], unlike * self._eyes[view])
            points = points[alike]
        if len(points) < _FEWEST:
            return None
        one = torch.eye(2, dtype=DTYPE, device=points.device)
        covariance = torch.linalg.inv(match.information[points].to(DTYPE) + _NOTHING * one)
        return Matches(
            view=view,
            points=points,
            first=patches.places[points].to(DTYPE),
            other=match.places[points].to(DTYPE),
            affine=patches.affine[points].to(DTYPE),
            information=torch.linalg.inv(covariance + (_LEAST_ERROR * self._eyes[view]) ** 2 * one),
        )

    def _is_skin(self, places: Tensor) -> Tensor:
        """Return which places (N, 2) of the first photo show skin."""
        confidence = self._masks.confidence
        row_and_column = (places / self._masks.reduction).flip(1).long()
        size = torch.tensor(confidence.shape, device=places.device)
        row, column = row_and_column.clamp(min=0).minimum(size - 1).unbind(1)
        skin: Tensor = confidence[row, column] > _SKIN
        return skin

    def rows(self, matches: Sequence[Matches], coefficients: Tensor, pose: Pose) -> list[MatchRows]:
        """Return what matches say at coefficients (V, C) and poses (V, ...)."""
        return [self._rows(one, coefficients, pose) for one in matches]

    def _rows(self, matches: Matches, coefficients: Tensor, pose: Pose) -> MatchRows:
        base = self._surface.base[matches.points].to(DTYPE)
        columns = self._surface.columns[matches.points].to(DTYPE)
        slopes, pixels = [], []
        for view in (0, matches.view):
            turned = (base + columns @ coefficients[view]) @ pose.rotation[view].mT
            placed = (turned + pose.translation[view]) @ self._turn[view].mT
            lens = self._lenses[view]
            pixels.append(project(placed[None], lens.focal[None], lens.centre[None])[0])
            slope = projection_slope(placed, lens) @ self._turn[view]
            by_coefficients = (slope @ pose.rotation[view]) @ columns
            slopes.append(torch.cat([slope @ -cross_matrix(turned), slope, by_coefficients], dim=2))
        slid = (matches.affine @ (pixels[0] - matches.first)[..., None])[..., 0]
        missing = matches.other + slid - pixels[1]
        deviations = (
            (missing[:, None] @ matches.information @ missing[..., None])[:, 0, 0].clamp(min=0).sqrt()
        )
        robust = _HUBER / deviations.clamp(min=_HUBER)
        return MatchRows(
            view=matches.view,
            missing=missing,
            by_first=-matches.affine @ slopes[0],
            by_other=slopes[1],
            weights=matches.information * robust[:, None, None],
        )


def _moves_like_neighbours(places: Tensor, moves: Tensor, limit: float) -> Tensor:
    """Return which matches (N,) at places (N, 2) move (N, 2) as those around them do, to N pixels."""
    around = (
        torch.cdist(places, places, compute_mode="donot_use_mm_for_euclid_dist")
        .topk(_NEIGHBOURS + 1, dim=1, largest=False)
        .indices[:, 1:]
    )
    usual = moves[around].median(dim=1).values
    alike: Tensor = (moves - usual).norm(dim=1) < limit
    return alike
