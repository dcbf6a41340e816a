"""What a graphed function promises its callers, with captures that a CPU can make."""

import gc
import threading
import weakref
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from gpu_workers.head.runtime.cuda_graphs import GraphPool
from gpu_workers.head.runtime.graphed_function import GraphedFunction, Resident
from tests.unit.head.graph_support import CPU, EagerPool


@dataclass(frozen=True)
class Found:
    total: Tensor
    parts: list[Tensor]
    name: str = "found"


def add(first: Tensor, second: Tensor, factor: float = 1.0) -> Found:
    total = factor * (first + second)
    return Found(total=total, parts=[total[:1], total[1:]])


def test_inputs_of_one_kind_share_a_graph_and_results_stay_the_callers() -> None:
    pool = EagerPool()
    graphed = GraphedFunction(add, pool)
    found = [graphed(torch.full((3,), float(k)), torch.arange(3.0)) for k in range(4)]
    assert pool.captured == 1
    for k, one in enumerate(found):
        torch.testing.assert_close(one.total, k + torch.arange(3.0))
        torch.testing.assert_close(one.parts[1], k + torch.arange(1.0, 3.0))
        assert one.name == "found"


def test_what_is_fetched_is_the_callers() -> None:
    graphed = GraphedFunction(add, EagerPool())
    found = [graphed.fetch(torch.full((2,), float(k)), torch.ones(2)).total.tolist() for k in range(2)]
    assert found == [[1, 1], [2, 2]]
    first = graphed.fetch(torch.zeros(2), torch.ones(2)).total
    graphed.fetch(torch.full((2,), 9.0), torch.ones(2))
    assert first.tolist() == [1, 1]


def test_what_is_lent_lies_where_the_next_call_writes() -> None:
    graphed = GraphedFunction(add, EagerPool())
    with graphed.lend(torch.zeros(2), torch.ones(2)) as lent:
        first = lent.total
        assert first.tolist() == [1, 1]
    with graphed.lend(torch.ones(2), torch.ones(2)) as lent:
        assert lent.total.data_ptr() == first.data_ptr()
        assert first.tolist() == [2, 2]


@pytest.mark.parametrize(
    "other",
    [
        (torch.ones(4), torch.ones(4)),
        (torch.ones(1, 3), torch.ones(1, 3)),
        (torch.ones(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)),
        (torch.ones(3), torch.ones(3), 2.0),
    ],
)
def test_inputs_of_another_kind_have_a_graph_of_their_own(other: tuple[object, ...]) -> None:
    pool = EagerPool()
    graphed = GraphedFunction(add, pool)
    for _ in range(2):
        assert graphed(torch.ones(3), torch.ones(3)).total.tolist() == [2, 2, 2]
        assert graphed(*other).total.dtype == other[0].dtype
    assert pool.captured == 2


def test_a_number_and_a_truth_are_not_one_kind() -> None:
    pool = EagerPool()
    graphed = GraphedFunction(lambda one, value: one * 2 if value is True else one, pool)
    assert graphed(torch.ones(1), 1).tolist() == [1]
    assert graphed(torch.ones(1), True).tolist() == [2]
    assert pool.captured == 2


def test_the_kind_not_called_for_longest_goes() -> None:
    pool = EagerPool()
    graphed = GraphedFunction(add, pool, keep=2)

    def call(size: int) -> None:
        graphed(torch.ones(size), torch.ones(size))

    for size in (1, 2, 1, 3):
        call(size)
    assert pool.captured == 3
    call(1)
    assert pool.captured == 3
    call(2)
    assert pool.captured == 4


def test_inputs_of_all_types_and_layouts_arrive_whole() -> None:
    """They lie in one block of memory: each must begin where its type may, and none may run into another."""
    values = [
        torch.arange(7, dtype=torch.uint8),
        torch.tensor(2.5, dtype=torch.float64),
        torch.tensor([True, False, True]),
        torch.arange(6.0).view(2, 3).T,
        torch.zeros(0),
        torch.arange(1000, dtype=torch.int64).view(10, 100)[:, ::7],
        torch.tensor([1.0]).expand(5),
    ]
    graphed = GraphedFunction(lambda *inputs: [one.clone() for one in inputs], EagerPool())
    for shift in (0, 1):
        given = [value.roll(shift, 0) if value.dim() else value + shift for value in values]
        for found, expected in zip(graphed(*given), given, strict=True):
            assert torch.equal(found, expected)


def test_a_resident_tensor_is_used_where_it_lies_and_kept() -> None:
    pool = EagerPool()
    graphed = GraphedFunction(lambda one, factor: one * factor, pool, keep=1)
    places = [torch.ones(2), torch.full((2,), 5.0)]
    seen = weakref.ref(places[0])
    assert graphed(Resident(places[0]), torch.tensor(2.0)).tolist() == [2, 2]
    places[0].fill_(3)
    assert graphed(Resident(places[0]), torch.tensor(2.0)).tolist() == [6, 6]
    assert pool.captured == 1
    places.pop(0)
    gc.collect()
    assert seen() is not None
    assert graphed(Resident(places[0]), torch.tensor(1.0)).tolist() == [5, 5]
    gc.collect()
    assert pool.captured == 2
    assert seen() is None


def test_a_pool_that_does_not_capture_calls_the_function() -> None:
    graphed = GraphedFunction(add, GraphPool(CPU))
    one = torch.ones(2)
    with graphed.lend(Resident(one), one, 3.0) as lent:
        assert lent.total.tolist() == [6, 6]
    assert graphed(one, one).total.tolist() == [2, 2]


def test_a_failed_capture_is_tried_again() -> None:
    pool, fails = EagerPool(), [True]

    def double(one: Tensor) -> Tensor:
        if fails.pop():
            raise RuntimeError("out of memory")
        return 2 * one

    graphed = GraphedFunction(double, pool)
    with pytest.raises(RuntimeError, match="out of memory"):
        graphed(torch.ones(1))
    fails += [False, False, False]
    assert graphed(torch.ones(1)).tolist() == [2]
    assert pool.captured == 2


def test_inputs_may_come_in_inference_mode_and_outside() -> None:
    graphed = GraphedFunction(add, EagerPool())
    with torch.inference_mode():
        assert graphed(torch.ones(1), torch.ones(1)).total.tolist() == [2]
    assert graphed(torch.ones(1), torch.full((1,), 4.0)).total.tolist() == [5]


def test_threads_do_not_see_each_others_inputs() -> None:
    graphed = GraphedFunction(add, EagerPool())
    wrong = []

    def work(number: int) -> None:
        for _ in range(200):
            found = graphed(torch.full((50,), float(number)), torch.zeros(50)).total
            if not torch.equal(found, torch.full((50,), float(number))):
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_functions_of_one_pool_run_one_at_a_time() -> None:
    pool = EagerPool()
    lender, other = GraphedFunction(add, pool), GraphedFunction(add, pool)
    done = threading.Event()

    def call() -> None:
        other(torch.ones(1), torch.ones(1))
        done.set()

    with lender.lend(torch.ones(1), torch.ones(1)):
        thread = threading.Thread(target=call)
        thread.start()
        assert not done.wait(0.05)
        # The thread that holds the pool may call.
        other(torch.ones(1), torch.ones(1))
    thread.join(10)
    assert done.is_set()
