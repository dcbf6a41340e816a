"""What a captured call keeps; CUDA itself is stood in for, so that no GPU is needed."""

import gc
import weakref
from unittest.mock import MagicMock

import pytest
import torch

from gpu_workers.head.ops.image import _blur_matrix
from gpu_workers.head.runtime import cuda_graphs
from gpu_workers.head.runtime.cuda_graphs import HEADS, CapturedCall, graph_constant

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "torch", MagicMock())
    monkeypatch.setattr(HEADS, "_places", {})


def test_a_graph_keeps_its_blurs_whatever_photos_come_after() -> None:
    graph = CapturedCall(lambda: float(_blur_matrix(31, 1.5, CPU).sum()), CPU, HEADS)
    matrix = weakref.ref(_blur_matrix(31, 1.5, CPU))
    for size in range(40, 240):
        _blur_matrix(size, 1.5, CPU)
    gc.collect()
    assert matrix() is not None
    del graph
    gc.collect()
    assert matrix() is None


def test_constants_are_made_once_and_not_kept_outside_a_capture() -> None:
    made = []

    @graph_constant(maxsize=1)
    def ones(size: int) -> torch.Tensor:
        made.append(size)
        return torch.ones(size)

    assert ones(3) is ones(3)
    first = weakref.ref(ones(3))
    ones(4)
    gc.collect()
    assert first() is None
    assert made == [3, 4]


def test_a_failed_capture_keeps_nothing() -> None:
    held = []

    def fail_in_capture() -> None:
        _blur_matrix(32, 1.5, CPU)
        held.append(getattr(cuda_graphs._capturing, "held", None))
        if held[-1] is not None:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        CapturedCall(fail_in_capture, CPU, HEADS)
    assert held[0] is None
    assert len(held[-1]) == 1
    assert not hasattr(cuda_graphs._capturing, "held")


def test_tasks_side_by_side_begin_and_end_with_the_stream_they_came_from() -> None:
    """On the CPU they run one after another; on a GPU the current stream waits for the others."""
    done: list[str] = []
    cuda_graphs.run_side_by_side(CPU, lambda: done.append("a"), lambda: done.append("b"))
    assert done == ["a", "b"]
    device = MagicMock(type="cuda")
    current = cuda_graphs.torch.cuda.current_stream(device)
    cuda_graphs.run_side_by_side(device, lambda: done.append("here"), lambda: done.append("aside"))
    aside = cuda_graphs._side_streams(device, 1)[0]
    aside.wait_stream.assert_called_once_with(current)
    current.wait_stream.assert_called_once_with(aside)
    assert sorted(done[2:]) == ["aside", "here"]


def test_what_is_done_beside_is_complete_at_the_end() -> None:
    device = MagicMock(type="cuda")
    with cuda_graphs.beside(device, "masks"):
        stream = cuda_graphs._lane(device, "masks")
        cuda_graphs.torch.cuda.stream.assert_called_once_with(stream)
        stream.synchronize.assert_not_called()
    stream.synchronize.assert_called_once_with()
    with cuda_graphs.beside(CPU, "masks"):
        pass
    assert cuda_graphs.torch.cuda.stream.call_count == 1
