"""Patches of one photo found in another: places against the truth and an exhaustive search."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from gpu_workers.head.fitting.patch_alignment import (
    PATCH,
    GreyPyramid,
    Patches,
    match_patches,
    match_there_and_back,
)

EYES = 200.0
#: How the second photo shows the first: x' = TURN x + SHIFT.
TURN, SHIFT = np.array([[0.9, 0.06], [-0.04, 1.03]]), np.array([12.0, -5.0])


def texture(seed: int) -> np.ndarray:
    """Grey skin of 400 x 400 pixels: spots of several sizes, 0..255."""
    rng = np.random.default_rng(seed)
    parts = [gaussian_filter(rng.normal(size=(400, 400)), sigma) * sigma for sigma in (1.2, 3, 8)]
    return np.clip(128 + 60 * sum(parts), 0, 255)


def photo(grey: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.repeat(grey.round().astype(np.uint8)[..., None], 3, axis=2))


def seen_again(grey: np.ndarray) -> np.ndarray:
    """The second photo; places count from the corner of the first pixel."""
    y, x = np.mgrid[0:400, 0:400] + 0.5
    source = np.linalg.inv(TURN) @ (np.stack([x, y]).reshape(2, -1) - SHIFT[:, None])
    return map_coordinates(grey, source[::-1] - 0.5, order=3, mode="nearest").reshape(400, 400)


@pytest.fixture(scope="module")
def patches() -> tuple[Patches, torch.Tensor]:
    """Places in the first photo, expected up to 5 pixels from where they are; and where they are."""
    rng = np.random.default_rng(3)
    places = rng.uniform(90, 310, (150, 2))
    truth = places @ TURN.T + SHIFT
    angle = rng.uniform(0, 2 * np.pi, 150)
    off = rng.uniform(0, 5, 150)[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    affine = torch.from_numpy(TURN).expand(150, 2, 2)
    expected = torch.from_numpy(truth + off)
    return Patches(places=torch.from_numpy(places), expected=expected, affine=affine), torch.from_numpy(truth)


def test_patches_are_found_to_a_fraction_of_a_pixel_under_another_exposure(patches) -> None:
    grey = texture(0)
    first = GreyPyramid(photo(grey), EYES)
    second = GreyPyramid(photo(40 + 0.6 * seen_again(grey)), EYES)
    match, back = match_there_and_back(first, second, patches[0])
    miss = (match.places - patches[1]).norm(dim=1)
    assert miss.median() < 0.05
    assert miss.quantile(0.95) < 0.2
    assert match.agreement.median() > 0.97
    assert back.median() < 0.05


def test_a_photo_of_another_size_is_matched_in_its_own_pixels(patches) -> None:
    grey = texture(1)
    doubled = np.repeat(np.repeat(seen_again(grey), 2, axis=0), 2, axis=1)
    larger = Patches(places=patches[0].places, expected=2 * patches[0].expected, affine=2 * patches[0].affine)
    match = match_patches(GreyPyramid(photo(grey), EYES), GreyPyramid(photo(doubled), 2 * EYES), larger)
    assert (match.places - 2 * patches[1]).norm(dim=1).median() < 0.2


def test_it_finds_what_an_exhaustive_search_finds(patches) -> None:
    """The plain twin: every place on a grid of a quarter pixel, by the correlation of whole patches."""
    grey = texture(2)
    other = seen_again(grey)
    match = match_patches(GreyPyramid(photo(grey), EYES), GreyPyramid(photo(other), EYES), patches[0])
    line = np.arange(PATCH) - (PATCH - 1) / 2
    offsets = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    shifts = np.stack(np.meshgrid(*2 * [np.arange(-6, 6.1, 0.25)]), -1).reshape(-1, 2)

    def sample(image: np.ndarray, places: np.ndarray) -> np.ndarray:
        values = map_coordinates(image, (places - 0.5).reshape(-1, 2).T[::-1], order=1, mode="nearest")
        values = values.reshape(places.shape[:-1])
        centred = values - values.mean(-1, keepdims=True)
        return centred / np.linalg.norm(centred, axis=-1, keepdims=True)

    for one in range(0, 150, 15):
        wanted = sample(grey, patches[0].places[one].numpy() + offsets)
        at = patches[0].expected[one].numpy() + shifts[:, None] + offsets @ TURN.T
        best = patches[0].expected[one].numpy() + shifts[(sample(other, at) @ wanted).argmax()]
        assert np.linalg.norm(match.places[one].numpy() - best) < 0.3


def test_skin_without_texture_says_nothing_and_an_edge_only_what_lies_across_it() -> None:
    x = np.arange(400) + 0.5
    edge = np.tile(128 + 60 * np.tanh((x - 200) / 4), (400, 1))
    pyramid = GreyPyramid(photo(edge), EYES)
    places = torch.tensor([[200.0, 200.0], [60.0, 200.0]])
    match = match_patches(
        pyramid, pyramid, Patches(places=places, expected=places, affine=torch.eye(2).expand(2, 2, 2))
    )
    across, along = match.information[0, 0, 0], match.information[0, 1, 1]
    assert across > 50 * along
    assert match.information[1].abs().max() == 0


def test_another_persons_skin_is_not_taken_for_this_one(patches) -> None:
    first, second = (GreyPyramid(photo(texture(seed)), EYES) for seed in (4, 5))
    match, back = match_there_and_back(first, second, patches[0])
    taken = (match.agreement > 0.8) & (back < 0.006 * EYES)
    assert taken.float().mean() < 0.1


@pytest.mark.parametrize("cut", [1, 3, 40])
def test_a_photo_whose_scales_are_no_whole_pixels_is_not_shifted(cut: int) -> None:
    """The same photo without its last columns: nothing has moved."""
    grey = np.kron(texture(6), np.ones((2, 2)))[:799, :799]
    places = torch.cartesian_prod(torch.arange(200.0, 600, 40), torch.arange(200.0, 600, 40))
    still = Patches(places=places, expected=places, affine=torch.eye(2).expand(len(places), 2, 2))
    pyramids = [GreyPyramid(photo(picture), 2 * EYES) for picture in (grey, grey[:, :-cut])]
    moved = match_patches(pyramids[0], pyramids[1], still).places - places
    assert moved.mean(0).abs().max() < 0.05
