"""The fit: its normal equations against numbers, its answers against scipy, its bounds, its batch."""

import numpy as np
import pytest
import torch

from gpu_workers.engines.anny import fit
from gpu_workers.engines.anny.fit import DTYPE, FitBasis, Observation, fit_landmarks
from gpu_workers.engines.anny.pose import Pose, head_angles, initial_pose, project, rotation_matrix
from tests.unit.anny_support import head_data

FACING = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=DTYPE))


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def basis():
    return FitBasis(head_data(), torch.device("cpu"))


def photograph(basis, coefficients, yaw=5.0, pitch=-3.0, focal=1500.0):
    """Return what a perfect detector would see of heads (B, N), and their poses."""
    angles = torch.tensor([np.radians(pitch), np.radians(yaw), 0.02], dtype=DTYPE)
    rotation = rotation_matrix(angles[None]) @ FACING
    rotation = rotation.expand(len(coefficients), 3, 3)
    translation = torch.tensor([[0.01, 0.02, 0.8]], dtype=DTYPE).expand(len(coefficients), 3)
    placed = basis.points(coefficients) @ rotation.mT + translation[:, None]
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


def test_a_known_head_is_found(basis):
    truth = random_heads(basis, 2)
    seen, pose = photograph(basis, truth)
    found = fit_landmarks(basis, seen)
    assert found.errors.mean() < 0.004
    for actual, expected in zip(head_angles(found.pose.rotation), head_angles(pose.rotation), strict=True):
        assert (actual - expected).abs().max() < 2.0


def test_coefficients_stay_inside_their_bounds(basis):
    seen, _ = photograph(basis, random_heads(basis, 1))
    torn = seen.landmarks.clone()
    torn[:, :, 1] *= 1.3
    scores = torch.ones_like(seen.scores)
    found = fit_landmarks(
        basis, Observation(landmarks=torn, scores=scores, focal=seen.focal, centre=seen.centre)
    )
    low, high = basis.bounds
    assert (found.coefficients >= low - 1e-9).all()
    assert (found.coefficients <= high + 1e-9).all()
    assert torch.isfinite(found.coefficients).all()


def test_a_batch_gives_what_single_photos_give(basis):
    seen, _ = photograph(basis, random_heads(basis, 3, seed=1))
    together = fit_landmarks(basis, seen)
    for index in range(3):
        part = slice(index, index + 1)
        alone = fit_landmarks(
            basis,
            Observation(
                landmarks=seen.landmarks[part],
                scores=seen.scores[part],
                focal=seen.focal[part],
                centre=seen.centre[part],
            ),
        )
        assert torch.allclose(alone.points, together.points[part], atol=2e-5)


def test_a_wrong_landmark_hardly_moves_the_head(basis):
    seen, _ = photograph(basis, random_heads(basis, 1, seed=2))
    wrong = seen.landmarks.clone()
    wrong[:, 50, :2] += 0.5 * seen.eye_distance
    clean = fit_landmarks(basis, seen)
    disturbed = fit_landmarks(
        basis, Observation(landmarks=wrong, scores=seen.scores, focal=seen.focal, centre=seen.centre)
    )
    assert (clean.points - disturbed.points).norm(dim=-1).mean() < 0.0007


def test_normal_equations_equal_a_numeric_jacobian(basis):
    """The plain twin: finite differences of the weighted residuals, landmark by landmark."""
    coefficients = random_heads(basis, 1, seed=3)
    seen, pose = photograph(basis, coefficients)
    moved = seen.landmarks + torch.randn(seen.landmarks.shape, dtype=DTYPE, generator=torch.manual_seed(0))
    seen = Observation(landmarks=moved, scores=seen.scores, focal=seen.focal, centre=seen.centre)
    _, gradient = fit._normal_equations(basis, seen, pose, basis.points(coefficients))

    def cost(step):
        turned = rotation_matrix(step[:, :3]) @ pose.rotation
        points = basis.points(coefficients + step[:, 6:])
        placed = points @ turned.mT + (pose.translation + step[:, 3:6])[:, None]
        pixels = project(placed, seen.focal, seen.centre)
        distance = (pixels - seen.landmarks[..., :2]).norm(dim=-1) / (fit._SIGMA * seen.eye_distance)
        huber = torch.where(distance < fit._HUBER, distance**2, 2 * fit._HUBER * distance - fit._HUBER**2)
        scale = (
            seen.focal
            / (basis.points(coefficients) @ pose.rotation.mT + pose.translation[:, None])[:, :468, 2].mean(1)
        ).detach()
        relative = (placed[:, :468, 2] - placed[:, :468, 2].mean(1, keepdim=True)) * scale
        observed = seen.landmarks[:, :468, 2] - seen.landmarks[:, :468, 2].mean(1, keepdim=True)
        depth = ((relative - observed) / (fit._SIGMA * seen.eye_distance)) ** 2
        total = (basis.trust * huber).sum() + (basis.depth_trust[:468] * depth).sum()
        return 0.5 * fit._INDEPENDENT / 478 * total

    step = torch.zeros(1, 6 + basis.size, dtype=DTYPE, requires_grad=True)
    (numeric,) = torch.autograd.grad(cost(step), step)
    error = (gradient + numeric).norm() / numeric.norm()
    assert error < 1e-4


def test_bounded_step_equals_scipys(basis):
    from scipy.optimize import lsq_linear

    rng = np.random.default_rng(4)
    size = basis.size
    rows = rng.normal(size=(400, 6 + size))
    right = rng.normal(size=400) * 3
    start = np.clip(rng.normal(size=size), *(bound.numpy() for bound in basis.bounds))
    low = np.concatenate([np.full(6, -np.inf), basis.bounds[0].numpy() - start - 1e-12])
    high = np.concatenate([np.full(6, np.inf), basis.bounds[1].numpy() - start + 1e-12])
    rows = np.concatenate([rows, 5 * np.eye(6 + size)])
    right = np.concatenate([right, np.zeros(6 + size)])
    best = lsq_linear(rows, right, (low, high)).x
    normal = torch.from_numpy(rows.T @ rows)[None]
    gradient = torch.from_numpy(rows.T @ right)[None]
    step = fit._bounded_step(normal, gradient, torch.from_numpy(start)[None], basis.bounds)[0].numpy()

    def cost(x):
        return ((rows @ x - right) ** 2).sum()

    assert (step >= low - 1e-9).all()
    assert (step <= high + 1e-9).all()
    # A few rounds of the active set come near the optimum of the quadratic programme.
    assert cost(step) - cost(best) < 0.05 * (cost(np.zeros_like(step)) - cost(best))


def test_initial_pose_is_right_without_perspective(basis):
    truth = random_heads(basis, 1, seed=5)
    seen, pose = photograph(basis, truth, yaw=20.0, focal=15000.0)
    found = initial_pose(basis.points(truth)[:, :468], seen.landmarks[:, :468], seen.focal, seen.centre)
    yaw, pitch, _ = head_angles(found.rotation)
    expected = head_angles(pose.rotation)
    assert (yaw - expected[0]).abs().item() < 3
    assert (pitch - expected[1]).abs().item() < 3
