"""Random heads and their pictures: what is drawn is what the truth says."""

import ast
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch

from face3d.errors import ConfigurationError
from face3d.head import ARKIT_NAMES
from gpu_workers.head.model.mediapipe_landmarks import SKIN_LANDMARKS
from gpu_workers.head.ops.rigid_transforms import head_angles
from gpu_workers.training.synthetic_photos.camera_effects import apply_camera, draw_grain
from gpu_workers.training.synthetic_photos.random_appearance import Looks, sample_looks
from gpu_workers.training.synthetic_photos.random_heads import RandomHeads
from gpu_workers.training.synthetic_photos.render import Capacity, PictureMaker, Pictures
from gpu_workers.training.synthetic_photos.textures import load_material
from gpu_workers.training.synthetic_photos.wave_noise import free_form_noise
from tests.unit.head.head_support import head_data
from tests.unit.waiting import NoWaiting

pytestmark = pytest.mark.heavy

ROOT = Path(__file__).resolve().parents[3]
CPU = torch.device("cpu")


@lru_cache(maxsize=1)
def maker() -> PictureMaker:
    return PictureMaker(head_data(), load_material(None, CPU), CPU)


def sample(batch: int, seed: int = 0, **options: object) -> tuple[RandomHeads, Looks, torch.Generator]:
    generator = torch.Generator().manual_seed(seed)
    heads, looks = maker().sample(batch, generator, **options)
    return heads, looks, generator


def draw(batch: int, size: int = 64, seed: int = 0, **options: object) -> Pictures:
    heads, looks, generator = sample(batch, seed)
    return maker().render(heads, looks, size, generator, **options)


def plain_noise(
    positions: np.ndarray,
    wave: np.ndarray,
    phase: np.ndarray,
    push: np.ndarray,
    share: np.ndarray,
) -> np.ndarray:
    """Return what `free_form_noise` returns, vertex by vertex."""
    result = np.zeros((len(wave), len(positions), 3))
    for head in range(len(wave)):
        for vertex, place in enumerate(positions.astype(np.float64)):
            mirrored = place * [-1, 1, 1]
            for number in range(wave.shape[2]):
                direction = wave[head, :, number].astype(np.float64)
                here = np.sin(place @ direction + phase[head, number])
                there = np.sin(mirrored @ direction + phase[head, number])
                move = push[head, number].astype(np.float64)
                result[head, vertex] += (1 - share[head]) * here * move
                result[head, vertex] += share[head] * there * move * [-1, 1, 1]
    return result


def test_nothing_of_run_time_imports_the_training() -> None:
    for path in sorted((ROOT / "gpu_workers").rglob("*.py")):
        if path.parent.name == "anny_training":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not any("anny_training" in name for name in names), path


def test_one_seed_gives_one_picture_and_another_another() -> None:
    first, again, other = draw(2), draw(2), draw(2, seed=1)
    assert torch.equal(first.pixels, again.pixels)
    assert torch.equal(first.vertices, again.vertices)
    assert not torch.equal(first.pixels, other.pixels)


def test_coefficients_stay_in_their_bounds_and_faces_differ() -> None:
    data = head_data()
    heads, _, _ = sample(200)
    one_sided = heads.coefficients[:, len(data.identity) :]
    assert one_sided.min() >= 0
    assert one_sided.max() <= 1
    names = data.local_change_names
    local = heads.coefficients[:, len(data.identity) : len(data.identity) + len(names)]
    for number, name in enumerate(names):
        if name.endswith("+") and f"{name[:-1]}-" in names:
            both = local[:, number] * local[:, names.index(f"{name[:-1]}-")]
            assert not both.any(), "a change cannot be on in both directions"
    expression = heads.coefficients[:, -len(ARKIT_NAMES) :]
    smiling = expression[:, ARKIT_NAMES.index("mouthSmileLeft")] > 0.05
    assert 0.25 < smiling.float().mean() < 0.6
    assert heads.vertices.std(0).mean() > 0.001


def test_poses_and_distances_cover_their_range_and_no_more() -> None:
    heads, _, _ = sample(400)
    yaw, pitch, roll = head_angles(heads.rotation)
    assert 25 < yaw.abs().max() < 36
    assert 12 < pitch.abs().max() < 22
    assert roll.abs().max() < 32
    distance = heads.translation[:, 2]
    assert 0.35 <= distance.min() < 0.45
    assert 1.4 < distance.max() <= 1.70
    torch.testing.assert_close(torch.linalg.det(heads.rotation), torch.ones(400))


def test_the_face_stands_in_the_frame_by_the_margin() -> None:
    generator = torch.Generator().manual_seed(3)
    heads = maker().heads.sample(50, generator, margin=1.35, jitter=0.0)
    marks = heads.project(maker().heads.landmarks(heads.camera_vertices), 100)[:, :SKIN_LANDMARKS, :2]
    low, high = marks.amin(1), marks.amax(1)
    torch.testing.assert_close((high - low).amax(1), torch.full((50,), 100 / 1.35), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close((low + high) / 2, torch.full((50, 2), 50.0), rtol=1e-4, atol=1e-2)


def test_the_fast_noise_is_the_plain_one() -> None:
    positions = maker().heads.positions[:50]
    wave, phase = torch.randn(3, 3, 6) * 40, torch.rand(3, 6) * 6
    push, share = torch.randn(3, 6, 3) * 0.001, torch.tensor([0.0, 0.3, 0.5])
    fast = free_form_noise(positions, wave, phase, push, share)
    plain = plain_noise(positions.numpy(), wave.numpy(), phase.numpy(), push.numpy(), share.numpy())
    np.testing.assert_allclose(fast.numpy(), plain, atol=2e-6)


def test_symmetric_noise_is_symmetric() -> None:
    positions = torch.tensor([[0.03, 0.01, 0.02], [-0.03, 0.01, 0.02]])
    wave, phase, push = torch.randn(1, 3, 6) * 40, torch.rand(1, 6) * 6, torch.randn(1, 6, 3) * 0.001
    moved = free_form_noise(positions, wave, phase, push, torch.tensor([0.5]))[0]
    torch.testing.assert_close(moved[0] * torch.tensor([-1.0, 1, 1]), moved[1])


def test_the_truth_projects_onto_the_picture() -> None:
    pictures = draw(3)
    data = head_data()
    corners = pictures.vertices[:, torch.from_numpy(data.landmark_vertices.astype(np.int64))]
    points = (corners * torch.from_numpy(data.landmark_weights)[..., None]).sum(2)
    plane = points[..., :2] / points[..., 2:] * pictures.focal[:, None, None] + pictures.centre[:, None]
    torch.testing.assert_close(plane, pictures.landmarks[..., :2], rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(points[..., 2], pictures.landmarks[..., 2])
    # Right of the person is left in the picture, brows are above the mouth.
    assert bool((pictures.landmarks[:, 33, 0] < pictures.landmarks[:, 263, 0]).all())
    assert bool((pictures.landmarks[:, 107, 1] < pictures.landmarks[:, 13, 1]).all())


def test_pictures_show_something_and_need_no_shadows_nor_one_size() -> None:
    pictures = draw(4)
    assert pictures.pixels.dtype == torch.uint8
    assert pictures.pixels.shape == (4, 64, 64, 3)
    assert bool((pictures.pixels.float().std((1, 2, 3)) > 5).all())
    assert draw(2, supersample=2, shadows=False).pixels.shape == (2, 64, 64, 3)
    assert draw(1, supersample=1.5).pixels.shape == (1, 64, 64, 3)
    assert draw(1, size=96).pixels.shape == (1, 96, 96, 3)


def test_a_measured_capacity_changes_no_pixel_and_too_small_a_one_says_so() -> None:
    heads, looks, generator = sample(3)
    state = generator.get_state()
    exact = maker().render(heads, looks, 64, generator)
    needed = maker().count_tests(heads, looks, 64)
    roomy = Capacity(*(int(1.2 * n) + 1 for n in needed.tolist()))
    generator.set_state(state)
    bounded = maker().render(heads, looks, 64, generator, capacity=roomy)
    assert torch.equal(exact.pixels, bounded.pixels)
    assert bounded.dropped == 0
    small = Capacity(head=int(needed[0]) - 10, hair=int(needed[1]), shadows=int(needed[2]))
    assert maker().render(heads, looks, 64, generator, capacity=small).dropped == 10


def test_drawing_is_one_graph_for_the_compiler() -> None:
    heads, looks, generator = sample(2)
    capacity = Capacity(*(int(2 * n) for n in maker().count_tests(heads, looks, 32).tolist()))
    state = generator.get_state()
    plain = maker().render(heads, looks, 32, generator, capacity=capacity)
    maker().compile(backend="eager")
    try:
        generator.set_state(state)
        traced = maker().render(heads, looks, 32, generator, capacity=capacity)
    finally:
        maker().compile(on=False)
    assert torch.equal(plain.pixels, traced.pixels)


def test_once_warm_drawing_never_waits_for_the_device() -> None:
    heads, looks, generator = sample(2)
    needed = (int(2 * n) for n in maker().count_tests(heads, looks, 64).tolist())
    capacity = Capacity(*needed)
    maker().render(heads, looks, 64, generator, capacity=capacity)
    with NoWaiting():
        heads, looks = maker().sample(2, generator)
        maker().render(heads, looks, 64, generator, capacity=capacity)
    with pytest.raises(AssertionError), NoWaiting():
        maker().render(heads, looks, 64, generator)


def test_the_camera_of_a_clean_look_changes_only_the_tone() -> None:
    generator = torch.Generator().manual_seed(0)
    looks = sample_looks(2, generator, clean=True)
    picture = torch.rand(2, 3, 32, 32, generator=generator)
    once = apply_camera(picture, looks.camera, draw_grain(2, 32, generator))
    torch.testing.assert_close(once, apply_camera(picture, looks.camera, draw_grain(2, 32, generator)))
    assert once.std() > 0.1


def test_a_file_without_textures_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", nothing=np.zeros(3))
    with pytest.raises(ConfigurationError, match="no file of face textures"):
        load_material(tmp_path / "other.npz", CPU)
    with pytest.raises(ConfigurationError, match="no file of face textures"):
        load_material(tmp_path / "missing.npz", CPU)
