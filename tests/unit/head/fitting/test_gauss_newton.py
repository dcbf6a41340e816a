"""The fit: its normal equations against numbers, its answers against scipy, its bounds, its batch."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gpu_workers.head.fitting import gauss_newton, normal_equations
from gpu_workers.head.fitting.gauss_newton import fit_landmarks
from gpu_workers.head.fitting.landmark_noise import assumed_errors, pose_features
from gpu_workers.head.fitting.linear_model import DTYPE, FitBasis
from gpu_workers.head.fitting.multi_view import fit_views
from gpu_workers.head.fitting.observation import NetworkPoints, Observation, join_photos, level_eyes
from gpu_workers.head.landmarks.dense_network import FaceEstimate
from gpu_workers.head.model.mediapipe_landmarks import LANDMARKS
from gpu_workers.head.ops.rigid_transforms import Pose, head_angles, initial_pose, project, rotation_matrix
from tests.unit.head.head_support import head_data
from tests.unit.waiting import NoWaiting

pytestmark = pytest.mark.heavy

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


def network_sees(basis, coefficients, seen, pose, deviation=2.0):
    """Return what a network with correlated errors would say of heads (B, N); deviations in pixels."""
    placed = basis.points(coefficients) @ pose.rotation.mT + pose.translation[:, None]
    middle = placed[:, :468, 2:].mean(1, keepdim=True)
    depth = (placed[..., 2:] / middle - 1) * seen.focal[:, None, None]
    points = torch.cat([project(placed, seen.focal, seen.centre), depth], 2)
    noise = torch.Generator().manual_seed(4)
    loadings = 0.3 * torch.randn(len(points), points[0].numel(), 5, generator=noise, dtype=DTYPE)
    own = (1 + (loadings**2).sum(-1)).sqrt().reshape(points.shape)
    return NetworkPoints(points=points, precision=own / deviation, loadings=loadings)


def test_normal_equations_equal_those_of_the_whole_covariance():
    """The plain twin: automatic differentiation of all residuals, and the covariance inverted as a whole."""
    noise = torch.Generator().manual_seed(1)
    assumed = assumed_errors(head_data().landmark_trust, head_data().score_baseline)
    bias = 0.01 * torch.randn(assumed.bias.shape, generator=noise)
    factor = 0.01 * torch.randn(3 * 478, 12, generator=noise)
    basis = FitBasis(head_data(), torch.device("cpu"), replace(assumed, bias=bias, factor=factor))
    coefficients = random_heads(basis, 1, seed=3)
    seen, pose = photograph(basis, coefficients)
    noise = torch.randn(seen.landmarks.shape, dtype=DTYPE, generator=torch.manual_seed(0))
    moved = seen.landmarks + 0.01 * seen.eye_distance * noise
    moved[:, 50, :2] += 0.5 * seen.eye_distance
    network = network_sees(basis, random_heads(basis, 1, seed=13), seen, pose)
    seen = replace(seen, landmarks=moved, network=network)
    normal, gradient = normal_equations.normal_equations(basis, seen, pose, basis.points(coefficients))
    placed = basis.points(coefficients) @ pose.rotation.mT + pose.translation[:, None]
    scale = seen.focal / placed[:, :468, 2].mean(1)
    yaw, pitch, _ = head_angles(pose.rotation)
    bias = torch.einsum("bf,flc->blc", pose_features(yaw, pitch), basis.errors.bias)

    def residuals(step):
        turned = rotation_matrix(step[:, :3]) @ pose.rotation
        points = basis.points(coefficients + step[:, 6:])
        placed = points @ turned.mT + (pose.translation + step[:, 3:6])[:, None]
        pixels = project(placed, seen.focal, seen.centre)
        relative = (placed[..., 2] - placed[:, :468, 2].mean(1, keepdim=True)) * scale

        def missing(detected):
            rows = slice(0, detected.shape[1])
            observed = detected[..., 2] - detected[:, :468, 2].mean(1, keepdim=True)
            plane = detected[..., :2] - pixels[:, rows]
            return torch.cat([plane, (observed - relative[:, rows])[..., None]], dim=2)

        return missing(seen.landmarks) / seen.eye_distance - bias, missing(network.points)

    errors = basis.errors
    covariance = torch.diag(errors.spread) + errors.factor @ errors.factor.T
    variance = covariance.diagonal().reshape(478, 3)[:, :2].sum(1)
    start = torch.zeros(1, 6 + basis.size, dtype=DTYPE)
    missed = residuals(start)
    miss = missed[0][..., :2].norm(dim=-1) / variance.sqrt()
    share = (normal_equations._HUBER / miss.clamp(min=normal_equations._HUBER)).sqrt()
    share = share.repeat_interleave(3, dim=1)[0]
    estimate = FaceEstimate(
        points=network.points,
        log_deviation=torch.full((*network.points.shape[:2], 2), 2.0, dtype=DTYPE).log(),
        loadings=network.loadings,
    )
    every = torch.eye(network.points.numel(), dtype=DTYPE)[None]
    weights = [
        share[:, None] * torch.linalg.inv(covariance) * share,
        estimate.solve(every)[0],
    ]
    expected, slope = 0, 0
    for part, weight in enumerate(weights):

        def flat(step, part=part):
            return residuals(step[None])[part].reshape(-1)

        jacobian = torch.func.jacrev(flat, chunk_size=200)(start[0])
        expected = expected + jacobian.T @ weight @ jacobian
        slope = slope - jacobian.T @ weight @ missed[part].reshape(-1)
    assert (normal[0] - expected).norm() < 1e-4 * expected.norm()
    assert (gradient[0] - slope).norm() < 1e-3 * slope.norm()
    assert (share < 1).any()


def test_network_points_without_weight_change_nothing_and_with_it_bring_depth(basis):
    truth = random_heads(basis, 1, seed=11)
    seen, pose = photograph(basis, truth, yaw=0.0)
    flat = seen.landmarks.clone()
    flat[..., 2] *= 0.5
    seen = replace(seen, landmarks=flat)
    network = network_sees(basis, truth, seen, pose, deviation=0.3)
    alone = fit_landmarks(basis, seen)
    silent = fit_landmarks(
        basis, replace(seen, network=replace(network, precision=torch.zeros_like(network.precision)))
    )
    assert torch.allclose(alone.points, silent.points, atol=1e-6)
    level, _ = level_eyes(replace(seen, network=network))
    assert torch.equal(level.network.loadings, network.loadings)
    assert torch.allclose(level.network.points[:, :478, :2], level.landmarks[..., :2], atol=1e-6)

    def miss(found):
        a, b = found.points[0, :468], basis.points(truth)[0, :468]
        a, b = a - a.mean(0), b - b.mean(0)
        u, _, vt = torch.linalg.svd(a.T @ b)
        return (a @ (u @ vt) - b).norm(dim=-1).mean()

    assert miss(fit_landmarks(basis, replace(seen, network=network))) < 0.7 * miss(alone)


def test_a_rolled_camera_sees_the_same_head(basis):
    coefficients = random_heads(basis, 1, seed=5)
    seen, _ = photograph(basis, coefficients)
    angle = torch.tensor(0.4, dtype=DTYPE)
    roll = torch.stack([angle.cos(), angle.sin(), -angle.sin(), angle.cos()]).reshape(2, 2)
    rolled = seen.landmarks.clone()
    rolled[..., :2] = (seen.landmarks[..., :2] - seen.centre[:, None]) @ roll + seen.centre[:, None]
    level, turn = level_eyes(replace(seen, landmarks=rolled))
    upright, _ = level_eyes(seen)
    assert torch.allclose(level.landmarks, upright.landmarks, atol=1e-6)
    assert (level.landmarks[:, 33, 1] - level.landmarks[:, 263, 1]).abs().max() < 1e-6
    # The turn takes the level picture's directions to the rolled one's.
    across = (level.landmarks[:, 263] - level.landmarks[:, 33])[..., None]
    seen_across = rolled[:, 263] - rolled[:, 33]
    assert torch.allclose((turn @ across)[..., 0][:, :2], seen_across[:, :2], atol=1e-6)


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
    step = gauss_newton.bounded_step(normal, gradient, torch.from_numpy(start)[None], basis.bounds)[0].numpy()

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


def test_two_views_of_one_person_agree_on_the_shape_and_know_it_better(basis):
    """A shape that one photo cannot see in depth: the turned photo adds it."""
    shape = random_heads(basis, 1, seed=7)
    front, _ = photograph(basis, shape, yaw=0.0)
    turned, _ = photograph(basis, shape, yaw=28.0)
    both = join_photos([front, turned])
    spread = basis.errors.spread.clone()
    spread[2::3] = 1e4
    blind = FitBasis(head_data(), torch.device("cpu"), replace(basis.errors, spread=spread))
    together, _ = fit_views(blind, both)
    known = slice(0, basis.expression.start)
    assert torch.allclose(together.coefficients[0, known], together.coefficients[1, known])
    alone = fit_landmarks(blind, front)
    truth = basis.points(shape)

    def miss(fitted):
        """Mean distance (millimetres) after the best shift and turn: the pose is the photo's own."""
        a, b = fitted[0, :468] - fitted[0, :468].mean(0), truth[0, :468] - truth[0, :468].mean(0)
        u, _, vt = torch.linalg.svd(a.T @ b)
        return 1000 * (a @ (u @ vt) - b).norm(dim=-1).mean()

    assert miss(together.points) < 0.9 * miss(alone.points)


@pytest.mark.parametrize("asked", [0, 1])
def test_two_views_of_which_the_network_saw_one(basis, asked):
    """The common case: the frontal photo has no network points, the turned one has."""
    shape = random_heads(basis, 1, seed=7)
    views, networks = [], []
    for yaw in (0.0, 25.0):
        seen, pose = photograph(basis, shape, yaw=yaw)
        networks.append(network_sees(basis, shape, seen, pose))
        views.append(seen)
    views[asked] = replace(views[asked], network=networks[asked])
    together, _ = fit_views(basis, join_photos(views))
    assert together.errors.mean(1).max() < 0.01, "each photo is met by its own points"
    both, _ = fit_views(
        basis, join_photos([replace(one, network=net) for one, net in zip(views, networks, strict=True)])
    )
    assert (together.points - both.points).norm(dim=-1).mean() < 0.002


def test_one_view_is_the_plain_fit(basis):
    seen, _ = photograph(basis, random_heads(basis, 1, seed=8))
    assert torch.equal(fit_views(basis, seen)[0].points, fit_landmarks(basis, seen).points)


def test_once_warm_the_fit_never_waits_for_the_device(basis):
    """So that a CUDA graph can hold it, with the network's points and without."""
    truth = random_heads(basis, 1, seed=14)
    seen, pose = photograph(basis, truth)
    for one in (seen, replace(seen, network=network_sees(basis, truth, seen, pose))):
        target, start = gauss_newton.start_fit(basis, one)
        gauss_newton.refine_fit(basis, one, target, start)
        with NoWaiting():
            gauss_newton.refine_fit(basis, one, target, start)


def test_the_start_moves_the_skin_as_all_coefficients_would(basis):
    expression = torch.rand(2, 52, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    coefficients = torch.zeros(2, basis.size, dtype=torch.float64)
    coefficients[:, basis.expression] = expression
    expected = basis.points(coefficients)[:, :468]
    torch.testing.assert_close(basis.expressive_skin(expression), expected)
