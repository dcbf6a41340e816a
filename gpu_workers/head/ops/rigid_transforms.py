"""Rotations, projection and the pose that starts the fit; batched torch, frames of face3d/head.py."""

from typing import NamedTuple

import torch
from torch import Tensor


class Pose(NamedTuple):
    """From the head's frame to the camera's (x right, y down, z forward): Y = R X + t."""

    #: (B, 3, 3)
    rotation: Tensor
    #: (B, 3) metres
    translation: Tensor


def rotation_matrix(vector: Tensor) -> Tensor:
    """Return rotation matrices (B, 3, 3) of rotation vectors (B, 3), radians: Rodrigues' formula."""
    cross = cross_matrix(vector)
    turns = vector.norm(dim=-1)[:, None, None] / torch.pi
    identity = torch.eye(3, dtype=vector.dtype, device=vector.device)
    matrix: Tensor = identity + torch.sinc(turns) * cross + 0.5 * torch.sinc(turns / 2) ** 2 * (cross @ cross)
    return matrix


def cross_matrix(vector: Tensor) -> Tensor:
    """Return (..., 3, 3) matrices M with M u = v x u for vectors v (..., 3)."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    rows = [zero, -z, y, z, zero, -x, -y, x, zero]
    return torch.stack(rows, dim=-1).reshape(*vector.shape[:-1], 3, 3)


def project(points: Tensor, focal: Tensor, centre: Tensor) -> Tensor:
    """Project points (B, N, 3) of the camera's frame to pixels (B, N, 2).

    Args:
        focal: (B,) pixels.
        centre: (B, 2) principal point, pixels; the centre of the first pixel is (0.5, 0.5).
    """
    return focal[:, None, None] * points[..., :2] / points[..., 2:] + centre[:, None]


def initial_pose(points: Tensor, landmarks: Tensor, focal: Tensor, centre: Tensor) -> Pose:
    """Return the pose by orthographic Procrustes of landmarks with their relative depth.

    Args:
        points: (B, N, 3) metres, head's frame.
        landmarks: (B, N, 3) pixels; z in the same unit, away from the camera.
        focal: (B,) pixels.
        centre: (B, 2) pixels.
    Source: Umeyama, Least-squares estimation of transformation parameters, 1991.
    """
    model = points - points.mean(1, keepdim=True)
    seen = landmarks - landmarks.mean(1, keepdim=True)
    u, s, vt = torch.linalg.svd(seen.mT @ model)
    sign = torch.ones_like(s)
    sign[:, 2] = torch.linalg.det(u @ vt).sign()
    rotation = (u * sign[:, None]) @ vt
    scale = (s * sign).sum(1) / (model**2).sum((1, 2))
    depth = focal / scale
    middle = (landmarks[..., :2].mean(1) - centre) / focal[:, None] * depth[:, None]
    place = torch.cat([middle, depth[:, None]], dim=1)
    return Pose(rotation, place - (rotation @ points.mean(1)[..., None])[..., 0])


def head_angles(rotation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return yaw, pitch and roll (B,) in degrees of rotations (B, 3, 3) from head to camera.

    Yaw is positive where the person turns to their left, pitch where they look up, roll where the head leans
    clockwise on the screen.
    """
    forward = rotation[:, :, 2]
    yaw = torch.atan2(forward[:, 0], -forward[:, 2])
    pitch = torch.asin((-forward[:, 1]).clamp(-1, 1))
    left = rotation[:, :, 0]
    roll = torch.atan2(left[:, 1], left[:, 0])
    return torch.rad2deg(yaw), torch.rad2deg(pitch), torch.rad2deg(roll)
