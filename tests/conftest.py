"""What all tests share: the order in which they run, and which run in one process of a parallel run."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

#: Unit tests take the process's sockets away, so they end before a stack's supervisor runs in it. Acceptance
#: tests share one stack, thus one process: it begins with them, while the others share what follows.
ORDER = ("unit", "corpus", "acceptance", "integration", "hrn")

#: Folders whose tests share what is dear to start.
_IN_ONE_PROCESS = ("tests/acceptance/",)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by the folder under tests; the order within one stays."""
    root = Path(__file__).parent
    items.sort(key=lambda item: ORDER.index(item.path.relative_to(root).parts[0]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each process a file at a time, in the order of the collection."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            shared = [folder for folder in _IN_ONE_PROCESS if nodeid.startswith(folder)]
            return shared[0] if shared else str(super()._split_scope(nodeid))

    config.option.loadscopereorder = False
    return Scheduling(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Leave each process of a parallel run one thread for PyTorch: they share the cores."""
    torch = sys.modules.get("torch")
    if torch is not None and "PYTEST_XDIST_WORKER" in os.environ and torch.get_num_threads() > 1:
        torch.set_num_threads(1)
