"""The fit as a GPU runs it, with a stand-in for the capture, against the plain fit."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gpu_workers.head.fitting import gauss_newton_cuda
from gpu_workers.head.fitting.gauss_newton import fit_landmarks
from gpu_workers.head.fitting.gauss_newton_cuda import GraphedFit
from gpu_workers.head.fitting.linear_model import FitBasis
from tests.unit.head.fitting.test_gauss_newton import photograph, random_heads
from tests.unit.head.head_support import head_data

pytestmark = pytest.mark.heavy

CPU = torch.device("cpu")


class OneSystemAtOnce(TorchDispatchMode):
    """Refuses what CUDA cannot capture: several systems in one call go to a library that takes memory."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert "cholesky_solve" not in str(function) or args[0].shape[:-2].numel() == 1, args[0].shape
        return function(*args, **(kwargs or {}))


class Repeated:
    """A captured call that runs the function again."""

    made = 0

    def __init__(self, function: Callable[[], torch.Tensor], *_: object) -> None:
        Repeated.made += 1
        self._function = function

    def replay(self) -> torch.Tensor:
        with OneSystemAtOnce():
            return self._function()


@pytest.fixture
def graphed(monkeypatch: pytest.MonkeyPatch) -> GraphedFit:
    monkeypatch.setattr(gauss_newton_cuda, "CapturedCall", Repeated)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", MagicMock())
    return GraphedFit(head_data(), FitBasis(head_data(), CPU))


@pytest.mark.parametrize("count", [1, 3])
def test_photos_of_a_batch_are_replays_of_one_graph(graphed: GraphedFit, count: int) -> None:
    Repeated.made = 0
    seen, _ = photograph(graphed.basis, random_heads(graphed.basis, count, seed=7))
    found, expected = graphed.fit(seen), fit_landmarks(graphed.basis, seen)
    assert Repeated.made == 1
    torch.testing.assert_close(found.points, expected.points, atol=2e-5, rtol=0)
    torch.testing.assert_close(found.pose.translation, expected.pose.translation, atol=1e-4, rtol=0)
    assert found.errors.shape == expected.errors.shape


def test_a_large_batch_is_one_pass_without_a_graph(graphed: GraphedFit) -> None:
    Repeated.made = 0
    seen, _ = photograph(graphed.basis, random_heads(graphed.basis, 7, seed=8))
    found = graphed.fit(seen)
    assert Repeated.made == 0
    torch.testing.assert_close(found.points, fit_landmarks(graphed.basis, seen).points, atol=2e-5, rtol=0)
