"""Several photos of one person fitted together: one shape, and each photo's own pose and expression."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gpu_workers.head.fitting.gauss_newton import (
    STEPS,
    Fit,
    bounded_step,
    finish_fit,
    fit_landmarks,
    start_fit,
)
from gpu_workers.head.fitting.linear_model import DTYPE, FitBasis
from gpu_workers.head.fitting.normal_equations import normal_equations
from gpu_workers.head.fitting.observation import Observation
from gpu_workers.head.fitting.patch_correspondences import Matches, MatchRows, ViewMatcher
from gpu_workers.head.ops.rigid_transforms import Pose, rotation_matrix

#: The photos are compared several times, each time with a better head: how far a match may then move
#: otherwise than its neighbours, eye distances. And steps of the fit after each time.
_ROUNDS, _ROUND_STEPS = (0.05, 0.03, 0.015), 2


def fit_views(basis: FitBasis, seen: Observation, matcher: ViewMatcher | None = None) -> tuple[Fit, int]:
    """Fit one person to V photos of them.

    The cost is the sum of the photos' own (see gauss_newton.py), with identity and local changes in common
    and their priors counted once, and of the keypoint matches between the first photo and another (see
    patch_correspondences.py).

    Args:
        seen: V photos, tensors of float64 on the basis's device, eyes level.
        matcher: compares these photos; None: their points alone count.
    Returns:
        V rows; identity and local changes are the same in all. And the number of keypoint matches;
        0 where they were not found as often as they were looked for, and the photos' points alone count.
    """
    if len(seen.landmarks) == 1:
        return fit_landmarks(basis, seen), 0
    problem = _Problem(basis, seen)
    # Each photo alone says well where it was taken from.
    state = problem.target, fit_landmarks(basis, seen).pose
    for _ in range(STEPS):
        state = problem.step(*state)
    by_points = state
    matches: list[Matches] = []
    if matcher is not None:
        for unlike in _ROUNDS:
            matches = matcher.find(*state, unlike)
            if not matches:
                state = by_points
                break
            for _ in range(_ROUND_STEPS):
                state = problem.step(*state, matcher.rows(matches, *state))
    coefficients, pose = state
    return finish_fit(basis, seen, pose, coefficients), sum(len(one) for one in matches)


class _Problem:
    """The fit of V photos: all unknowns in one vector, poses, then the shape, then expressions."""

    def __init__(self, basis: FitBasis, seen: Observation) -> None:
        self._basis = basis
        self._seen = seen
        self.target, _ = start_fit(basis, seen)
        views = len(seen.landmarks)
        self._shape = shape = basis.expression.start
        expressions = basis.size - shape
        self._total = 6 * views + shape + expressions * views
        #: Places of a photo's 6 + N unknowns among them.
        self._places = [
            torch.cat(
                [
                    torch.arange(6 * view, 6 * view + 6),
                    torch.arange(6 * views, 6 * views + shape),
                    torch.arange(expressions) + 6 * views + shape + expressions * view,
                ]
            ).to(basis.device)
            for view in range(views)
        ]
        low, high = (torch.cat([bound[:shape], bound[shape:].repeat(views)]) for bound in basis.bounds)
        self._bounds = low, high

    def step(
        self, coefficients: Tensor, pose: Pose, matched: Sequence[MatchRows] = ()
    ) -> tuple[Tensor, Pose]:
        """Return coefficients (V, N) and poses after a Gauss-Newton step."""
        basis = self._basis
        normals, gradients = normal_equations(basis, self._seen, pose, basis.points(coefficients))
        normal = torch.zeros(1, self._total, self._total, dtype=DTYPE, device=basis.device)
        gradient = torch.zeros(1, self._total, dtype=DTYPE, device=basis.device)
        for view, place in enumerate(self._places):
            pull = (self.target[view] - coefficients[view]) @ basis.prior
            prior = basis.prior.clone()
            if view:
                prior[: self._shape], prior[:, : self._shape], pull[: self._shape] = 0, 0, 0
            normals[view, 6:, 6:] += prior
            gradients[view, 6:] += pull
            normal[0, place[:, None], place] += normals[view]
            gradient[0, place] += gradients[view]
        for rows in matched:
            slope = torch.zeros(*rows.missing.shape, self._total, dtype=DTYPE, device=basis.device)
            slope[:, :, self._places[0]] += rows.by_first
            slope[:, :, self._places[rows.view]] += rows.by_other
            weighted = (rows.weights @ slope).reshape(-1, self._total)
            normal[0] += slope.reshape(-1, self._total).mT @ weighted
            gradient[0] += weighted.mT @ rows.missing.reshape(-1)
        together = torch.cat([coefficients[0, : self._shape], coefficients[:, self._shape :].reshape(-1)])
        move = bounded_step(normal, gradient, together[None], self._bounds)[0]
        moves = torch.stack([move[place] for place in self._places])
        turned = rotation_matrix(moves[:, :3]) @ pose.rotation
        return coefficients + moves[:, 6:], Pose(turned, pose.translation + moves[:, 3:6])
