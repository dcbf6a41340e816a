"""The face network at run time: its Gaussian, its file, its points."""

from pathlib import Path

import numpy as np
import pytest
import torch

from face3d.errors import EngineUnavailable
from gpu_workers.head.landmarks.dense_crop import cut_face, face_square
from gpu_workers.head.landmarks.dense_network import (
    FaceEstimate,
    FaceNetwork,
    NetworkPlan,
    load_face_network,
    save_face_network,
)
from gpu_workers.head.model.dense_landmarks import FURTHER_POINTS, choose_face_points
from gpu_workers.head.model.mediapipe_landmarks import LANDMARKS
from tests.unit.head.head_support import head_data

TINY = NetworkPlan(
    input_size=48, widths=(4, 6, 8, 8), depths=(1, 2, 1, 1), reduced=4, hidden=16, points=20, rank=3
)


def tiny(seed: int = 0) -> FaceNetwork:
    torch.manual_seed(seed)
    network = FaceNetwork(TINY)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith(("norm.weight", "running_var")):
                value.uniform_(0.5, 1.5)
            if name.endswith("running_mean"):
                value.normal_(std=0.1)
        # Blocks begin as identities: let them do something.
        for block in network.body:
            block.second_norm.weight.uniform_(0.5, 1.0)
    return network.eval()


def crops(count: int = 3, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 48, 48, 3), dtype=torch.uint8, generator=generator)


def test_the_default_plan_fits_its_limits() -> None:
    count = sum(parameter.numel() for parameter in FaceNetwork(NetworkPlan()).parameters())
    assert count <= 12_000_000
    assert 2 * count < 25_000_000


def test_the_length_of_errors_is_that_of_the_whole_covariance() -> None:
    estimate = tiny().predict(crops())
    error = torch.randn(3, 20, 3, generator=torch.Generator().manual_seed(2)) * 0.1
    length, log_determinant = estimate.whiten(error)
    for index in range(3):
        loadings = estimate.loadings[index].double()
        share = 1 / (1 + (loadings**2).sum(1))
        scaled = share.sqrt()[:, None] * loadings
        deviation = estimate.deviation[index].flatten().double()
        covariance = deviation[:, None] * (torch.diag(share) + scaled @ scaled.T) * deviation
        torch.testing.assert_close(torch.diagonal(covariance), deviation**2)
        flat = error[index].flatten().double()
        expected = flat @ torch.linalg.solve(covariance, flat)
        torch.testing.assert_close(length[index].double(), expected, rtol=1e-3, atol=1e-2)
        weighed = estimate.solve(error.flatten(1)[..., None])[index, :, 0].double()
        wanted = torch.linalg.solve(covariance, flat)
        torch.testing.assert_close(weighed, wanted, rtol=2e-3, atol=2e-3 * float(wanted.abs().max()))
        torch.testing.assert_close(
            log_determinant[index].double(), torch.logdet(covariance), rtol=1e-4, atol=1e-2
        )


def test_a_saved_network_predicts_the_same(tmp_path: Path) -> None:
    network = tiny()
    with torch.no_grad():
        for value in network.state_dict().values():
            if value.is_floating_point():
                value.copy_(value.half().float())
    path = tmp_path / "network.safetensors"
    digest = save_face_network(network, path, {"images": 0})
    loaded = load_face_network(path, digest)
    assert loaded.plan == TINY
    for expected, actual in zip(
        vars(network.predict(crops())).values(), vars(loaded.predict(crops())).values(), strict=True
    ):
        torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-4)


def test_a_file_that_is_missing_another_or_broken_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    with pytest.raises(EngineUnavailable, match="missing"):
        load_face_network(path)
    save_face_network(tiny(), path, {})
    with pytest.raises(EngineUnavailable, match="SHA-256"):
        load_face_network(path, "0" * 64)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(EngineUnavailable, match="cannot be read"):
        load_face_network(path)


def test_crops_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="expected"):
        tiny().predict(torch.zeros(1, 32, 32, 3, dtype=torch.uint8))


def test_deviations_stay_in_their_range_whatever_comes() -> None:
    network = tiny()
    with torch.no_grad():
        network.answer.weight.mul_(1e4)
    estimate: FaceEstimate = network.predict(crops())
    assert bool(torch.isfinite(estimate.loadings).all())
    assert estimate.deviation.min() > 0.002
    assert estimate.deviation.max() < 1.7


def test_points_are_the_landmarks_and_vertices_far_from_them() -> None:
    data = head_data()
    points = choose_face_points(data)
    assert len(points) == LANDMARKS + FURTHER_POINTS == NetworkPlan().points
    places = points.of(data.positions)
    np.testing.assert_allclose(points.weights.sum(1), 1, atol=1e-5)
    further = places[LANDMARKS:]
    assert len(np.unique(points.vertices[LANDMARKS:, 0])) == FURTHER_POINTS
    assert (np.abs(further[:, 0]) > 0.06).sum() > 30, "ears and temples"
    distance = np.linalg.norm(further[:, None] - further[None], axis=2) + np.eye(FURTHER_POINTS)
    assert distance.min() > 0.004


def leaning_face(angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Return landmarks (478, 2) about (300, 200) of a face that leans by an angle, and its own axes."""
    generator = np.random.default_rng(0)
    axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    flat = generator.uniform(-1, 1, (LANDMARKS, 2)) * [60, 80]
    flat[:2] = [[-60, -80], [60, 80]]
    flat[33], flat[263] = [-40, -20], [40, -20]
    return flat @ axes + [300, 200], axes


@pytest.mark.parametrize("angle", [0.0, 0.2, -0.4])
def test_the_square_stands_about_the_face_and_leads_back_to_the_photo(angle: float) -> None:
    landmarks, axes = leaning_face(angle)
    square = face_square(landmarks)
    assert square.angle == pytest.approx(angle, abs=1e-6)
    assert square.half == pytest.approx(80 * 1.35)
    np.testing.assert_allclose([square.x, square.y], [300, 200], atol=1e-6)
    corner = square.to_photo(np.array([[1.0, -1.0, 0.5]]))
    np.testing.assert_allclose(corner[0, :2], [300, 200] + np.array([108, -108]) @ axes)
    assert corner[0, 2] == pytest.approx(54)


def test_what_is_cut_is_what_lies_there() -> None:
    y, x = torch.meshgrid(torch.arange(400) + 0.5, torch.arange(600) + 0.5, indexing="ij")
    photo = torch.stack([x / 600 * 255, y / 400 * 255, torch.zeros_like(x)], -1).to(torch.uint8)
    landmarks, _ = leaning_face(0.3)
    square = face_square(landmarks)
    cut = cut_face(photo, square, 48)
    for row, column in ((10, 30), (40, 8), (24, 24)):
        place = np.array([[(column + 0.5) / 24 - 1, (row + 0.5) / 24 - 1]])
        at_x, at_y = square.to_photo(place)[0]
        assert abs(int(cut[row, column, 0]) - at_x / 600 * 255) < 1.5
        assert abs(int(cut[row, column, 1]) - at_y / 400 * 255) < 1.5
