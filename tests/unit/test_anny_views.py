"""Two photos of a person compared spot by spot: what both see, and what it says of the head."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gpu_workers.engines.anny.fit_basis import DTYPE, FitBasis
from gpu_workers.engines.anny.fit_views import fit_views
from gpu_workers.engines.anny.observation import Observation
from gpu_workers.engines.anny.pose import Pose, rotation_matrix
from gpu_workers.engines.anny.view_matches import Matches, ViewMatcher
from gpu_workers.engines.anny.view_surface import Lens
from gpu_workers.engines.anny_training.pictures import PictureMaker
from gpu_workers.engines.anny_training.textures import load_material
from tests.unit.anny_support import head_data

CPU = torch.device("cpu")
SIZE = 512


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def basis() -> FitBasis:
    return FitBasis(head_data(), CPU)


@pytest.fixture(scope="module")
def two_photos():
    """Renders of two heads, frontal and turned by 20 degrees; these in another light, with another expression."""
    maker = PictureMaker(head_data(), load_material(None, CPU), CPU)
    generator = torch.Generator().manual_seed(11)
    wide = {"clean": True, "margin": 1.7}
    heads, looks = maker.sample(2, generator, turned=0.05, strength=(0.9, 0.5, 0.3), **wide)
    others, other_looks = maker.sample(2, generator, turned=0.05, strength=(0.9, 0.5, 0.2), **wide)
    coefficients = torch.cat([heads.coefficients[:, :-52], others.coefficients[:, -52:]], dim=1)
    moved = ((coefficients - heads.coefficients) @ maker.heads.columns).view(2, -1, 3)
    turn = rotation_matrix(torch.tensor([[0.0, np.radians(20), 0.0]], dtype=torch.float32)).expand(2, 3, 3)
    turned = replace(
        heads,
        coefficients=coefficients,
        vertices=heads.vertices + moved,
        rotation=heads.rotation @ turn,
    )
    lit = replace(looks, light=other_looks.light, camera=other_looks.camera)
    rng = np.random.default_rng(2)
    # The detector errs by the same in both photos, and farther in depth.
    error = torch.from_numpy(rng.normal(size=(2, 478, 3)) * [0.01, 0.01, 0.04])
    pairs = []
    views = [(heads, looks), (turned, lit)]
    pictures = [maker.render(one, look, SIZE, generator).pixels for one, look in views]
    for index in range(2):
        landmarks = []
        for one, _ in views:
            placed = maker.heads.landmarks(one.camera_vertices)[index].to(DTYPE)
            focal = float(one.focal[index]) * SIZE
            pixels = focal * placed[:, :2] / placed[:, 2:] + one.centre[index].to(DTYPE) * SIZE
            depth = (placed[:, 2:] - placed[:468, 2:].mean()) * focal / placed[:468, 2].mean()
            points = torch.cat([pixels, depth], dim=1)
            eyes = (points[33, :2] - points[263, :2]).norm()
            landmarks.append(points + eyes * error[index])
        seen = Observation(
            landmarks=torch.stack(landmarks),
            scores=torch.zeros(2, 52, dtype=DTYPE),
            focal=torch.stack([one.focal[index] for one, _ in views]).to(DTYPE) * SIZE,
            centre=torch.stack([one.centre[index] for one, _ in views]).to(DTYPE) * SIZE,
        )
        truth = maker.heads.landmarks(heads.vertices)[index, :468].to(DTYPE)
        pairs.append((seen, [picture[index] for picture in pictures], truth))
    return pairs


LEVEL = torch.eye(3, dtype=DTYPE).expand(2, 3, 3)


def matcher(basis: FitBasis, seen: Observation, photos) -> ViewMatcher:
    return ViewMatcher(basis.surface, photos, seen, LEVEL)


def miss(points: torch.Tensor, truth: torch.Tensor) -> float:
    """Mean distance of the landmarks, millimetres, after the best similarity."""
    a, b = points[0, :468] - points[0, :468].mean(0), truth - truth.mean(0)
    u, singular, vt = torch.linalg.svd(a.T @ b)
    return float(1000 * (a @ (u @ vt) * (singular.sum() / (a**2).sum()) - b).norm(dim=1).mean())


def test_spots_found_in_both_photos_tell_the_shape(basis, two_photos) -> None:
    """Under another light and with another expression, and though the landmarks err alike in both photos."""
    for seen, photos, truth in two_photos:
        by_landmarks, none = fit_views(basis, seen)
        fit, count = fit_views(basis, seen, matcher(basis, seen, photos))
        assert none == 0
        assert count > 150
        assert miss(fit.points, truth) < 0.85 * miss(by_landmarks.points, truth)
        shape = slice(0, basis.expression.start)
        assert torch.allclose(fit.coefficients[0, shape], fit.coefficients[1, shape])


def test_a_photo_of_somebody_else_changes_nothing(basis, two_photos) -> None:
    (seen, photos, _), (_, strangers, _) = two_photos
    fit, count = fit_views(basis, seen, matcher(basis, seen, [photos[0], strangers[1]]))
    assert count == 0
    plain, _ = fit_views(basis, seen)
    assert torch.equal(fit.points, plain.points)


def placed_twice(basis: FitBasis, seen: Observation):
    """Return coefficients, poses and lenses of a head seen from the front and turned by 40 degrees."""
    coefficients = torch.zeros(2, basis.size, dtype=DTYPE)
    facing = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=DTYPE))
    angles = torch.tensor([[0.0, 0.0, 0.0], [0.0, np.radians(40), 0.0]], dtype=DTYPE)
    rotation = rotation_matrix(angles) @ facing
    translation = torch.tensor([[0.0, 0.0, 0.7], [0.03, 0.0, 0.75]], dtype=DTYPE)
    lenses = tuple(
        Lens(focal=torch.tensor(1500.0, dtype=DTYPE), centre=torch.tensor([x, 500.0], dtype=DTYPE))
        for x in (500.0, 520.0)
    )
    return coefficients, Pose(rotation, translation), lenses


def test_what_both_photos_see_is_what_rays_reach(basis, two_photos) -> None:
    """The plain twin: a ray from each point to the camera and every triangle of the skin."""
    coefficients, pose, lenses = placed_twice(basis, two_photos[0][0])
    _, seen = basis.surface.patches(coefficients, pose, lenses, 190.0)
    data = head_data()
    skin = data.part("skin")
    vertices = data.positions[skin.vertices].astype(np.float64)
    hidden = np.zeros(len(seen), bool)
    for view in range(2):
        placed = vertices @ pose.rotation[view].numpy().T + pose.translation[view].numpy()
        points = basis.surface.base.numpy() @ pose.rotation[view].numpy().T + pose.translation[view].numpy()
        a, b, c = (placed[skin.triangles[:, corner]] for corner in range(3))
        for index, point in enumerate(points):
            # The camera is the origin: share * point for shares 0..1 is the way (Moeller and Trumbore 1997).
            across = np.cross(point, c - a)
            volume = np.einsum("ij,ij->i", b - a, across)
            with np.errstate(divide="ignore", invalid="ignore"):
                u = np.einsum("ij,ij->i", -a, across) / volume
                q = np.cross(-a, b - a)
                v = q @ point / volume
                share = np.einsum("ij,ij->i", c - a, q) / volume
            hit = (u > 0) & (v > 0) & (u + v < 1) & (share > 0) & (share < 1 - 0.006 / np.linalg.norm(point))
            hidden[index] |= hit.any()
    assert hidden.mean() > 0.05
    assert not (seen.numpy() & hidden).sum() > 0.01 * len(seen), "what a ray does not reach is not compared"
    assert 0.3 < seen.float().mean() < 0.9


def test_neighbours_lie_where_the_affine_maps_put_them(basis, two_photos) -> None:
    coefficients, pose, lenses = placed_twice(basis, two_photos[0][0])
    patches, seen = basis.surface.patches(coefficients, pose, lenses, 190.0)
    base = basis.surface.base.to(DTYPE)
    distance = torch.cdist(base, base).fill_diagonal_(1)
    near = distance.argmin(1)
    chosen = seen & seen[near] & (distance.amin(1) < 0.004)
    step = (patches.places[near] - patches.places)[chosen]
    other = (patches.expected[near] - patches.expected)[chosen]
    foretold = (patches.affine[chosen] @ step[..., None])[..., 0]
    assert ((foretold - other).norm(dim=1) / other.norm(dim=1)).median() < 0.08


def test_the_slopes_of_the_matches_are_those_of_differences(basis, two_photos) -> None:
    seen, photos, _ = two_photos[0]
    rng = np.random.default_rng(4)
    count = 30
    matches = Matches(
        view=1,
        points=torch.from_numpy(rng.integers(0, len(basis.surface), count)),
        first=torch.from_numpy(rng.uniform(100, 400, (count, 2))),
        other=torch.from_numpy(rng.uniform(100, 400, (count, 2))),
        affine=torch.from_numpy(np.eye(2) + rng.normal(size=(count, 2, 2)) * 0.1),
        information=torch.eye(2, dtype=DTYPE).expand(count, 2, 2),
    )
    level = rotation_matrix(torch.tensor([[0.0, 0.0, 0.1], [0.0, 0.0, -0.2]], dtype=DTYPE))
    compare = ViewMatcher(basis.surface, photos, seen, level)
    coefficients, pose, _ = placed_twice(basis, seen)

    def missing(moves: torch.Tensor) -> torch.Tensor:
        turned = Pose(rotation_matrix(moves[:, :3]) @ pose.rotation, pose.translation + moves[:, 3:6])
        return compare.rows([matches], coefficients + moves[:, 6:], turned)[0].missing

    rows = compare.rows([matches], coefficients, pose)[0]
    for view, slopes in enumerate((rows.by_first, rows.by_other)):
        for unknown in (0, 1, 2, 3, 4, 5, 6, 20, 6 + basis.size - 1):
            moves = torch.zeros(2, 6 + basis.size, dtype=DTYPE)
            moves[view, unknown] = 1e-6
            difference = (missing(moves) - missing(-moves)) / 2e-6
            assert torch.allclose(-slopes[:, :, unknown], difference, rtol=1e-4, atol=1e-3)


def test_matches_that_miss_by_far_count_less(basis, two_photos) -> None:
    seen, photos, _ = two_photos[0]
    compare = matcher(basis, seen, photos)
    coefficients, pose, _ = placed_twice(basis, seen)
    points = torch.arange(2)
    matches = Matches(
        view=1,
        points=points,
        first=torch.zeros(2, 2, dtype=DTYPE),
        other=torch.zeros(2, 2, dtype=DTYPE),
        affine=torch.zeros(2, 2, 2, dtype=DTYPE),
        information=torch.eye(2, dtype=DTYPE).expand(2, 2, 2),
    )
    far = compare.rows([matches], coefficients, pose)[0].missing
    matches = replace(matches, other=torch.stack([-far[0] + 1.0, -far[1] + 100.0]))
    weights = compare.rows([matches], coefficients, pose)[0].weights[:, 0, 0]
    assert 20 < weights[0] / weights[1] < 100
