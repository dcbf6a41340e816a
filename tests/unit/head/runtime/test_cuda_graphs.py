"""What a captured call keeps; CUDA itself is stood in for, so that no GPU is needed."""

import gc
import weakref
from unittest.mock import MagicMock

import pytest
import torch

from gpu_workers.head.ops.image import _blur_matrix
from gpu_workers.head.runtime import cuda_graphs, device_runtime
from gpu_workers.head.runtime.cuda_graphs import GraphPool, SideStreams, graph_constant
from gpu_workers.head.runtime.device_runtime import DeviceRuntime

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "torch", MagicMock())
    monkeypatch.setattr(device_runtime, "torch", MagicMock())


def test_a_graph_keeps_its_blurs_whatever_photos_come_after() -> None:
    graph = GraphPool(CPU).capture(lambda: float(_blur_matrix(31, 1.5, CPU).sum()))
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
        GraphPool(CPU).capture(fail_in_capture)
    assert held[0] is None
    assert len(held[-1]) == 1
    assert not hasattr(cuda_graphs._capturing, "held")


def test_tasks_side_by_side_begin_and_end_with_the_stream_they_came_from() -> None:
    """On the CPU they run one after another; on a GPU the current stream waits for the others."""
    done: list[str] = []
    SideStreams(CPU).run(lambda: done.append("a"), lambda: done.append("b"))
    assert done == ["a", "b"]
    device = MagicMock(type="cuda")
    current = cuda_graphs.torch.cuda.current_stream(device)
    streams = SideStreams(device)
    streams.run(lambda: done.append("here"), lambda: done.append("aside"))
    (aside,) = streams._streams
    aside.wait_stream.assert_called_once_with(current)
    current.wait_stream.assert_called_once_with(aside)
    assert sorted(done[2:]) == ["aside", "here"]


def test_what_is_done_beside_is_complete_at_the_end() -> None:
    used = device_runtime.torch.cuda.stream
    runtime = DeviceRuntime(MagicMock(type="cuda"))
    with runtime.beside("masks"):
        stream = runtime._streams["masks"]
        used.assert_called_once_with(stream)
        stream.synchronize.assert_not_called()
    stream.synchronize.assert_called_once_with()
    with DeviceRuntime(CPU).beside("masks"):
        pass
    assert used.call_count == 1


def test_a_pools_next_holder_waits_on_the_device_for_the_last_ones_work() -> None:
    """Two threads may work on different streams; the host waits for neither."""
    pool = GraphPool(MagicMock(type="cuda"))
    streams = [MagicMock(), MagicMock()]
    for stream in streams:
        cuda_graphs.torch.cuda.current_stream.return_value = stream
        with pool.use():
            pass
    event = cuda_graphs.torch.cuda.Event.return_value
    streams[0].wait_event.assert_not_called()
    streams[1].wait_event.assert_called_once_with(event)
    assert [call.args for call in event.record.call_args_list] == [(stream,) for stream in streams]
    event.synchronize.assert_not_called()
