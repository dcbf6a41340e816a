"""The fit's normal equations: what landmarks and the face network's points say of pose and coefficients."""

import torch
from torch import Tensor

from gpu_workers.head.fitting.linear_model import DTYPE, WORK, FitBasis
from gpu_workers.head.fitting.observation import NetworkPoints, Observation
from gpu_workers.head.model.mediapipe_landmarks import LANDMARKS, SKIN_LANDMARKS
from gpu_workers.head.ops.rigid_transforms import Pose, cross_matrix, project

#: Residuals above this number of sigma count linearly.
_HUBER = 2.0
_SKIN = slice(0, SKIN_LANDMARKS)


def camera_points(pose: Pose, points: Tensor) -> Tensor:
    """Return points (B, N, 3) of the head's frame in the camera's."""
    return points @ pose.rotation.mT + pose.translation[:, None]


def reprojection_errors(seen: Observation, pose: Pose, points: Tensor) -> Tensor:
    """Return (B, 478) the distances to the detected landmarks as shares of the eye distance."""
    pixels = project(camera_points(pose, points), seen.focal, seen.centre)
    distance: Tensor = (pixels - seen.landmarks[..., :2]).norm(dim=-1)
    return distance / seen.eye_distance[:, None]


def normal_equations(
    basis: FitBasis, seen: Observation, pose: Pose, points: Tensor, *, pose_only: bool = False
) -> tuple[Tensor, Tensor]:
    """Return J^T W J (B, 6 + N, 6 + N) and -J^T W r (B, 6 + N); rotation, translation, then coefficients.

    Each point gives three rows: x and y in pixels, and its depth against the skin's mean depth in pixels.

    Args:
        pose_only: leave the coefficients out: N = 0.
    """
    turned = points @ pose.rotation.mT
    placed = turned + pose.translation[:, None]
    depth = placed[..., 2]
    scale = seen.focal / depth[:, _SKIN].mean(1)
    relative = (depth - depth[:, _SKIN].mean(1, keepdim=True)) * scale[:, None]
    expected = torch.cat([project(placed, seen.focal, seen.centre), relative[..., None]], dim=2)

    # (B, K, 3, 3): the three rows by the point's place in the camera's frame.
    ratio = seen.focal[:, None] / depth
    by_place = torch.zeros(*depth.shape, 3, 3, dtype=DTYPE, device=basis.device)
    by_place[..., 0, 0] = by_place[..., 1, 1] = ratio
    by_place[..., :2, 2] = -ratio[..., None] * placed[..., :2] / depth[..., None]
    by_place[..., 2, 2] = scale[:, None]
    by_rotation = by_place @ -cross_matrix(turned)
    by_unknown = [by_rotation.to(WORK), by_place.to(WORK)]
    if not pose_only:
        by_unknown.append((by_place @ pose.rotation[:, None]).to(WORK) @ basis.columns_by_point)
    jacobian = torch.cat(by_unknown, dim=3)
    jacobian[:, :, 2] -= jacobian[:, _SKIN, 2].mean(1, keepdim=True)

    landmarks = slice(0, LANDMARKS)
    missing = _relative(seen.landmarks) - expected[:, landmarks]
    normal, gradient = _of_landmarks(basis, seen, pose, missing, jacobian[:, landmarks])
    if seen.network is not None:
        of_network = _of_network(seen.network, _relative(seen.network.points) - expected, jacobian)
        normal, gradient = normal + of_network[0], gradient + of_network[1]
    return normal.to(DTYPE), gradient.to(DTYPE)


def _relative(points: Tensor) -> Tensor:
    """Return points (B, N, 3) with their depth against the skin's mean."""
    depth = points[..., 2] - points[:, _SKIN, 2].mean(1, keepdim=True)
    return torch.cat([points[..., :2], depth[..., None]], dim=2)


def _of_landmarks(
    basis: FitBasis, seen: Observation, pose: Pose, missing: Tensor, jacobian: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what the landmarks say; missing (B, 478, 3) pixels, jacobian (B, 478, 3, 6 + N)."""
    batch = len(missing)
    residual = missing / seen.eye_distance[:, None, None]
    if basis.is_biased:
        residual = residual - basis.bias(pose.rotation)
    length = residual[..., :2].norm(dim=-1) / basis.expected_miss
    robust = (_HUBER / length.clamp(min=_HUBER)).sqrt()
    weight = (robust[..., None] / basis.deviation.reshape(LANDMARKS, 3)).to(WORK)
    scaled = (residual.to(WORK) * weight).reshape(batch, -1, 1)
    weight = weight / seen.eye_distance[:, None, None].to(WORK)
    flat = (jacobian * weight[..., None]).reshape(batch, 3 * LANDMARKS, -1)
    normal, gradient = flat.mT @ flat, flat.mT @ scaled
    if basis.errs_in_common:
        shared, shared_residual = basis.common @ flat, basis.common @ scaled
        normal, gradient = normal - shared.mT @ shared, gradient - shared.mT @ shared_residual
    return normal, gradient[..., 0]


def _of_network(network: NetworkPoints, missing: Tensor, jacobian: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the network's points say; missing (B, K, 3) pixels, jacobian (B, K, 3, 6 + N).

    With loadings A, precisions p and residuals r, the inverse covariance is p (1 - A (I + A^T A)^-1 A^T) p
    (dense_network.py, Woodbury's identity).
    """
    batch = len(missing)
    weight = network.precision.to(WORK)
    flat = (jacobian * weight[..., None]).reshape(batch, weight[0].numel(), -1)
    scaled = (missing.to(WORK) * weight).reshape(batch, -1, 1)
    loadings = network.loadings.to(WORK)
    identity = torch.eye(loadings.shape[-1], dtype=WORK, device=loadings.device)
    # The variant that does not look for errors, which would wait for the device.
    lower = torch.linalg.cholesky_ex(identity + loadings.mT @ loadings, check_errors=False).L
    common = torch.linalg.solve_triangular(lower, loadings.mT, upper=False)
    shared, shared_residual = common @ flat, common @ scaled
    normal = flat.mT @ flat - shared.mT @ shared
    gradient = (flat.mT @ scaled - shared.mT @ shared_residual)[..., 0]
    return normal, gradient
