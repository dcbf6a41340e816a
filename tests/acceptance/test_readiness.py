"""Ready means ready: what the stack says when it is up."""

import pytest

from compose.local import Stack
from gpu_workers.gpu_catalog import cpu_slots
from tests.acceptance.conftest import SAID

#: One stack, in one process.
pytestmark = pytest.mark.xdist_group("stack")


def test_the_workers_are_called_ready_when_every_process_is_warm(stack: Stack) -> None:
    warm = [count for line, count in SAID if line.startswith("workers ready")]
    assert len(warm) == 1
    assert warm[0] >= (stack.settings.worker_slots or cpu_slots())
