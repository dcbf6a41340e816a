"""The fit as a GPU runs it, with a stand-in for the capture, against the reference."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gpu_workers.head.fitting import gauss_newton_cuda
from gpu_workers.head.fitting.gauss_newton import fit_landmarks
from gpu_workers.head.fitting.gauss_newton_cuda import GraphedFit
from gpu_workers.head.fitting.linear_model import FitBasis
from gpu_workers.head.runtime.device_runtime import DeviceRuntime
from tests.unit.head.fitting.synthetic_observations import photograph, random_heads
from tests.unit.head.graph_support import CPU, eager_runtime
from tests.unit.head.head_support import head_data


class OneSystemAtOnce(TorchDispatchMode):
    """Refuses what CUDA cannot capture: several systems in one call go to a library that takes memory."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert "cholesky_solve" not in str(function) or args[0].shape[:-2].numel() == 1, args[0].shape
        return function(*args, **(kwargs or {}))


@pytest.fixture
def runtime() -> DeviceRuntime:
    return eager_runtime()


@pytest.fixture
def graphed(runtime: DeviceRuntime, monkeypatch: pytest.MonkeyPatch) -> GraphedFit:
    refine = gauss_newton_cuda.GraphedFit._refine_one

    def refine_one(*inputs: object) -> torch.Tensor:
        with OneSystemAtOnce():
            return refine(*inputs)

    monkeypatch.setattr(gauss_newton_cuda.GraphedFit, "_refine_one", refine_one)
    return GraphedFit(head_data(), FitBasis(head_data(), CPU), runtime)


@pytest.mark.parametrize("count", [1, 3])
def test_photos_of_a_batch_are_replays_of_one_graph(
    graphed: GraphedFit, runtime: DeviceRuntime, count: int
) -> None:
    seen, _ = photograph(graphed.basis, random_heads(graphed.basis, count, seed=7))
    found, expected = graphed.fit(seen), fit_landmarks(graphed.basis, seen)
    assert runtime.heads.captured == 1
    torch.testing.assert_close(found.points, expected.points, atol=2e-5, rtol=0)
    torch.testing.assert_close(found.pose.translation, expected.pose.translation, atol=1e-4, rtol=0)
    assert found.errors.shape == expected.errors.shape


def test_a_large_batch_is_one_pass_without_a_graph(graphed: GraphedFit, runtime: DeviceRuntime) -> None:
    seen, _ = photograph(graphed.basis, random_heads(graphed.basis, 7, seed=8))
    found = graphed.fit(seen)
    assert runtime.heads.captured == 0
    torch.testing.assert_close(found.points, fit_landmarks(graphed.basis, seen).points, atol=2e-5, rtol=0)
