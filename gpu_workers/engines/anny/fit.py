"""The bounded Gauss-Newton fit of pose, identity and expression to 478 landmarks; batched, CPU and CUDA.

It minimises, with residuals r (x, y and relative depth of each landmark) in eye distances less the detector's
bias at this pose, and S the covariance of the detector's errors (see landmark_errors.py),

    r^T H S^-1 H r + |identity|^2 + |local / 0.2|^2 + |(expression - expected) / s|^2
      + |(left - right) / 0.08|^2

inside the bounds of every coefficient; H weighs down the landmarks that miss by more than their error lets
expect (Huber).
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from face3d.head import ARKIT_NAMES
from gpu_workers.engines.anny.correspondence import LANDMARKS, SKIN_LANDMARKS
from gpu_workers.engines.anny.head_data import HeadData
from gpu_workers.engines.anny.landmark_errors import LandmarkErrors, assumed_errors, pose_features
from gpu_workers.engines.anny.pose import (
    Pose,
    cross_matrix,
    head_angles,
    initial_pose,
    project,
    rotation_matrix,
)

#: Precision of state and solves, and of the large products between them.
DTYPE = torch.float64
WORK = torch.float32

#: Standard deviations of the coefficients.
_IDENTITY_SD = 1.0
_LOCAL_SD = 0.2
_PAIR_SD = 0.08
#: Residuals above so many sigma count linearly.
_HUBER = 2.0
_POSE_STEPS = 3
STEPS = 6
_ACTIVE_SET_ROUNDS = 3

#: Shapes that landmarks cannot see, or that only correct another one.
_FIXED_ACTIONS = ("tongueOut", "mouthClose", "cheekPuff", "jawForward")


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What the detector saw; B photos."""

    #: (B, 478, 3) pixels; z in the same unit, away from the camera.
    landmarks: Tensor
    #: (B, 52) scores 0..1.
    scores: Tensor
    #: (B,) pixels
    focal: Tensor
    #: (B, 2) principal point, pixels.
    centre: Tensor

    @property
    def eye_distance(self) -> Tensor:
        """Distance of the outer eye corners (B,) in pixels."""
        across: Tensor = self.landmarks[:, 33, :2] - self.landmarks[:, 263, :2]
        distance: Tensor = across.norm(dim=-1)
        return distance


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


class FitBasis:
    """The head data at the landmarks and the errors of these, on one device.

    Args:
        errors: the assumed ones when None.
    """

    def __init__(self, data: HeadData, device: torch.device, errors: LandmarkErrors | None = None) -> None:
        columns = np.concatenate([data.identity, data.local_changes, data.actions])
        vertices, weights = data.landmark_vertices, data.landmark_weights

        def at_landmarks(values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Tensor:
            picked = values[..., vertices, :].astype(np.float64) * weights[..., None].astype(np.float64)
            return torch.from_numpy(picked.sum(-2)).to(device)

        self.device = device
        self.identity_count = len(data.identity)
        self.local_count = len(data.local_changes)
        self.base = at_landmarks(data.positions)
        self.columns = at_landmarks(columns)
        #: (L, 3, N)
        self.columns_by_landmark = self.columns.permute(1, 2, 0).contiguous().to(WORK)
        errors = errors or assumed_errors(data.landmark_trust, data.score_baseline)
        self.errors = errors.to(device, DTYPE)
        pairs = torch.from_numpy(data.local_change_pairs.astype(np.int64)) + self.identity_count
        self.pairs = pairs.to(device)

    @cached_property
    def deviation(self) -> Tensor:
        """Standard deviation (1434,) of the detector's errors that have nothing in common, eye distances."""
        return self.errors.spread.sqrt()

    @cached_property
    def expected_miss(self) -> Tensor:
        """How far each landmark (478,) errs in the picture, root mean square, eye distances."""
        variance = self.errors.spread + (self.errors.factor**2).sum(1)
        return variance.reshape(LANDMARKS, 3)[:, :2].sum(1).sqrt()

    @cached_property
    def common(self) -> Tensor:
        """(R, 1434) what of residuals over `deviation` is the detector's common error, by Woodbury.

        The inverse covariance is I - C^T C in these units, with C this matrix: with F the factor over the
        deviation, S = I + F F^T and S^-1 = I - F (I + F^T F)^-1 F^T.
        """
        factor = self.errors.factor / self.deviation[:, None]
        small = torch.eye(factor.shape[1], dtype=DTYPE, device=self.device) + factor.T @ factor
        lower = torch.linalg.cholesky(small)
        common: Tensor = torch.linalg.solve_triangular(lower, factor.T, upper=False).to(WORK)
        return common

    @property
    def size(self) -> int:
        """Number of coefficients."""
        return len(self.columns)

    @property
    def expression(self) -> slice:
        """Where the 52 expression coefficients stand."""
        return slice(self.identity_count + self.local_count, self.size)

    @cached_property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """Lower and upper bounds (N,) of the coefficients."""
        low = torch.zeros(self.size, dtype=DTYPE)
        high = torch.ones(self.size, dtype=DTYPE)
        low[: self.identity_count], high[: self.identity_count] = -3, 3
        for name in _FIXED_ACTIONS:
            high[self.expression.start + ARKIT_NAMES.index(name)] = 0
        return low.to(self.device), high.to(self.device)

    @cached_property
    def prior(self) -> Tensor:
        """The quadratic form (N, N) of the priors."""
        deviations = torch.full((self.size,), _LOCAL_SD, dtype=DTYPE, device=self.device)
        deviations[: self.identity_count] = _IDENTITY_SD
        deviations[self.expression] = self.errors.expression_spread
        form = torch.diag(deviations**-2)
        left, right = self.pairs.T
        weight = torch.full(left.shape, _PAIR_SD**-2, dtype=DTYPE, device=self.device)
        for i, j, sign in ((left, left, 1), (right, right, 1), (left, right, -1), (right, left, -1)):
            form.index_put_((i, j), sign * weight, accumulate=True)
        return form

    def points(self, coefficients: Tensor) -> Tensor:
        """Return the landmarks' places (B, 478, 3) in metres."""
        return self.base + torch.einsum("bn,nlc->blc", coefficients, self.columns)

    def bias(self, rotation: Tensor) -> Tensor:
        """Return the detector's mean error (B, 478, 3) at rotations (B, 3, 3), eye distances."""
        yaw, pitch, _ = head_angles(rotation)
        return torch.einsum("bf,flc->blc", pose_features(yaw, pitch), self.errors.bias)

    def expression_target(self, scores: Tensor) -> Tensor:
        """Return the expression (B, 52) that the detector's scores let expect."""
        ones = torch.ones_like(scores[:, :1])
        low, high = self.bounds
        expected = torch.cat([scores, ones], dim=1) @ self.errors.expression
        return expected.clamp(low[self.expression], high[self.expression])


def level_eyes(seen: Observation) -> tuple[Observation, Tensor]:
    """Return what the detector would have seen with the camera rolled until the eyes are level.

    The errors of the landmarks are known in such a picture.

    Returns:
        The observation, and the rotations (B, 3, 3) of the camera's frame that undo the roll.
    """
    across = seen.landmarks[:, 263, :2] - seen.landmarks[:, 33, :2]
    cosine, sine = (across / across.norm(dim=1, keepdim=True)).unbind(1)
    turn = torch.zeros(len(across), 3, 3, dtype=across.dtype, device=across.device)
    turn[:, 0, 0] = turn[:, 1, 1] = cosine
    turn[:, 0, 1], turn[:, 1, 0] = -sine, sine
    turn[:, 2, 2] = 1
    centre = torch.cat([seen.centre, torch.zeros_like(seen.centre[:, :1])], dim=1)[:, None]
    # Row vectors times a matrix: the inverse turn.
    landmarks = (seen.landmarks - centre) @ turn + centre
    return replace(seen, landmarks=landmarks), turn


def fit_landmarks(basis: FitBasis, seen: Observation) -> Fit:
    """Fit pose, identity and expression.

    Args:
        seen: B photos, tensors of float64 on the basis's device.
    """
    target, pose = start_fit(basis, seen)
    return refine_fit(basis, seen, target, pose)


def start_fit(basis: FitBasis, seen: Observation) -> tuple[Tensor, Pose]:
    """Return the coefficients (B, N) that the detector's scores let expect, and the pose that fits them."""
    target = torch.zeros(len(seen.landmarks), basis.size, dtype=DTYPE, device=basis.device)
    target[:, basis.expression] = basis.expression_target(seen.scores)
    skin = slice(0, SKIN_LANDMARKS)
    points = basis.points(target)[:, skin]
    return target, initial_pose(points, seen.landmarks[:, skin], seen.focal, seen.centre)


def refine_fit(basis: FitBasis, seen: Observation, target: Tensor, pose: Pose) -> Fit:
    """Run the steps of the fit. Nothing here waits for the device, so that a CUDA graph can hold it."""
    coefficients = target
    points = basis.points(coefficients)
    for step in range(_POSE_STEPS + STEPS):
        normal, gradient = normal_equations(basis, seen, pose, points)
        if step < _POSE_STEPS:
            move = _solve(normal[:, :6, :6], gradient[:, :6])
        else:
            normal[:, 6:, 6:] += basis.prior
            gradient[:, 6:] += (target - coefficients) @ basis.prior
            move = bounded_step(normal, gradient, coefficients, basis.bounds)
            coefficients = coefficients + move[:, 6:]
        pose = Pose(rotation_matrix(move[:, :3]) @ pose.rotation, pose.translation + move[:, 3:6])
        points = basis.points(coefficients)
    return finish_fit(basis, seen, pose, coefficients)


def finish_fit(basis: FitBasis, seen: Observation, pose: Pose, coefficients: Tensor) -> Fit:
    """Return the fit with what follows from pose and coefficients."""
    points = basis.points(coefficients)
    errors = reprojection_errors(seen, pose, points)
    return Fit(
        pose=pose, coefficients=coefficients, points=points, errors=errors, bias=basis.bias(pose.rotation)
    )


def camera_points(pose: Pose, points: Tensor) -> Tensor:
    """Return points (B, N, 3) of the head's frame in the camera's."""
    return points @ pose.rotation.mT + pose.translation[:, None]


def reprojection_errors(seen: Observation, pose: Pose, points: Tensor) -> Tensor:
    """Return (B, 478) the distances to the detected landmarks as shares of the eye distance."""
    pixels = project(camera_points(pose, points), seen.focal, seen.centre)
    distance: Tensor = (pixels - seen.landmarks[..., :2]).norm(dim=-1)
    return distance / seen.eye_distance[:, None]


def normal_equations(basis: FitBasis, seen: Observation, pose: Pose, points: Tensor) -> tuple[Tensor, Tensor]:
    """Return J^T W J (B, 6 + N, 6 + N) and -J^T W r (B, 6 + N); rotation, translation, then coefficients.

    Each landmark gives three rows: x and y in pixels, and its depth against the skin's mean depth in pixels.
    """
    batch = len(points)
    turned = points @ pose.rotation.mT
    placed = turned + pose.translation[:, None]
    depth = placed[..., 2]
    skin = slice(0, SKIN_LANDMARKS)
    scale = seen.focal / depth[:, skin].mean(1)
    relative = (depth - depth[:, skin].mean(1, keepdim=True)) * scale[:, None]
    observed = seen.landmarks[..., 2] - seen.landmarks[:, skin, 2].mean(1, keepdim=True)
    pixels = project(placed, seen.focal, seen.centre)
    residual = torch.cat([seen.landmarks[..., :2] - pixels, (observed - relative)[..., None]], dim=2)

    # (B, L, 3, 3): the three rows by the landmark's place in the camera's frame.
    ratio = seen.focal[:, None] / depth
    by_place = torch.zeros(batch, LANDMARKS, 3, 3, dtype=DTYPE, device=basis.device)
    by_place[..., 0, 0] = by_place[..., 1, 1] = ratio
    by_place[..., :2, 2] = -ratio[..., None] * placed[..., :2] / depth[..., None]
    by_place[..., 2, 2] = scale[:, None]
    by_rotation = by_place @ -cross_matrix(turned)
    by_coefficient = (by_place @ pose.rotation[:, None]).to(WORK) @ basis.columns_by_landmark
    jacobian = torch.cat([by_rotation.to(WORK), by_place.to(WORK), by_coefficient], dim=3)
    jacobian[:, :, 2] -= jacobian[:, skin, 2].mean(1, keepdim=True)

    residual = residual / seen.eye_distance[:, None, None] - basis.bias(pose.rotation)
    length = residual[..., :2].norm(dim=-1) / basis.expected_miss
    robust = (_HUBER / length.clamp(min=_HUBER)).sqrt()
    weight = (robust[..., None] / basis.deviation.reshape(LANDMARKS, 3)).to(WORK)
    scaled = (residual.to(WORK) * weight).reshape(batch, -1, 1)
    weight = weight / seen.eye_distance[:, None, None].to(WORK)
    flat = (jacobian * weight[..., None]).reshape(batch, 3 * LANDMARKS, -1)
    shared, shared_residual = basis.common @ flat, basis.common @ scaled
    normal = flat.mT @ flat - shared.mT @ shared
    gradient = (flat.mT @ scaled - shared.mT @ shared_residual)[..., 0]
    return normal.to(DTYPE), gradient.to(DTYPE)


def _solve(matrix: Tensor, right: Tensor) -> Tensor:
    """Return x (B, N) with matrix x = right for positive definite matrices (B, N, N)."""
    # The variant that does not look for errors, which would wait for the device.
    factor = torch.linalg.cholesky_ex(matrix, check_errors=False).L
    return torch.cholesky_solve(right[..., None], factor)[..., 0]


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
    held = torch.zeros(batch, size, dtype=torch.bool, device=gradient.device)
    step = torch.zeros_like(gradient)
    damping = 1e-9 * torch.diagonal(normal, dim1=1, dim2=2).mean(1)
    identity = torch.eye(size, dtype=DTYPE, device=gradient.device)
    for _ in range(_ACTIVE_SET_ROUNDS):
        free = (~held).to(DTYPE)
        matrix = normal * free[:, :, None] * free[:, None, :]
        matrix = matrix + torch.diag_embed(held.to(DTYPE)) + damping[:, None, None] * identity
        fixed = torch.where(held, step, torch.zeros_like(step))
        right = torch.where(held, step, gradient - (normal @ fixed[..., None])[..., 0])
        solved = _solve(matrix, right)
        step = torch.minimum(torch.maximum(solved, low), high)
        held = held | (solved < low) | (solved > high)
    return step
