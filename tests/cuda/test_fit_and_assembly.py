"""The graphs of fit and assembly on the card against the plain ones on the CPU; batches of 1, 3 and 7."""

import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch

from gpu_workers.head.fitting.gauss_newton import Fit, fit_landmarks
from gpu_workers.head.fitting.gauss_newton_cuda import GraphedFit
from gpu_workers.head.fitting.linear_model import FitBasis
from gpu_workers.head.fitting.observation import Observation
from gpu_workers.head.rigging.blendshape_transfer import PersonalShapes
from gpu_workers.head.rigging.fitted_head import HeadMaker
from gpu_workers.head.runtime.device_runtime import DeviceRuntime
from tests.cuda.parity import assert_near
from tests.cuda.scene import as_fitted, basis, head_data, maker, observe_astronaut, with_network
from tests.unit.head.fitting.synthetic_observations import photograph, random_heads

#: Metres: a hundredth of a millimetre.
SAME_PLACE = 1e-5


@pytest.fixture(scope="module")
def graphed(runtime: DeviceRuntime) -> GraphedFit:
    return GraphedFit(head_data(), FitBasis(head_data(), runtime.device), runtime)


@pytest.fixture(scope="module")
def card_maker(runtime: DeviceRuntime) -> HeadMaker:
    return HeadMaker(PersonalShapes(head_data(), runtime.device), runtime)


def photos(count: int) -> Observation:
    seen, _ = photograph(basis(), random_heads(basis(), count, seed=count))
    return seen


def assert_same_fit(found: Fit, expected: Fit) -> None:
    assert found.points.device.type == "cpu"
    assert_near("points, m", found.points, expected.points, most=SAME_PLACE)
    assert_near("translation, m", found.pose.translation, expected.pose.translation, most=1e-4)
    assert_near("rotation", found.pose.rotation, expected.pose.rotation, most=1e-4)
    assert_near("coefficients", found.coefficients, expected.coefficients, most=1e-3)
    assert_near("errors, eye distances", found.errors, expected.errors, most=1e-5)
    assert_near("bias, eye distances", found.bias, expected.bias, most=1e-5)


@pytest.mark.parametrize("batch", [1, 3, 7])
@pytest.mark.parametrize("also", [lambda seen: seen, with_network], ids=["landmarks", "with the network"])
def test_a_batch_is_fitted_as_on_the_cpu(
    graphed: GraphedFit, batch: int, also: Callable[[Observation], Observation]
) -> None:
    seen = also(photos(batch))
    assert_same_fit(graphed.fit(seen), fit_landmarks(basis(), seen))


@pytest.mark.parametrize("batch", [1, 3, 7])
def test_a_batch_is_assembled_as_on_the_cpu(card_maker: HeadMaker, batch: int) -> None:
    seen = photos(batch)
    fit = fit_landmarks(basis(), seen)
    fitted = [as_fitted(fit, row, seen) for row in range(batch)]
    # All heads are made before one is looked at: a later one must not write over an earlier one.
    found = [card_maker.make(one, expression_in_base=bool(row % 2)) for row, one in enumerate(fitted)]
    for row, (one, head) in enumerate(zip(fitted, found, strict=True)):
        expected = maker().make(one, expression_in_base=bool(row % 2))
        assert_near(f"posed {row}, m", head.posed, expected.posed, most=SAME_PLACE)
        assert head.scale_from == expected.scale_from
        assert_near("scale", np.array(head.scale), np.array(expected.scale), most=1e-6, mean=1e-6)
        assert_near(
            "camera, m",
            head.camera.translation,
            expected.camera.translation,
            most=SAME_PLACE,
            mean=SAME_PLACE,
        )
        for part, other in zip(head.head.parts, expected.head.parts, strict=True):
            assert_near(f"{part.name} {row}, m", part.positions, other.positions, most=SAME_PLACE)
            assert_near(
                f"{part.name}'s shapes {row}, m", part.morph_deltas, other.morph_deltas, most=SAME_PLACE
            )


def test_without_graphs_the_card_makes_the_same_head(card_maker: HeadMaker, device: torch.device) -> None:
    seen = observe_astronaut()
    fitted = as_fitted(fit_landmarks(basis(), seen), 0, seen)
    plain = HeadMaker(PersonalShapes(head_data(), device), DeviceRuntime(device))
    found, expected = (one.make(fitted, expression_in_base=False) for one in (card_maker, plain))
    assert_near("posed, m", found.posed, expected.posed, most=1e-6)
    assert_near("skin, m", found.head.parts[0].positions, expected.head.parts[0].positions, most=1e-6)


def test_threads_get_their_own_photos_heads(graphed: GraphedFit, card_maker: HeadMaker) -> None:
    seen = photos(3)
    fit = fit_landmarks(basis(), seen)
    expected = [maker().make(as_fitted(fit, row, seen), expression_in_base=False) for row in range(3)]
    apart: list[float] = []

    def work(row: int) -> None:
        one = seen.choose(slice(row, row + 1))
        for _ in range(10):
            found = graphed.fit(one)
            head = card_maker.make(as_fitted(found, 0, one), expression_in_base=False)
            apart.append(float((head.posed.cpu() - expected[row].posed).abs().max()))

    threads = [threading.Thread(target=work, args=(row,)) for row in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(apart) == 30
    print(f"threads: largest difference {max(apart):.3g} m")
    assert max(apart) <= SAME_PLACE
