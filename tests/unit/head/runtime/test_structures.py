"""Each kind of structure that a graph returns or that goes to the host."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gpu_workers.head.runtime.structures import list_tensors, map_tensors


class Pair(NamedTuple):
    first: Tensor
    second: Tensor


@dataclass(frozen=True, kw_only=True)
class Whole:
    pair: Pair
    named: dict[str, Tensor]
    row: list[Tensor]
    both: tuple[Tensor, int]
    nothing: None = None


def test_every_tensor_is_changed_and_the_rest_stays() -> None:
    one, two, three, four, five = (torch.tensor(float(k)) for k in range(1, 6))
    whole = Whole(pair=Pair(one, two), named={"three": three}, row=[four], both=(five, 7))
    found = map_tensors(lambda tensor: 10 * tensor, whole)
    assert isinstance(found.pair, Pair)
    assert [float(tensor) for tensor in list_tensors(found)] == [10, 20, 30, 40, 50]
    assert found.both[1] == 7
    assert found.nothing is None
    assert float(whole.pair.first) == 1
