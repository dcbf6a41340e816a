"""Training on tiny sizes: it learns, resumes exactly, exports what it learnt, and measures what it says."""

import csv
import json
import math
import os
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from face3d.errors import ConfigurationError
from gpu_workers.head.landmarks.dense_network import (
    FACE_NETWORK_FILE,
    FaceNetwork,
    NetworkPlan,
    correlated_length,
    load_face_network,
    save_face_network,
)
from gpu_workers.head.model.dense_landmarks import FacePoints, choose_face_points
from gpu_workers.training import train
from gpu_workers.training.batches import Batch, BatchMaker
from gpu_workers.training.losses import measure_losses
from gpu_workers.training.schedule import Budget, learning_rate
from gpu_workers.training.synthetic_photos.render import PictureMaker
from gpu_workers.training.synthetic_photos.textures import load_material
from gpu_workers.training.synthetic_photos.vertex_map import VertexMap, similarity_moves
from gpu_workers.training.targets import TargetMaker
from gpu_workers.training.team import Team
from gpu_workers.training.trainer import Trainer, TrainerOptions
from gpu_workers.training.validation import measure_errors
from tests.unit.head.head_support import head_data, model_dir
from tests.unit.waiting import NoWaiting

pytestmark = pytest.mark.heavy

CPU = torch.device("cpu")
PLAN = NetworkPlan(input_size=48, widths=(8, 8, 16, 16), depths=(1, 1, 1, 1), reduced=8, hidden=64, rank=4)


@lru_cache(maxsize=1)
def points() -> FacePoints:
    return choose_face_points(head_data())


@lru_cache(maxsize=1)
def batches() -> BatchMaker:
    maker = PictureMaker(head_data(), load_material(None, CPU), CPU, atlas_size=64)
    return BatchMaker(maker, TargetMaker(points(), CPU), size=48, batch=8, supersample=1)


@lru_cache(maxsize=1)
def surface() -> VertexMap:
    return VertexMap(head_data(), batches().maker.heads, batches().targets, heads=128)


@lru_cache(maxsize=1)
def known() -> Batch:
    return batches().draw(torch.Generator().manual_seed(4))


def trainer(out: Path, seed: int = 0, team: Team | None = None) -> Trainer:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(team.seed(seed) if team else seed)
    options = TrainerOptions(out=out, log_every=2, validate_every=1000)
    made = Trainer(FaceNetwork(PLAN), batches(), generator, surface(), [known()], options, team)
    made.start_from_mean()
    return made


def steps(count: int) -> Budget:
    return Budget(0, 0, steps=count)


def test_a_tiny_network_learns_eight_pictures_by_heart(tmp_path: Path) -> None:
    subject = trainer(tmp_path)
    before = measure_losses(subject.network(known().planes), known().targets, surface())
    for _ in range(60):
        subject.train_step(known(), 3e-3)
    after = measure_losses(subject.network(known().planes), known().targets, surface())
    assert after.total < before.total - 1
    assert after.millimetres < 0.6 * before.millimetres


def test_modes_learn_errors_that_points_share() -> None:
    torch.manual_seed(0)
    common = torch.randn(3 * 20)
    modes = torch.nn.Parameter(0.1 * torch.randn(3 * 20, 2))
    optimiser = torch.optim.Adam([modes], 0.05)
    losses = []
    for _ in range(200):
        shared = torch.randn(64, 1) * common / common.std()
        standard = (shared + 0.3 * torch.randn(64, 60)) / math.sqrt(1 + 0.3**2)
        length, log_determinant = correlated_length(standard, modes.expand(64, -1, -1))
        loss = 0.5 * (length + log_determinant).mean() / 60
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    # Independent errors of variance 1 cost 0.5 each.
    assert losses[-1] < 0.5 * losses[0] < 0.5 * 0.6
    found = modes.detach() / modes.detach().norm(dim=0)
    assert (found.T @ common / common.norm()).abs().max() > 0.9


def test_a_resumed_training_goes_on_exactly(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole")
    whole.run(steps(4))
    first = trainer(tmp_path / "parts")
    for _ in range(2):
        first.train_step(batches().draw(first._generator), learning_rate(1.2e-3, first.step / 4, first.step))
    first.save(steps(4))
    second = trainer(tmp_path / "parts", seed=9)
    second.resume()
    assert (second.step, second.images) == (2, 16)
    second.run(steps(4))
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(second.network.state_dict()[name], value, rtol=0, atol=0)
    for name, value in whole.average.state_dict().items():
        torch.testing.assert_close(second.average.state_dict()[name], value, rtol=0, atol=0)


def test_a_step_never_waits_for_the_device(tmp_path: Path) -> None:
    subject = trainer(tmp_path)
    subject.train_step(known(), 1e-3)
    with NoWaiting(also_allowed=("clone",)):
        subject.train_step(known(), 1e-3)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    trainer(tmp_path).save(steps(1))
    other = trainer(tmp_path)
    other.network = FaceNetwork(NetworkPlan(input_size=48, widths=(4, 4, 4, 4), depths=(1, 1, 1, 1)))
    with pytest.raises(ConfigurationError, match="no checkpoint"):
        other.resume()


def test_errors_in_metres_are_what_the_camera_says(tmp_path: Path) -> None:
    heads, _ = batches().maker.sample(4, torch.Generator().manual_seed(8))
    vertices = heads.camera_vertices
    truth = batches().targets.make(heads, vertices)
    # Move the heads a little in their own frame, and look at the same points again with the same camera.
    move = 1e-4 * torch.randn(heads.vertices.shape, generator=torch.Generator().manual_seed(3))
    places = batches().targets.places(vertices + move @ heads.rotation.mT)
    plane = (places[..., :2] / places[..., 2:] - truth.middle[:, None]) / truth.half[:, None, None]
    along = (places[..., 2] / truth.depth[:, None] - 1) / truth.half[:, None]
    error = torch.cat([plane, along[..., None]], -1) - truth.points
    expected = batches().targets.places(move)
    torch.testing.assert_close(truth.in_metres(error), expected, rtol=0.02, atol=1e-6)


def test_targets_lie_in_the_crop_and_depth_is_about_the_face() -> None:
    targets = known().targets
    assert targets.points[:, :468, :2].abs().max() < 1.2
    torch.testing.assert_close(targets.points[:, :468, 2].mean(1), torch.zeros(8), rtol=0, atol=1e-4)
    assert bool((targets.points[:, 1, 2] < targets.points[:, 234, 2]).all()), "the nose is before the cheek"


def test_a_similarity_of_the_points_moves_no_surface() -> None:
    places = batches().targets.places(batches().maker.heads.positions[None])[0]
    for move in similarity_moves(places).T:
        error = 1e-3 * move.view(1, -1, 3) / move.abs().max()
        assert surface().distances(error).max() < 2e-5


def test_the_surface_follows_points_of_real_heads() -> None:
    sampler = batches().maker.heads
    vertices = sampler.sample(6, torch.Generator().manual_seed(77)).vertices
    error = batches().targets.places(vertices - sampler.positions)
    assert 0.001 < surface().distances(error).mean() < 0.01
    # Noise of points says less about the surface than its own size: neighbours disagree.
    noise = 0.002 * torch.randn(6, len(points()), 3, generator=torch.Generator().manual_seed(1))
    assert surface().distances(noise).mean() < 0.0015


def test_errors_are_zero_for_a_network_that_knows() -> None:
    class Oracle(FaceNetwork):
        def forward(self, crops: torch.Tensor):
            estimate = super().forward(crops)
            return type(estimate)(
                points=known().targets.points,
                log_deviation=estimate.log_deviation,
                loadings=estimate.loadings,
            )

    errors = measure_errors(Oracle(PLAN), [known()], surface())
    assert errors.landmarks_iod == errors.points_iod == errors.depth_iod == 0
    assert errors.surface_mm < 0.01
    assert errors.calibration_joint == 0


def test_the_rate_rises_stays_and_falls() -> None:
    assert learning_rate(1.0, 0.0, 0) < 0.01
    assert learning_rate(1.0, 0.2, 10_000) == 1
    assert learning_rate(1.0, 0.675, 10_000) == pytest.approx(0.5, abs=0.01)
    assert learning_rate(1.0, 1.0, 10_000) == pytest.approx(1e-3)


def test_a_budget_of_seconds_counts_all_runs_and_ends_its_own() -> None:
    now = [100.0]
    budget = Budget(60, 240, spent=120, clock=lambda: now[0])
    assert budget.progress(0) == 0.5
    now[0] = 130.0
    assert budget.progress(0) == pytest.approx(0.625)
    assert not budget.over(10**9)
    now[0] = 161.0
    assert budget.over(0)


def test_the_command_trains_resumes_and_writes_what_it_says(tmp_path: Path) -> None:
    sizes = (
        "--size 48 --batch 4 --supersample 1 --hidden 32 --validation-heads 4 --map-heads 64 "
        "--log-every 1 --device cpu --widths 8 8 8 8 --depths 1 1 1 1"
    )
    common = ["--model-dir", str(model_dir()), "--out", str(tmp_path), *sizes.split()]
    assert train.main([*common, "--steps", "1"]) == 0
    assert train.main([*common, "--steps", "2", "--resume"]) == 0
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["1", "2"]
    assert all(math.isfinite(float(value)) for row in rows for value in row.values())
    with (tmp_path / "validation.csv").open() as file:
        assert [row["images"] for row in csv.DictReader(file)] == ["0", "4", "8"]
    network = load_face_network(tmp_path / FACE_NETWORK_FILE)
    estimate = network.predict(torch.zeros(1, 48, 48, 3, dtype=torch.uint8))
    assert estimate.points.shape == (1, len(points()), 3)
    assert (tmp_path / "examples.png").stat().st_size > 1000


def test_what_is_exported_predicts_what_was_trained(tmp_path: Path) -> None:
    subject = trainer(tmp_path)
    for _ in range(3):
        subject.train_step(known(), 1e-3)
    digest = save_face_network(subject.average, tmp_path / FACE_NETWORK_FILE, {})
    exported = load_face_network(tmp_path / FACE_NETWORK_FILE, digest)
    with torch.no_grad():
        expected = subject.average(known().planes)
    actual = exported.predict(known().crops)
    np.testing.assert_allclose(actual.points, expected.points, atol=2e-3)
    np.testing.assert_allclose(actual.log_deviation, expected.log_deviation, atol=2e-2)


def _train_in_a_team(rank: int, folder: str, model_folder: str) -> None:
    os.environ["FACE3D_MODEL_DIR"] = model_folder
    torch.set_num_threads(1)
    team = Team(rank, 2, CPU, f"file://{folder}/meeting")
    out = Path(folder) / str(rank)
    subject = trainer(out, seed=5, team=team)
    subject.run(steps(2))
    report = {"images": subject.images, "seed": subject._generator.initial_seed()}
    save_face_network(subject.network, out / "network", report)
    team.close()


def test_two_processes_train_one_network_on_different_heads(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_train_in_a_team, (str(tmp_path), str(model_dir())), nprocs=2)
    networks, reports = [], []
    for rank in range(2):
        path = tmp_path / str(rank) / "network"
        networks.append(load_face_network(path, trainable=True))
        with safe_open(str(path), framework="pt") as file:
            reports.append(json.loads(file.metadata()["facts"]))
    for first, second in zip(*(network.parameters() for network in networks), strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)
    assert reports[0]["images"] == reports[1]["images"] == 2 * 2 * 8
    assert reports[0]["seed"] != reports[1]["seed"]
    assert (tmp_path / "0" / "checkpoint.safetensors").is_file()
    assert not (tmp_path / "1" / "checkpoint.safetensors").exists()
