"""The skin's atlas is one for a face: measured on the built head; the measures on squares of known layout."""

import numpy as np
import pytest

from gpu_workers.head_authoring.uv_packing import signed_areas
from gpu_workers.head_authoring.uv_quality import AtlasQuality, count_triangles, measure_atlas
from tests.unit.head.head_support import head_data

pytestmark = pytest.mark.heavy

#: A square of two triangles, of one metre.
SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
HALVES = np.array([[0, 1, 2], [0, 2, 3]])


def measure_squares(*uvs: np.ndarray) -> AtlasQuality:
    """Measure as many unit squares side by side, each an island with the uvs (4, 2) given."""
    number = len(uvs)
    triangles = np.concatenate([HALVES + 4 * k for k in range(number)])
    positions = np.concatenate([SQUARE + np.array([2 * k, 0, 0]) for k in range(number)])
    islands = np.repeat(np.arange(number), 4)
    return measure_atlas(
        positions, triangles, np.concatenate(uvs), triangles, islands, np.ones(len(triangles), bool)
    )


def test_the_skins_atlas_is_made_for_a_face() -> None:
    data = head_data()
    skin = data.part("skin")
    face = data.masks["face"][skin.triangles].min(1) > 0.5
    quality = measure_atlas(
        data.positions[skin.vertices].astype(float), skin.triangles, skin.uvs.astype(float),
        skin.uv_triangles, skin.uv_islands, face,
    )  # fmt: skip
    assert quality.face_share >= 0.25
    assert quality.flipped == 0
    assert quality.overlap_share <= 0.001
    assert quality.anisotropy <= 3
    assert quality.density_range <= 4
    assert quality.gutter >= 8


def test_the_atlas_is_mirror_symmetric() -> None:
    data = head_data()
    skin = data.part("skin")
    face = np.flatnonzero(skin.uv_islands == 0)
    mirrored = skin.uvs[face] * [-1, 1] + [1, 0]
    distance = np.abs(skin.uvs[face][:, None] - mirrored[None, ::7]).max(2).min(0)
    assert np.percentile(distance, 99) < 0.002


@pytest.mark.parametrize(
    ("name", "size", "least"),
    [("eye_left", 1024, 150), ("teeth_upper", 1024, 40), ("gums_lower", 1024, 30), ("tongue", 1024, 40)],
)
def test_inner_parts_have_pixels_enough(name: str, size: int, least: float) -> None:
    """Texels a centimetre, the median over the part's front half, of their own maps."""
    data = head_data()
    part = data.part(name)
    positions = data.positions[part.vertices]
    corners = positions[part.triangles].astype(float)
    front = corners.mean(1)[:, 2] > np.median(positions[:, 2])
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    flat = np.abs(signed_areas(part.uvs.astype(float), part.uv_triangles))
    density = np.sqrt(flat[front] / area[front]) * size / 100
    assert np.median(density) >= least


def test_a_square_laid_out_as_a_square_is_not_stretched() -> None:
    quality = measure_squares(SQUARE[:, :2] * 0.5 + 0.25)
    assert quality.face_share == pytest.approx(0.25)
    assert (quality.flipped, quality.overlap_share, quality.gutter) == (0, 0, np.inf)
    assert quality.anisotropy == pytest.approx(1)
    assert quality.density_range == pytest.approx(1)


def test_stretch_flip_and_density_are_seen() -> None:
    thin = measure_squares(SQUARE[:, :2] * [0.6, 0.2] + 0.1)
    assert thin.anisotropy == pytest.approx(3)
    assert measure_squares(SQUARE[:, :2] * [-0.5, 0.5] + [0.75, 0.25]).flipped == 2
    uneven = measure_squares(SQUARE[:, :2] * 0.4, SQUARE[:, :2] * 0.1 + 0.6)
    assert uneven.density_range == pytest.approx(4)


def test_overlap_and_gutter_are_told_in_texels() -> None:
    beside = SQUARE[:, :2] * 0.25
    apart = measure_squares(beside, beside + np.array([0.25 + 16 / 4096, 0]))
    assert apart.gutter == pytest.approx(16, abs=4)
    assert apart.overlap_share == 0
    halfway = measure_squares(beside, beside + np.array([0.125, 0]))
    assert halfway.overlap_share == pytest.approx(1 / 3, abs=0.01)
    count, _ = count_triangles(beside, HALVES, np.zeros(2, int), size=64)
    assert count.sum() == pytest.approx(256, abs=32)
