"""Two photos of a person compared spot by spot: what both see, and what it says of the head."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from gpu_workers.head.fitting import patch_correspondences
from gpu_workers.head.fitting.gauss_newton import Fit
from gpu_workers.head.fitting.linear_model import DTYPE, FitBasis
from gpu_workers.head.fitting.multi_view import fit_views
from gpu_workers.head.fitting.observation import Observation
from gpu_workers.head.fitting.patch_correspondences import Matches, ViewMatcher
from gpu_workers.head.fitting.surface_samples import Lens
from gpu_workers.head.ops.rigid_transforms import Pose, rotation_matrix
from gpu_workers.head.segmentation.face_masks import find_masks
from gpu_workers.training.synthetic_photos.random_heads import RandomHeads
from gpu_workers.training.synthetic_photos.render import PictureMaker
from gpu_workers.training.synthetic_photos.textures import load_material
from tests.unit.head.head_support import head_data

pytestmark = pytest.mark.heavy

CPU = torch.device("cpu")
SIZE = 640


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def basis() -> FitBasis:
    return FitBasis(head_data(), CPU)


def freckled_skin() -> torch.Tensor:
    """(1, 512, 512, 3) uint8 in the skin's atlas: skin with marks of several sizes, as people have."""
    rng = np.random.default_rng(6)
    marks = sum(gaussian_filter(rng.normal(size=(512, 512)), sigma) * sigma for sigma in (0.7, 1.5, 5))
    skin = np.array([205.0, 160.0, 135.0]) + 25 * marks[..., None]
    return torch.from_numpy(skin.clip(0, 255).astype(np.uint8))[None]


def detect(maker: PictureMaker, heads: RandomHeads, index: int) -> torch.Tensor:
    """Return the landmarks (478, 3) as a detector sees them that takes all people for half as peculiar."""
    usual = heads.coefficients.clone()
    usual[:, :-52] *= 0.5
    vertices = maker.heads.positions + (usual @ maker.heads.columns).view(len(usual), -1, 3)
    placed = maker.heads.landmarks(vertices) @ heads.rotation.mT + heads.translation[:, None]
    placed, focal = placed[index].to(DTYPE), float(heads.focal[index]) * SIZE
    pixels = focal * placed[:, :2] / placed[:, 2:] + heads.centre[index].to(DTYPE) * SIZE
    depth = (placed[:, 2:] - placed[:468, 2:].mean()) * focal / placed[:468, 2].mean()
    return torch.cat([pixels, depth], dim=1)


@pytest.fixture(scope="module")
def two_photos():
    """Renders of two heads, frontal and turned by 20 degrees with another expression; the light stays."""
    material = replace(load_material(None, CPU), textures=freckled_skin())
    maker = PictureMaker(head_data(), material, CPU)
    generator = torch.Generator().manual_seed(11)
    wide = {"clean": True, "margin": 1.5}
    heads, looks = maker.sample(2, generator, turned=0.05, strength=(0.9, 0.5, 0.3), **wide)
    others, _ = maker.sample(2, generator, turned=0.05, strength=(0.9, 0.5, 0.2), **wide)
    looks = replace(looks, skin=replace(looks.skin, procedural=torch.zeros(2)))
    # Heads that the basis can say: without the free forms of random heads.
    known = maker.heads.positions + (heads.coefficients @ maker.heads.columns).view(2, -1, 3)
    heads = replace(heads, vertices=known)
    coefficients = torch.cat([heads.coefficients[:, :-52], others.coefficients[:, -52:]], dim=1)
    moved = ((coefficients - heads.coefficients) @ maker.heads.columns).view(2, -1, 3)
    turn = rotation_matrix(torch.tensor([[0.0, np.radians(20), 0.0]], dtype=torch.float32))
    turned = replace(
        heads,
        coefficients=coefficients,
        vertices=heads.vertices + moved,
        rotation=heads.rotation @ turn,
    )
    views = [heads, turned]
    pictures = [maker.render(one, looks, SIZE, generator).pixels for one in views]
    pairs = []
    for index in range(2):
        landmarks = [detect(maker, one, index) for one in views]
        seen = Observation(
            landmarks=torch.stack(landmarks),
            scores=torch.zeros(2, 52, dtype=DTYPE),
            focal=torch.stack([one.focal[index] for one in views]).to(DTYPE) * SIZE,
            centre=torch.stack([one.centre[index] for one in views]).to(DTYPE) * SIZE,
        )
        photos = [picture[index] for picture in pictures]
        pairs.append((seen, photos, heads.vertices[index].numpy()))
    return pairs


LEVEL = torch.eye(3, dtype=DTYPE).expand(2, 3, 3)


def matcher(basis: FitBasis, seen: Observation, photos) -> ViewMatcher:
    masks = find_masks(photos[0].numpy(), seen.landmarks[0].numpy(), CPU)
    return ViewMatcher(basis.surface, photos, seen, LEVEL, masks)


def surface_miss(basis: FitBasis, fit: Fit, truth: np.ndarray) -> float:
    """Mean distance of the face from the true surface (V, 3), millimetres, after the best similarity."""
    data = head_data()
    skin = data.part("skin")
    columns = np.concatenate([data.identity, data.local_changes, data.actions])[:, skin.vertices]
    made = data.positions[skin.vertices] + np.tensordot(fit.coefficients[0].numpy(), columns, 1)
    true = truth[skin.vertices].astype(np.float64)
    corners = true[skin.triangles]
    normals = np.zeros_like(true)
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    for corner in range(3):
        np.add.at(normals, skin.triangles[:, corner], faces)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    face = basis.surface.points.numpy()
    made, true, normals = made[face], true[face], normals[face]
    a, b = made - made.mean(0), true - true.mean(0)
    u, singular, vt = np.linalg.svd(a.T @ b)
    moved = a @ (u @ vt) * (singular.sum() / (a**2).sum())
    return float(1000 * np.abs(((moved - b) * normals).sum(1)).mean())


def test_spots_found_in_both_photos_tell_the_shape(basis, two_photos) -> None:
    """With another expression, and though the landmarks err alike in both photos."""
    for seen, photos, truth in two_photos:
        by_landmarks, none = fit_views(basis, seen)
        fit, count = fit_views(basis, seen, matcher(basis, seen, photos))
        assert none == 0
        assert count > 150
        assert surface_miss(basis, fit, truth) < 0.85 * surface_miss(basis, by_landmarks, truth)
        shape = slice(0, basis.expression.start)
        assert torch.allclose(fit.coefficients[0, shape], fit.coefficients[1, shape])


def test_a_photo_of_somebody_else_changes_nothing(basis, two_photos) -> None:
    (seen, photos, _), (_, strangers, _) = two_photos
    fit, count = fit_views(basis, seen, matcher(basis, seen, [photos[0], strangers[1]]))
    assert count == 0
    plain, _ = fit_views(basis, seen)
    assert torch.equal(fit.points, plain.points)


def test_spots_that_are_not_found_again_leave_no_trace(basis, two_photos) -> None:
    """Found by chance in the first round, and lost when the head has followed them."""
    (seen, photos, _), _ = two_photos
    real = matcher(basis, seen, photos)

    class Chance:
        rounds = 0
        rows = real.rows

        def find(self, *state):
            self.rounds += 1
            return real.find(*state) if self.rounds == 1 else []

    chance = Chance()
    fit, count = fit_views(basis, seen, chance)
    assert (count, chance.rounds) == (0, 2)
    plain, _ = fit_views(basis, seen)
    assert torch.equal(fit.points, plain.points)


def test_a_few_spots_are_none(basis, two_photos, monkeypatch) -> None:
    """However few are left: the fit goes on without them."""
    (seen, photos, _), _ = two_photos
    compare = matcher(basis, seen, photos)
    found = patch_correspondences.match_there_and_back

    def scattered(*arguments):
        match, back = found(*arguments)
        noise = torch.randn(match.places.shape, generator=torch.Generator().manual_seed(1))
        return replace(match, places=match.places + 8 * noise), back

    monkeypatch.setattr(patch_correspondences, "match_there_and_back", scattered)
    fit, count = fit_views(basis, seen, compare)
    assert count == 0
    assert fit.points.isfinite().all()


def test_spots_that_are_found_elsewhere_on_the_way_back_do_not_count(basis, two_photos, monkeypatch) -> None:
    (seen, photos, _), _ = two_photos
    compare = matcher(basis, seen, photos)
    found = patch_correspondences.match_there_and_back

    def lost(*arguments):
        match, back = found(*arguments)
        return match, back + 0.01 * seen.eye_distance[0]

    monkeypatch.setattr(patch_correspondences, "match_there_and_back", lost)
    assert fit_views(basis, seen, compare)[1] == 0


def placed_twice(basis: FitBasis, yaw: float = 40.0):
    """Return coefficients, poses and lenses of a head seen from the front and turned."""
    coefficients = torch.zeros(2, basis.size, dtype=DTYPE)
    facing = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=DTYPE))
    angles = torch.tensor([[0.0, 0.0, 0.0], [0.0, np.radians(yaw), 0.0]], dtype=DTYPE)
    rotation = rotation_matrix(angles) @ facing
    translation = torch.tensor([[0.0, 0.0, 0.7], [0.03, 0.0, 0.75]], dtype=DTYPE)
    lenses = tuple(
        Lens(focal=torch.tensor(1500.0, dtype=DTYPE), centre=torch.tensor([x, 500.0], dtype=DTYPE))
        for x in (500.0, 520.0)
    )
    return coefficients, Pose(rotation, translation), lenses


def test_what_both_photos_see_is_what_rays_reach(basis) -> None:
    """The plain twin: a ray from each point to the camera and every triangle of the skin."""
    coefficients, pose, lenses = placed_twice(basis, yaw=60.0)
    _, seen = basis.surface.patches(coefficients, pose, lenses, (190.0, 180.0))
    data = head_data()
    skin = data.part("skin")
    vertices = data.positions[skin.vertices].astype(np.float64)
    hidden, averted = np.zeros(len(seen), bool), np.zeros(len(seen), bool)
    for view in range(2):
        placed = vertices @ pose.rotation[view].numpy().T + pose.translation[view].numpy()
        points = basis.surface.base.numpy() @ pose.rotation[view].numpy().T + pose.translation[view].numpy()
        a, b, c = (placed[skin.triangles[:, corner]] for corner in range(3))
        normals = np.zeros_like(placed)
        for corner in range(3):
            np.add.at(normals, skin.triangles[:, corner], np.cross(b - a, c - a))
        normals = normals[basis.surface.points.numpy()]
        # Beyond about 73 degrees: surely not compared, whatever hides it.
        cosine = -(normals * points).sum(1) / np.linalg.norm(normals, axis=1) / np.linalg.norm(points, axis=1)
        averted |= cosine < 0.35
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
    only_hidden = hidden & ~averted
    assert only_hidden.sum() >= 5
    assert seen.numpy()[only_hidden].mean() < 0.2, "what a ray does not reach is not compared"
    assert not seen.numpy()[averted].any()
    assert 0.2 < seen.float().mean() < 0.9


def test_neighbours_lie_where_the_affine_maps_put_them(basis) -> None:
    coefficients, pose, lenses = placed_twice(basis)
    patches, seen = basis.surface.patches(coefficients, pose, lenses, (190.0, 180.0))
    base = basis.surface.base.to(DTYPE)
    distance = torch.cdist(base, base).fill_diagonal_(1)
    near = distance.argmin(1)
    # Skin that is flat between the two, by its own normals' affine maps.
    level = (patches.affine[near] - patches.affine).flatten(1).norm(dim=1) < 0.1
    chosen = seen & seen[near] & (distance.amin(1) < 0.004) & level
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
    masks = find_masks(photos[0].numpy(), seen.landmarks[0].numpy(), CPU)
    compare = ViewMatcher(basis.surface, photos, seen, level, masks)
    coefficients, pose, _ = placed_twice(basis)

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
    coefficients, pose, _ = placed_twice(basis)
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
    surer = replace(matches, information=4 * matches.information)
    assert compare.rows([surer], coefficients, pose)[0].weights[0, 0, 0] > weights[0]
