"""What all tests share: the order in which they run, and which run in one process of a parallel run."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

# As the launcher has it: on shared cores PyTorch's threads that spin while they wait cost several times what
# they compute. Read when PyTorch is loaded, which is later than this.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

#: Unit tests take the process's sockets away, so they end before a stack's supervisor runs in it. One process
#: of a parallel run then has the acceptance tests of one stack, which take longest, while the others go on.
ORDER = ("unit", "corpus", "acceptance", "integration", "hrn")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by the folder under tests; the order within one stays."""
    root = Path(__file__).parent
    items.sort(key=lambda item: ORDER.index(item.path.relative_to(root).parts[0]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each process a file at a time, or all files of an `xdist_group`, as they were collected."""
    from xdist.scheduler import LoadGroupScheduling

    class Scheduling(LoadGroupScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return str(super()._split_scope(nodeid)).partition("::")[0]

    config.option.loadscopereorder = False
    return Scheduling(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Leave each process of a parallel run one thread for PyTorch: they share the cores."""
    torch = sys.modules.get("torch")
    if torch is not None and "PYTEST_XDIST_WORKER" in os.environ and torch.get_num_threads() > 1:
        torch.set_num_threads(1)
