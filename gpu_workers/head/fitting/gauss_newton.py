"""The bounded Gauss-Newton fit of pose, identity and expression to a face's points; batched, CPU and CUDA.

It minimises, with residuals r (x, y and relative depth of each landmark) in eye distances less the detector's
bias at this pose, and S the covariance of the detector's errors (see landmark_noise.py),

    r^T H S^-1 H r + q^T N^-1 q + |identity|^2 + |local / 0.2|^2 + |(expression - expected) / s|^2
      + |(left - right) / 0.08|^2

inside the bounds of every coefficient; H weighs down the landmarks that miss by more than their error lets
expect (Huber). q are the residuals of the face network's points, N the covariance that it gives them
(normal_equations.py); without a network the landmarks stand alone.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from gpu_workers.head.fitting.linear_model import DTYPE, FitBasis
from gpu_workers.head.fitting.normal_equations import normal_equations, reprojection_errors
from gpu_workers.head.fitting.observation import Observation
from gpu_workers.head.model.mediapipe_landmarks import LANDMARKS, SKIN_LANDMARKS
from gpu_workers.head.ops.linalg import solve_positive
from gpu_workers.head.ops.rigid_transforms import Pose, initial_pose, rotation_matrix

_POSE_STEPS = 3
STEPS = 6
_ACTIVE_SET_ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The result of the fit; B photos."""

    pose: Pose
    #: (B, 30 + K + 52) identity, local changes, expression.
    coefficients: Tensor
    #: (B, 478, 3) metres, head's frame, with expression.
    points: Tensor
    #: (B, 478) distance to the detected landmarks, as a share of the eye distance.
    errors: Tensor
    #: (B, 478, 3) what the detector errs by at this pose, in eye distances: detected less true.
    bias: Tensor


def fit_landmarks(basis: FitBasis, seen: Observation) -> Fit:
    """Fit pose, identity and expression.

    Args:
        seen: B photos, tensors of float64 on the basis's device.
    """
    target, pose = start_fit(basis, seen)
    return refine_fit(basis, seen, target, pose)


def start_fit(basis: FitBasis, seen: Observation) -> tuple[Tensor, Pose]:
    """Return the coefficients (B, N) that the detector's scores predict, and the pose that fits them."""
    target = torch.zeros(len(seen.landmarks), basis.size, dtype=DTYPE, device=basis.device)
    target[:, basis.expression] = basis.expression_target(seen.scores)
    points = basis.expressive_skin(target[:, basis.expression])
    return target, initial_pose(points, seen.landmarks[:, :SKIN_LANDMARKS], seen.focal, seen.centre)


def refine_fit(basis: FitBasis, seen: Observation, target: Tensor, pose: Pose) -> Fit:
    """Run the steps of the fit. Nothing here waits for the device, so that a CUDA graph can hold it."""
    coefficients = target
    points = basis.points(coefficients)
    for step in range(_POSE_STEPS + STEPS):
        pose_only = step < _POSE_STEPS
        normal, gradient = normal_equations(basis, seen, pose, points, pose_only=pose_only)
        if pose_only:
            move = solve_positive(normal, gradient)
        else:
            normal[:, 6:, 6:] += basis.prior
            gradient[:, 6:] += (target - coefficients) @ basis.prior
            move = bounded_step(normal, gradient, coefficients, basis.bounds)
            coefficients = coefficients + move[:, 6:]
            points = basis.points(coefficients)
        pose = Pose(rotation_matrix(move[:, :3]) @ pose.rotation, pose.translation + move[:, 3:6])
    return finish_fit(basis, seen, pose, coefficients)


def finish_fit(basis: FitBasis, seen: Observation, pose: Pose, coefficients: Tensor) -> Fit:
    """Return the fit with what follows from pose and coefficients."""
    points = basis.points(coefficients)[:, :LANDMARKS]
    errors = reprojection_errors(seen, pose, points)
    return Fit(
        pose=pose, coefficients=coefficients, points=points, errors=errors, bias=basis.bias(pose.rotation)
    )


def bounded_step(
    normal: Tensor, gradient: Tensor, coefficients: Tensor, bounds: tuple[Tensor, Tensor]
) -> Tensor:
    """Solve normal x = gradient with coefficients + x inside the bounds, by a few rounds of an active set.

    The bounded variables come last. One that leaves its bounds is held there and the others are solved again.
    """
    batch, size = gradient.shape
    first = size - coefficients.shape[1]
    low = torch.full((batch, size), -torch.inf, dtype=DTYPE, device=gradient.device)
    high = -low
    low[:, first:], high[:, first:] = bounds[0] - coefficients, bounds[1] - coefficients
    damping = 1e-9 * torch.diagonal(normal, dim1=1, dim2=2).mean(1, keepdim=True)
    matrix, right = normal.clone(), gradient
    torch.diagonal(matrix, dim1=1, dim2=2).add_(damping)
    held = torch.zeros(batch, size, dtype=torch.bool, device=gradient.device)
    for rest in reversed(range(_ACTIVE_SET_ROUNDS)):
        solved = solve_positive(matrix, right)
        step = torch.minimum(torch.maximum(solved, low), high)
        if rest:
            held = held | (step != solved)
            matrix = torch.where(held[:, :, None] | held[:, None, :], 0, normal)
            torch.diagonal(matrix, dim1=1, dim2=2).add_(held + damping)
            fixed = torch.where(held, step, 0)
            right = torch.where(held, step, gradient - (normal @ fixed[..., None])[..., 0])
    return step
