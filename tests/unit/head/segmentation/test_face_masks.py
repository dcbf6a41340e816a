"""What the masks are made of, each against a plain twin; on a GPU's ways too, taken on a CPU."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from gpu_workers.head.ops import morphology
from gpu_workers.head.runtime import cuda_graphs
from gpu_workers.head.segmentation import face_masks, skin_color_model
from gpu_workers.head.segmentation.downsampling import average_boxes, reduce_photo, to_lab
from gpu_workers.head.segmentation.eye_mouth_openings import soften_openings
from gpu_workers.head.segmentation.landmark_outlines import draw_plan
from tests.unit.head.head_support import astronaut, prepared_astronaut
from tests.unit.waiting import NoWaiting

CPU = torch.device("cpu")


@pytest.fixture(params=["cpu", "gpu"])
def ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Take the ways of code that may ask for values, and of code that must not."""
    if request.param == "gpu":
        monkeypatch.setattr(cuda_graphs, "waits_for_values", lambda _: True)
    return request.param


def blobs(seed: int, share: float, shape: tuple[int, int] = (61, 47)) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    return noise > np.quantile(noise, 1 - share)


@pytest.mark.parametrize(
    ("size", "small"),
    [
        ((96, 130), (96, 130)),
        ((97, 131), (61, 84)),
        ((350, 260), (92, 68)),
        ((355, 301), (48, 40)),
        ((640, 427), (134, 90)),
        ((714, 272), (366, 139)),
    ],
)
def test_a_photo_is_reduced_as_pillow_does(size: tuple[int, int], small: tuple[int, int]) -> None:
    photo = np.random.default_rng(3).integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = Image.fromarray(photo).resize(small[::-1], Image.Resampling.BOX, reducing_gap=1.0)
    for reduce in (reduce_photo, average_boxes):
        found = reduce(torch.from_numpy(photo), small).numpy()
        assert np.abs(found.astype(int) - np.asarray(expected)).max() <= 1


def test_lab_is_that_of_another_library() -> None:
    from skimage.color import rgb2lab

    photo = np.random.default_rng(4).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    photo[0, :2] = [[0, 0, 0], [255, 255, 255]]
    found = to_lab(torch.from_numpy(photo)).permute(1, 2, 0)
    np.testing.assert_allclose(found.numpy(), rgb2lab(photo), atol=0.02)


@pytest.mark.parametrize("radius", [3, 11, 40])
@pytest.mark.parametrize("share", [0.004, 0.2, 0.9])
def test_distances_equal_scipys_up_to_the_radius(ways: str, radius: int, share: float) -> None:
    masks = np.stack([blobs(seed, share) for seed in (1, 2)])
    expected = [np.minimum(ndimage.distance_transform_edt(~mask), radius) for mask in masks]
    found = morphology.distance_to(torch.from_numpy(masks), radius)
    np.testing.assert_allclose(found.numpy(), np.stack(expected), rtol=1e-6)


def test_from_nothing_all_is_far(ways: str) -> None:
    for radius in (5, 40):
        far = morphology.distance_to(torch.zeros(9, 9, dtype=torch.bool), radius)
        assert (far == radius).all()


def test_a_large_picture_is_compared_in_pieces(ways: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = torch.from_numpy(blobs(5, 0.1))
    whole = morphology.distance_to(mask, 9)
    monkeypatch.setattr(morphology, "_AT_ONCE", 10_000)
    torch.testing.assert_close(morphology.distance_to(mask, 9), whole)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_shapes_grow_and_close_like_scipys(ways: str, steps: int) -> None:
    mask, count = blobs(6, 0.35), torch.tensor(float(steps))
    grown = morphology.dilate(torch.from_numpy(mask), count, 6)
    np.testing.assert_array_equal(grown.numpy(), ndimage.binary_dilation(mask, iterations=steps))
    # In a window as if nothing lay outside.
    window = np.zeros_like(mask)
    window[8:50, 5:40] = True
    closed = morphology.close(torch.from_numpy(mask), count, 6, torch.from_numpy(window)).numpy()
    expected = ndimage.binary_closing(mask[8:50, 5:40], iterations=steps)
    np.testing.assert_array_equal(closed[8:50, 5:40], expected)
    assert not closed[~window].any()


@pytest.mark.parametrize("half", [1, 3])
def test_the_least_of_a_square_is_scipys(ways: str, half: int) -> None:
    picture = np.random.default_rng(7).normal(size=(40, 33)).astype(np.float32)
    costs = morphology.square_costs(torch.tensor(float(half)), 4)
    found = morphology.least_around(torch.from_numpy(picture), costs)
    np.testing.assert_array_equal(found.numpy(), ndimage.minimum_filter(picture, size=2 * half + 1))


@pytest.mark.parametrize("seed", range(4))
def test_holes_are_filled_and_parts_kept_like_scipys(ways: str, seed: int) -> None:
    mask = blobs(seed, 0.55)
    window = np.zeros_like(mask)
    window[4:57, 6:47] = True
    filled = morphology.fill_holes(torch.from_numpy(mask), torch.from_numpy(window)).numpy()
    np.testing.assert_array_equal(filled[4:57, 6:47], ndimage.binary_fill_holes(mask[4:57, 6:47]))
    seeds = blobs(seed + 10, 0.01) & mask
    labels, _ = ndimage.label(mask)
    expected = mask & np.isin(labels, np.unique(labels[seeds]))
    found = morphology.parts_with(torch.from_numpy(seeds), torch.from_numpy(mask))
    np.testing.assert_array_equal(found.numpy(), expected)


def test_medians_equal_numpys(ways: str) -> None:
    rng = np.random.default_rng(8)
    values, valid = rng.normal(size=(3, 200)).astype(np.float32), rng.random((4, 200)) < 0.3
    valid[2], valid[3, :] = np.arange(200) < 8, False
    found = skin_color_model.chosen_medians(torch.from_numpy(values), torch.from_numpy(valid)).numpy()
    for part in range(3):
        np.testing.assert_allclose(found[part], np.median(values[:, valid[part]], axis=1), rtol=1e-6)
    assert np.isnan(found[3]).all()


def test_every_nth_of_many_pixels_is_a_sample() -> None:
    where = np.random.default_rng(9).random(12_000) < 0.4
    pixels = np.arange(24_000, dtype=np.float32).reshape(2, -1)
    samples = skin_color_model.choose_samples(torch.from_numpy(pixels), torch.from_numpy(where))
    expected = pixels[:, where][:, :: where.sum() // 1500]
    np.testing.assert_array_equal(samples.values[:, samples.valid].numpy(), expected)


def plain_fit(samples: np.ndarray, parts: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The slow twin of `fit_mixture`: (N, 3) samples, one component after the other, in double precision."""
    owner = np.empty(len(samples), int)
    owner[np.argsort(samples[:, 0], kind="stable")] = np.arange(len(samples)) * parts // len(samples)
    for _ in range(4):
        means, precisions, weights = [], [], []
        for part in range(parts):
            own = samples[owner == part]
            own = own if len(own) >= 8 else samples
            moved = own - np.median(own, axis=0)
            limit = 2.5 * 1.4826 * np.median(np.abs(moved), axis=0) + 1e-3
            moved = np.clip(moved, -limit, limit)
            covariance = moved.T @ moved / len(own) + np.diag([3.5**2, 2.2**2, 2.2**2])
            means.append(np.median(own, axis=0))
            precisions.append(np.linalg.inv(covariance))
            share = np.log((owner == part).mean() + 1e-3)
            weights.append(share + 0.5 * np.linalg.slogdet(precisions[-1])[1])
        logs = [
            weight - 0.5 * (((samples - mean) @ precision) * (samples - mean)).sum(1)
            for mean, precision, weight in zip(means, precisions, weights, strict=True)
        ]
        owner = np.argmax(logs, axis=0)
    return np.array(means), np.array(precisions), np.array(weights)


def test_a_mixture_is_fitted_like_the_plain_twin(ways: str) -> None:
    rng = np.random.default_rng(11)
    centres = np.array([[70, 14, 18], [45, 20, 22], [25, 3, 8]])
    spreads = np.array([[4, 2, 3], [6, 3, 2], [8, 1, 2]])
    colours = np.concatenate(
        [c + s * rng.normal(size=(n, 3)) for c, s, n in zip(centres, spreads, (500, 300, 200), strict=True)]
    )
    rng.shuffle(colours)
    values = np.concatenate([colours, np.full((100, 3), 1e3)]).astype(np.float32).T.copy()
    samples = skin_color_model.Samples(torch.from_numpy(values), torch.arange(1100) < 1000)
    found = skin_color_model.fit_mixture(samples, 3)
    means, precisions, weights = plain_fit(colours, 3)
    np.testing.assert_allclose(found.means.numpy(), means, rtol=1e-4)
    np.testing.assert_allclose(found.precisions.numpy(), precisions, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.weights.numpy(), weights, rtol=1e-4)


def test_openings_are_softened_like_scipy_blurs() -> None:
    drawn = (blobs(12, 0.5) * 255).astype(np.uint8)
    for eyes, sigma in ((20.0, 0.3), (75.0, 0.45)):
        expected = ndimage.gaussian_filter(drawn / 255, sigma, mode="nearest", radius=2)
        found = soften_openings(torch.from_numpy(drawn), torch.tensor(eyes))
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


@pytest.mark.heavy
def test_masks_made_without_asking_for_a_value_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CUDA graph holds all of it: no value is read, and no shape depends on the face."""
    photo, landmarks = astronaut(), prepared_astronaut().landmarks
    expected = face_masks.find_masks(photo, landmarks, CPU)
    make_masks = face_masks.make_masks

    def make_without_asking(*inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # The first time makes constants.
        make_masks(*inputs)
        with NoWaiting():
            return make_masks(*inputs)

    monkeypatch.setattr(cuda_graphs, "waits_for_values", lambda _: True)
    monkeypatch.setattr(face_masks, "make_masks", make_without_asking)
    found = face_masks.find_masks(photo, landmarks, CPU)
    for name in ("confidence", "skin", "measures"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), atol=1e-3, rtol=0)


def test_a_face_beside_the_picture_is_nowhere(ways: str) -> None:
    landmarks = prepared_astronaut().landmarks + 2000
    masks = face_masks.find_masks(astronaut(), landmarks, CPU)
    assert float(masks.confidence.max()) == 0
    assert torch.isfinite(masks.skin).all()
    assert masks.covered == 1


def test_a_graph_is_filled_anew_and_its_results_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    class Repeated:
        """A captured call that runs the function again."""

        def __init__(self, function: Callable[[], object], *_: object) -> None:
            self.replay = function

    monkeypatch.setattr(face_masks, "CapturedCall", Repeated)
    points = prepared_astronaut().landmarks[:, :2].astype(np.float64)
    photo, eyes = torch.from_numpy(astronaut().copy()), float(np.linalg.norm(points[33] - points[263]))
    with torch.inference_mode():
        plans = [draw_plan(points + moved, eyes, (512, 512)) for moved in (0.0, 3.0)]
        graph = face_masks._Graph(photo.shape, plans[0].sheets.shape, len(plans[0].numbers), CPU)
        found = [graph(photo, plan) for plan in plans]
        for plan, (masks, measures) in zip(plans, found, strict=True):
            expected = face_masks.make_masks(
                photo, torch.from_numpy(plan.sheets), torch.from_numpy(plan.numbers)
            )
            torch.testing.assert_close((masks, measures), expected)
