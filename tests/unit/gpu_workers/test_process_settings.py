"""What a worker's main sets for its whole process."""

import gc
import sys
from collections.abc import Iterator
from unittest.mock import MagicMock

import pytest
import torch

from gpu_workers.process_settings import prepare_process


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads, seconds = torch.get_num_threads(), sys.getswitchinterval()
    monkeypatch.setattr(gc, "freeze", MagicMock())
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)
    sys.setswitchinterval(seconds)


@pytest.mark.usefixtures("restored")
def test_a_process_of_a_gpu_takes_short_turns_and_one_thread() -> None:
    prepare_process("cuda:0")
    assert torch.get_num_threads() == 1
    assert sys.getswitchinterval() == pytest.approx(0.0005)
    gc.freeze.assert_called_once_with()


@pytest.mark.usefixtures("restored")
def test_a_process_of_a_cpu_stays_as_it_is() -> None:
    before = sys.getswitchinterval()
    prepare_process("cpu")
    assert torch.get_num_threads() == 2
    assert sys.getswitchinterval() == before
    gc.freeze.assert_not_called()
