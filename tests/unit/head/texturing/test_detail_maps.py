"""Folds become normals, depth, occlusion; freckles and hair do not. Kernels against plain twins."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from gpu_workers.head.texturing import detail_maps
from gpu_workers.head.texturing.ambient_occlusion import find_occlusion, spread_directions
from gpu_workers.head.texturing.detail_maps import (
    DISPLACEMENT_RANGE,
    SurfaceAtlas,
    SurfaceMaps,
    compose_surface,
    find_folds,
    find_slopes,
    load_surface_atlas,
    make_surface,
)
from tests.unit.head.head_support import head_data
from tests.unit.waiting import NoWaiting

pytestmark = pytest.mark.heavy

SMALL = 256
#: Pixels of a photo a centimetre of face.
THIRTY = torch.tensor(30.0)
SKIN = (0.80, 0.62, 0.54)
#: What a freckle leaves of red, green and blue, linear light.
FRECKLE = (0.80, 0.58, 0.45)


def plain_atlas() -> SurfaceAtlas:
    ones = torch.ones(SMALL, SMALL)
    return SurfaceAtlas(
        folds=ones,
        window=(slice(0, SMALL), slice(0, SMALL)),
        pores=2e-5 * ones,
        roughness=0.5 * ones,
        occlusion=0.9 * ones,
        metres=torch.full((2, SMALL, SMALL), 0.0004),
        texel=0.0004,
    )


def paint(factor: torch.Tensor) -> torch.Tensor:
    """Return (3, SMALL, SMALL) sRGB skin times a factor in linear light."""
    linear = torch.tensor(SKIN)[:, None, None] ** 2.2 * factor
    return linear.clamp(0, 1) ** (1 / 2.2)


def grid() -> tuple[torch.Tensor, torch.Tensor]:
    axis = torch.arange(SMALL, dtype=torch.float32)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return y, x


def wrinkle() -> torch.Tensor:
    """A dark line that runs down to the right, like a fold's shade: all channels alike."""
    y, x = grid()
    across = (y - 0.5 * x - 60) / 1.12
    inside = ((x > 40) & (x < 216)).float()
    return 1 - 0.45 * torch.exp(-((across / 2.5) ** 2)) * inside


def freckles() -> torch.Tensor:
    """Spots of pigment, from small to large."""
    y, x = grid()
    spots = torch.zeros(SMALL, SMALL)
    generator = torch.Generator().manual_seed(4)
    for _ in range(60):
        row, column, radius = (torch.rand(3, generator=generator) * torch.tensor([236, 236, 3.5])).tolist()
        away = (y - 10 - row) ** 2 + (x - 10 - column) ** 2
        spots = torch.maximum(spots, torch.exp(-away / (1.5 + radius) ** 2))
    return 1 - spots * (1 - torch.tensor(FRECKLE)[:, None, None])


def test_a_wrinkle_is_a_fold_where_it_is() -> None:
    fold = find_folds(paint(wrinkle()), THIRTY, plain_atlas())
    y, x = grid()
    on_line = ((y - 0.5 * x - 60).abs() < 1) & (x > 60) & (x < 196)
    far = (y - 0.5 * x - 60).abs() > 20
    assert float(fold[on_line].median()) < -0.00005
    assert float(fold[far].min()) > -0.000002
    assert float(fold.min()) > -DISPLACEMENT_RANGE


def test_freckles_and_tone_leave_the_surface_flat() -> None:
    y, _ = grid()
    gradual = 0.7 + 0.3 * y / SMALL
    wrinkled = find_folds(paint(wrinkle()), THIRTY, plain_atlas())
    spotted = find_folds(paint(freckles() * gradual), THIRTY, plain_atlas())
    assert float(spotted.min()) > 0.1 * float(wrinkled.min())
    assert float(spotted.abs().mean()) < 0.03 * float(wrinkled.abs().mean())


def test_a_beard_leaves_the_surface_flat() -> None:
    y, x = grid()
    generator = torch.Generator().manual_seed(2)
    hairs = functional.avg_pool2d(torch.rand(1, 1, SMALL, SMALL, generator=generator), (9, 1), 1, (4, 0))[
        0, 0
    ]
    beard = ((y > 140) & (x > 50) & (x < 200)).float()
    factor = 1 - beard * (0.62 + 0.3 * (hairs > 0.5).float())
    fold = find_folds(paint(factor), THIRTY, plain_atlas())
    inside = (y > 165) & (x > 75) & (x < 175)
    assert float(fold[inside].min()) > -0.00001


def test_a_photo_of_few_pixels_makes_no_fine_folds() -> None:
    """Its noise and its blocks are as wide as fine folds."""
    noise = torch.randn(3, SMALL, SMALL, generator=torch.Generator().manual_seed(0))
    rough = paint(1 + 0.06 * noise)
    coarse, fine = (
        find_folds(rough, torch.tensor(density), plain_atlas()).abs().mean() for density in (6.0, 40.0)
    )
    assert coarse < 0.5 * fine


def test_slopes_agree_with_the_plain_twin() -> None:
    y, x = grid()
    height = 1e-4 * torch.sin(x / 9) * torch.cos(y / 13)
    metres = torch.stack([torch.full((SMALL, SMALL), 0.0004), torch.full((SMALL, SMALL), 0.0006)])
    right, up = find_slopes(height, metres)
    for row, column in ((40, 50), (100, 7), (200, 180)):
        rise = (height[row, column + 1] - height[row, column - 1]) / 0.0008
        climb = (height[row - 1, column] - height[row + 1, column]) / 0.0012
        assert float(right[row, column]) == pytest.approx(float(rise), abs=1e-6)
        assert float(up[row, column]) == pytest.approx(float(climb), abs=1e-6)


def empty_maps(size: int) -> SurfaceMaps:
    return SurfaceMaps(
        normal=torch.zeros(size, size, 3, dtype=torch.uint8),
        roughness=torch.zeros(size, size, dtype=torch.uint8),
        occlusion=torch.zeros(size, size, dtype=torch.uint8),
        displacement=torch.zeros(size, size, dtype=torch.uint16),
    )


def test_composition_agrees_with_the_plain_twin() -> None:
    generator = torch.Generator().manual_seed(8)
    size = 12
    layers = torch.rand(4, size, size, generator=generator)
    layers[:2] = layers[:2] - 0.5
    layers[2] *= -0.0004
    layers[3] *= 3e-5
    pores = torch.rand(3, size, size, generator=generator) * 2 - 1
    pores[:2] *= 9000
    maps = empty_maps(size)
    compose_surface(layers.clone(), pores, maps, slice(0, size))
    for row in range(size):
        for column in range(size):
            right, up, fold, depth = layers[:, row, column].tolist()
            slopes = pores[:, row, column].tolist()
            normal = np.array([-right - depth * slopes[0], -up - depth * slopes[1], 1.0])
            normal /= np.linalg.norm(normal)
            expected = np.minimum(normal * 127.5 + 128, 255).astype(int)
            assert np.abs(maps.normal[row, column].int().numpy() - expected).max() <= 1
            height = (fold + depth * slopes[2]) / DISPLACEMENT_RANGE
            assert int(maps.displacement[row, column]) == pytest.approx(32768 * (1 + height), abs=17)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_bands_are_those_of_the_enlarged_whole(factor: int) -> None:
    """The plain twin enlarges every map at once."""
    picture = (paint(wrinkle()).permute(1, 2, 0) * 255).to(torch.uint8)
    albedo = picture.repeat_interleave(factor, 0).repeat_interleave(factor, 1)
    atlas = replace(plain_atlas(), pores=torch.zeros(SMALL, SMALL))
    maps = make_surface(albedo, THIRTY, atlas)
    small = functional.interpolate(
        albedo.permute(2, 0, 1)[None], size=(SMALL, SMALL), mode="bilinear", antialias=True
    )
    fold = find_folds(small[0].float() / 255, THIRTY, atlas)

    def enlarge(values: torch.Tensor) -> torch.Tensor:
        size = (SMALL * factor, SMALL * factor)
        return functional.interpolate(values[None, None], size=size, mode="bilinear")[0, 0]

    right, up = (enlarge(slope) for slope in find_slopes(fold, atlas.metres))
    normal = functional.normalize(torch.stack([-right, -up, torch.ones_like(up)], -1), dim=-1)
    expected = (normal * 127.5 + 128).clamp(max=255).to(torch.uint8).int()
    assert int((maps.normal.int() - expected).abs().max()) <= 1
    depth = 32768 + 32768 * enlarge(fold) / DISPLACEMENT_RANGE
    assert float((maps.displacement.int() - depth).abs().max()) <= 17
    shaded = enlarge(0.9 / (1 - fold / 0.0016)) * 255
    assert float((maps.occlusion.int() - shaded).abs().max()) <= 1.6


@pytest.mark.parametrize("band", [100, SMALL, 2 * SMALL])
def test_height_of_the_bands_changes_no_map(band: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU's bands follow the map's size; the last may be lower."""
    albedo = (paint(wrinkle()).permute(1, 2, 0) * 255).to(torch.uint8)
    albedo = albedo.repeat_interleave(4, 0).repeat_interleave(4, 1)
    expected = make_surface(albedo, THIRTY, plain_atlas())
    monkeypatch.setattr(detail_maps, "_BAND", band)
    for name, found in vars(make_surface(albedo, THIRTY, plain_atlas())).items():
        assert int((found.int() - getattr(expected, name).int()).abs().max()) <= 1, name


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_maps_of_a_fold_agree_with_each_other(factor: int) -> None:
    size = SMALL * factor
    picture = (paint(wrinkle()).permute(1, 2, 0) * 255).to(torch.uint8)
    albedo = picture.repeat_interleave(factor, 0).repeat_interleave(factor, 1)
    maps = make_surface(albedo, THIRTY, plain_atlas())
    assert maps.normal.shape == (size, size, 3)
    assert maps.displacement.shape == maps.roughness.shape == maps.occlusion.shape == (size, size)
    normal = maps.normal.float() / 127.5 - 1
    assert float((normal.norm(dim=-1) - 1).abs().max()) < 0.02
    # Above the line the skin falls towards it, down the map: there the normal leans down.
    row, column = int((0.5 * 128 + 60) * factor), 128 * factor
    reach = 6 * factor
    above = normal[row - reach : row - factor, column - 20 : column + 20, 1].mean()
    below = normal[row + factor : row + reach, column - 20 : column + 20, 1].mean()
    assert float(above) < -0.008
    assert float(below) > 0.008
    assert (maps.roughness == 128).all()
    depth = maps.displacement.int().float()
    assert float(depth[row, column - 9 : column + 9].mean()) < float(depth[4 * factor].mean()) - 500
    assert int(maps.occlusion[row, column]) < int(maps.occlusion[4 * factor, column])


def test_the_mean_head_sees_the_sky_from_its_forehead_and_not_from_its_nostrils() -> None:
    from gpu_workers.head.texturing.uv_atlas import load_skin_atlas

    data = head_data()
    atlas = load_skin_atlas(data, torch.device("cpu"))
    surface = load_surface_atlas(data, atlas)
    open_sky = surface.occlusion
    assert float(open_sky.min()) > 0.2
    assert float(open_sky.max()) <= 1.001
    hidden = atlas.masks["mouth_interior"] > 0.9
    assert float(open_sky[hidden & atlas.covered].mean()) < 0.5
    assert float(open_sky[(atlas.masks["scalp"] > 0.9) & atlas.covered].mean()) > 0.9
    assert float(surface.folds[atlas.masks["brows"] > 0.5].max()) < 0.05
    # A texel is as broad on the face as the map is dense there: 25 px/cm at 1024.
    face = (atlas.masks["face"] > 0.9) & atlas.covered
    assert 0.0002 < float(surface.metres[:, face].median()) < 0.0006
    main = atlas.main & atlas.covered & atlas.main.flip(-1)
    assert float((open_sky - open_sky.flip(-1))[main].abs().mean()) < 0.01


def test_occlusion_agrees_with_rays() -> None:
    """The plain twin: each ray against each triangle."""
    data = head_data()
    from gpu_workers.head.texturing.uv_atlas import load_skin_atlas

    atlas = load_skin_atlas(data, torch.device("cpu"))
    size = 256
    step = atlas.covered.shape[0] // size
    found = find_occlusion(data, atlas, size)
    skin = torch.from_numpy(data.positions[data.part("skin").vertices]).float()
    place = atlas.spread(skin)[:, ::step, ::step]
    solid = [part.triangles + part.first for part in data.parts if part.material not in ("cornea", "lashes")]
    corners = data.positions[np.concatenate(solid)].astype(np.float64)
    triangles = atlas.triangles.numpy()
    triangle = atlas.raster.triangle[::step, ::step]
    seen_by_rays, seen = [], []
    generator = np.random.default_rng(3)
    rows, columns = np.nonzero((atlas.masks["face"][::step, ::step] > 0.9).numpy())
    for pick in generator.choice(len(rows), 24, replace=False):
        row, column = rows[pick], columns[pick]
        a, b, c = skin.numpy()[triangles[int(triangle[row, column])]].astype(np.float64)
        normal = np.cross(b - a, c - a)
        normal /= np.linalg.norm(normal)
        origin = place[:, row, column].numpy() + 0.0014 * normal
        total = free = 0.0
        for direction in spread_directions(64).numpy():
            weight = float(direction @ normal)
            if weight > 0:
                total += weight
                free += weight * (not hits_any(origin, direction, corners))
        seen_by_rays.append(free / total)
        seen.append(float(found[row, column]))
    difference = np.array(seen) - np.array(seen_by_rays)
    assert np.abs(difference).mean() < 0.08
    assert np.abs(difference).max() < 0.3


def hits_any(origin: np.ndarray, direction: np.ndarray, corners: np.ndarray) -> bool:
    """Moeller and Trumbore, 1997."""
    edge1, edge2 = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    across = np.cross(direction, edge2)
    determinant = (edge1 * across).sum(1)
    safe = np.where(np.abs(determinant) < 1e-14, 1, determinant)
    from_corner = origin - corners[:, 0]
    u = (from_corner * across).sum(1) / safe
    beside = np.cross(from_corner, edge1)
    v = (beside @ direction) / safe
    along = (beside * edge2).sum(1) / safe
    inside = (u >= 0) & (v >= 0) & (u + v <= 1) & (np.abs(determinant) > 1e-14)
    return bool((inside & (along > 0.0014)).any())


def test_the_maps_wait_for_no_value_of_the_device() -> None:
    """A CUDA graph captures them: on a GPU nothing may be read back."""
    albedo = (paint(wrinkle()).permute(1, 2, 0) * 255).to(torch.uint8)
    expected = make_surface(albedo, THIRTY, plain_atlas())
    with NoWaiting():
        found = make_surface(albedo, THIRTY, plain_atlas())
    assert torch.equal(found.normal, expected.normal)
