"""Stage geometry: landmarks to a head with quality facts."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from face3d.head import ARKIT_NAMES, Camera, Head
from face3d.messages import Array
from face3d.options import JobOptions, bust_is_on
from face3d.quality import QualityReason, ReasonCode, judge, read_reason, verdict_of
from face3d.stage_results import DensePoints, FittedHead, PreprocessedPhoto
from gpu_workers.head.fitting.gauss_newton import Fit, fit_landmarks
from gpu_workers.head.fitting.gauss_newton_cuda import GraphedFit
from gpu_workers.head.fitting.linear_model import DTYPE, FitBasis
from gpu_workers.head.fitting.multi_view import fit_views
from gpu_workers.head.fitting.observation import NetworkPoints, Observation, join_photos, level_eyes
from gpu_workers.head.fitting.patch_correspondences import ViewMatcher
from gpu_workers.head.model.head_template import HeadData
from gpu_workers.head.model.mediapipe_landmarks import eye_distance
from gpu_workers.head.ops.rigid_transforms import Pose
from gpu_workers.head.rigging.bust import join_bust
from gpu_workers.head.rigging.fitted_head import AssembledHead, FittedPhoto, HeadMaker, SecondView
from gpu_workers.head.runtime.host_transfer import to_host
from gpu_workers.head.segmentation.face_masks import MaskFinder


@dataclass(frozen=True, kw_only=True)
class BegunGeometry:
    """A photo's head before the photo's quality is known."""

    fitted: FittedPhoto
    assembled: AssembledHead

    @property
    def head(self) -> Head:
        """The head, as the geometry stage hands it on; copied from the device when first asked for."""
        return self.assembled.head

    @property
    def posed(self) -> Tensor:
        """(V', 3) float32 metres, on the device: `posed_head.stack_vertices` of the head."""
        return self.assembled.posed

    @property
    def camera(self) -> Camera:
        """The head's camera."""
        return self.assembled.camera

    @property
    def smile(self) -> tuple[float, float]:
        """Left and right, 0..1: how far the photo's smile is left out of the base shape."""
        return self.assembled.smile


def reconstruct_batch(
    prepared: list[PreprocessedPhoto],
    options: list[JobOptions],
    maker: HeadMaker,
    basis: FitBasis | GraphedFit,
    finder: MaskFinder,
) -> list[FittedHead]:
    """Fit several photos' heads at once: one solve on the device, then one assembly each.

    Args:
        basis: a FitBasis, or its fast form on a CUDA device.
        finder: of masks, where there is a second view.
    Returns:
        Each with facts: `scale_from`, `scale`, `quality`, `quality_reasons`,
        `reprojection_error` (shares of the eye distance: of the basis and with offsets to the landmarks less
        the detector's bias, with offsets to those detected) and the coefficients; with a second view also
        `view_matches`, the keypoint matches between both photos, and `view_turn_degrees` between them.
    """
    begun = begin_batch(prepared, options, maker, basis, finder)
    return [
        finish_geometry(photo, one, maker.data, wanted)
        for photo, one, wanted in zip(prepared, begun, options, strict=True)
    ]


def begin_batch(
    prepared: list[PreprocessedPhoto],
    options: list[JobOptions],
    maker: HeadMaker,
    basis: FitBasis | GraphedFit,
    finder: MaskFinder,
) -> list[BegunGeometry]:
    """Return the heads of photos, which may lack their facts still."""
    fits: dict[int, tuple[Fit, int, SecondView | None]] = {}
    alone = [index for index, photo in enumerate(prepared) if photo.view is None]
    if alone:
        with maker.runtime.one_thread():
            fit = fit_photos([prepared[index] for index in alone], basis)
        fits.update({index: (fit, row, None) for row, index in enumerate(alone)})
    for index, photo in enumerate(prepared):
        if photo.view is not None:
            with maker.runtime.one_thread():
                fit, second = fit_with_view(photo, photo.view, basis, finder)
            fits[index] = fit, 0, second
    begun = []
    for index, (photo, wanted) in enumerate(zip(prepared, options, strict=True)):
        fitted = _fitted_photo(photo, *fits[index])
        with maker.runtime.one_thread():
            assembled = maker.make(fitted, expression_in_base=wanted.expression == "photo")
        begun.append(BegunGeometry(fitted=fitted, assembled=assembled))
    return begun


def finish_geometry(
    photo: PreprocessedPhoto, begun: BegunGeometry, data: HeadData, options: JobOptions
) -> FittedHead:
    """Return the stage's result, graded with what preprocess measured; with a bust where one is wanted."""
    head = join_bust(begun.head, data) if bust_is_on(options, photo.facts) else begun.head
    return FittedHead(head=head, facts=_facts(photo, begun.fitted, begun.assembled, data))


def fit_photos(prepared: list[PreprocessedPhoto], basis: FitBasis | GraphedFit) -> Fit:
    """Return the fit of photos, which may lack their facts still."""
    device = basis.device if isinstance(basis, FitBasis) else torch.device("cpu")
    return _fit_level(
        _observe(prepared, device),
        basis.fit if isinstance(basis, GraphedFit) else partial(fit_landmarks, basis),
    )


def fit_with_view(
    frontal: PreprocessedPhoto,
    turned: PreprocessedPhoto,
    basis: FitBasis | GraphedFit,
    finder: MaskFinder,
) -> tuple[Fit, SecondView]:
    """Return the fit of a person's frontal photo, row 0, and turned one, and what the latter brought."""
    plain = basis if isinstance(basis, FitBasis) else basis.basis
    seen = join_photos([_observe([photo], plain.device) for photo in (frontal, turned)])
    photos = [torch.from_numpy(photo.photo).to(plain.device) for photo in (frontal, turned)]
    level, turn = level_eyes(seen)
    masks = finder.find(frontal.photo, frontal.landmarks)
    matcher = ViewMatcher(plain.surface, photos, level, turn, masks)
    fit, matches = fit_views(plain, level, matcher)
    fit = to_host(_undo_level(fit, turn))
    first, other = fit.pose.rotation
    cosine = (float((other @ first.mT).trace()) - 1) / 2
    return fit, SecondView(matches=matches, turn_degrees=math.degrees(math.acos(min(1.0, max(-1.0, cosine)))))


def _observe(prepared: list[PreprocessedPhoto], device: torch.device) -> Observation:
    cameras = _stack([photo.camera for photo in prepared], device)
    return Observation(
        landmarks=_stack([photo.landmarks for photo in prepared], device),
        scores=_stack([photo.scores for photo in prepared], device),
        focal=cameras[:, 0],
        centre=cameras[:, 1:],
        network=_network_points([photo.network for photo in prepared], device),
    )


def _network_points(predicted: list[DensePoints | None], device: torch.device) -> NetworkPoints | None:
    """Return the network's points of photos, without weight where a photo has none; None if all are so."""
    asked = next((one for one in predicted if one is not None), None)
    if asked is None:
        return None
    unknown = DensePoints(
        points=np.zeros_like(asked.points),
        deviation=np.full_like(asked.deviation, np.inf),
        loadings=np.zeros_like(asked.loadings),
    )
    filled = [unknown if one is None else one for one in predicted]
    points = _stack([one.points for one in filled], device)
    deviation = _stack([one.deviation for one in filled], device)
    loadings = _stack([one.loadings for one in filled], device)
    variance = (torch.cat([deviation[..., :1], deviation], dim=2)) ** 2
    own = (1 + (loadings**2).sum(-1)).reshape(variance.shape)
    return NetworkPoints(points=points, precision=(own / variance).sqrt(), loadings=loadings)


def _fit_level(seen: Observation, fit_level: Callable[[Observation], Fit]) -> Fit:
    """Fit with the eyes level, and return the fit in the cameras as they were."""
    level, turn = level_eyes(seen)
    return _undo_level(fit_level(level), turn)


def _undo_level(fit: Fit, turn: torch.Tensor) -> Fit:
    rotation, translation = turn @ fit.pose.rotation, (turn @ fit.pose.translation[..., None])[..., 0]
    return replace(fit, pose=Pose(rotation, translation), bias=fit.bias @ turn.mT)


def _stack(arrays: list[Array], device: torch.device) -> torch.Tensor:
    return torch.from_numpy(np.stack(arrays).astype(np.float64)).to(device, DTYPE)


def _fitted_photo(photo: PreprocessedPhoto, fit: Fit, index: int, second: SecondView | None) -> FittedPhoto:
    def to_numpy(tensor: torch.Tensor) -> Array:
        return tensor[index].cpu().numpy()

    height, width = photo.photo.shape[:2]
    focal, x, y = (float(value) for value in photo.camera)
    landmarks = photo.landmarks.astype(np.float64)
    return FittedPhoto(
        coefficients=to_numpy(fit.coefficients),
        rotation=to_numpy(fit.pose.rotation),
        translation=to_numpy(fit.pose.translation),
        points=to_numpy(fit.points),
        landmarks=landmarks - eye_distance(landmarks[:, :2]) * to_numpy(fit.bias),
        detected=landmarks,
        focal=focal,
        centre=(x, y),
        width=width,
        height=height,
        second_view=second,
        irises=photo.observed.irises,
    )


def _facts(
    photo: PreprocessedPhoto, fitted: FittedPhoto, assembled: AssembledHead, data: HeadData
) -> dict[str, Any]:
    reasons = _list_reasons(photo, fitted, assembled, data)
    turned = int(photo.facts.get("photo", {}).get("turned_degrees", 0))
    first_local, first_action = len(data.identity), len(data.identity) + len(data.local_changes)
    local = fitted.coefficients[first_local:first_action]
    expression = fitted.coefficients[first_action:]
    second = fitted.second_view
    return {
        **(
            {"view_matches": second.matches, "view_turn_degrees": round(second.turn_degrees, 1)}
            if second
            else {}
        ),
        **({"photo_turned_degrees": turned} if turned else {}),
        "quality": verdict_of(reasons).value,
        "quality_reasons": [reason.facts() for reason in reasons],
        "scale_from": assembled.scale_from,
        "scale": round(assembled.scale, 4),
        "reprojection_error": {
            "basis": round(assembled.error_basis, 5),
            "final": round(assembled.error, 5),
            "detected": round(assembled.error_detected, 5),
        },
        "coefficients": {
            "identity": [round(float(x), 4) for x in fitted.coefficients[:first_local]],
            "local": {
                name: round(float(x), 4)
                for name, x in zip(data.local_change_names, local, strict=True)
                if x > 1e-3
            },
            "expression": {
                name: round(float(x), 4) for name, x in zip(ARKIT_NAMES, expression, strict=True) if x > 1e-3
            },
        },
    }


def _list_reasons(
    photo: PreprocessedPhoto, fitted: FittedPhoto, assembled: AssembledHead, data: HeadData
) -> list[QualityReason]:
    """Return what speaks against the head: what preprocess found in the photo, then what the fit shows."""
    found = [read_reason(fact) for fact in photo.facts.get("reasons", [])]
    found += judge(ReasonCode.LANDMARKS_FIT_BADLY, assembled.error_basis)
    second = fitted.second_view
    of_use = False
    if second is not None:
        against = judge(ReasonCode.SECOND_PHOTO_SAME_SIDE, second.turn_degrees)
        against = against or judge(ReasonCode.SECOND_PHOTO_NOT_FOUND, second.matches)
        of_use = not against
        found += against
    expression = dict(zip(ARKIT_NAMES, fitted.coefficients[-len(ARKIT_NAMES) :], strict=True))
    strongest = max(expression[name] for name in ("jawOpen", "mouthSmileLeft", "mouthSmileRight"))
    found += judge(ReasonCode.STRONG_EXPRESSION, float(strongest))
    # A shape that two photos agree on is not in doubt.
    if not of_use:
        largest = np.abs(fitted.coefficients[: len(data.identity)]).max()
        found += judge(ReasonCode.UNUSUAL_SHAPE, float(largest))
    return found
