"""What a perfect detector would say of random heads."""

import numpy as np
import torch

from gpu_workers.head.fitting.linear_model import DTYPE
from gpu_workers.head.fitting.observation import Observation
from gpu_workers.head.model.mediapipe_landmarks import LANDMARKS
from gpu_workers.head.ops.rigid_transforms import Pose, project, rotation_matrix

FACING = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=DTYPE))


def photograph(basis, coefficients, yaw=5.0, pitch=-3.0, focal=1500.0):
    """Return what a perfect detector would see of heads (B, N), and their poses."""
    angles = torch.tensor([np.radians(pitch), np.radians(yaw), 0.02], dtype=DTYPE)
    rotation = rotation_matrix(angles[None]) @ FACING
    rotation = rotation.expand(len(coefficients), 3, 3)
    translation = torch.tensor([[0.01, 0.02, 0.8]], dtype=DTYPE).expand(len(coefficients), 3)
    placed = basis.points(coefficients)[:, :LANDMARKS] @ rotation.mT + translation[:, None]
    count = len(coefficients)
    lens = torch.full((count,), focal, dtype=DTYPE)
    centre = torch.tensor([[640.0, 600.0]], dtype=DTYPE).expand(count, 2)
    pixels = project(placed, lens, centre)
    depth = (placed[..., 2:] - placed[:, :468, 2:].mean(1, keepdim=True)) * focal / 0.8
    scores = torch.zeros(count, 52, dtype=DTYPE)
    seen = Observation(landmarks=torch.cat([pixels, depth], 2), scores=scores, focal=lens, centre=centre)
    return seen, Pose(rotation, translation)


def random_heads(basis, count, seed=0):
    rng = np.random.default_rng(seed)
    heads = np.zeros((count, basis.size))
    heads[:, :30] = rng.normal(size=(count, 30)) * 0.7
    heads[:, basis.expression] = np.where(rng.uniform(size=(count, 52)) < 0.1, 0.4, 0.0)
    low, high = (bound.numpy() for bound in basis.bounds)
    return torch.from_numpy(np.clip(heads, low, high))
